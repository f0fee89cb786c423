"""The control tokens of chat templates and the tags of call syntaxes, which a model's text should not have.  Pure.

How a text is searched:

- Most tokens are words between `<|` and `|>`, or between full-width bars, and count whatever the word is. Others, and
  the tags, are in the tables below.
- An opening tag and a closing tag after it belong together, and are no residue. The closing tag alone is, and so is the
  opening one.
- A token is only mentioned if it has words on both sides in its line, if it stands in quotes, brackets or a table, if
  punctuation follows that explains it or ends its sentence, or if it is all that an item of a list has.
- At the end of a text, a part of a token is residue too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from otel_llm.tags.mentions import (
    CODE,
    is_about_marks,
    is_answer,
    is_dotted,
    is_explained,
    is_explained_below,
    is_labelled,
    is_named,
    is_set_apart,
    is_subject,
    is_told_below,
    is_type_argument,
    joins_texts,
    line_around,
    without_head,
)
from otel_llm.tags.thought_marks import AT_START, THOUGHT_MARKS

_TOKENS = (
    "<start_of_turn>",  # Gemma
    "<end_of_turn>",
    "<|turn>",  # Gemma 4
    "<turn|>",
    "<|channel>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    '<|"|>',
    "<start_function_call>",  # FunctionGemma
    "<end_function_call>",
    "<escape>",
    "<bos>",
    "<eos>",
    "<pad>",
    "<end_of_utterance>",  # SmolVLM
    "[INST]",  # Mistral, Llama 2
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[CALL_ID]",
    "[ARGS]",
    "[gMASK]",  # GLM
    "<sop>",
    "]<]minimax[>[",  # MiniMax M3
    "]~b]",  # MiniMax M2
    "]~!b[",
    "[e~[",
)
_TAG_NAMES = (
    "tool_calls",
    "tool_call",
    "tool_response",
    "tool_sep",
    "function_calls",
    "function_call",
    "arg_key",
    "arg_value",
    "minimax:tool_call",
    "seed:tool_call",
    "longcat_tool_call",
    "dots_function_call",
    "steptml:invoke",
    "steptml:parameter",
    "atem:function_calls",
    "atem:invoke",
    "atem:parameter",
    "ifm|tool_calls",
    "ifm|tool_call",
    "ifm|arg_key",
    "ifm|arg_value",
    "TOOLCALL",
)
# In an opening tag of these, which HTML and XML have too, a name follows.
_WORDS_OF_OTHERS = frozenset({"[ARGS]", "[CALL_ID]", "<escape>"})
_NAMED_TAGS = ("function", "parameter", "invoke")
_PAIRS = {
    "<|im_end|>": "<|im_start|>",
    "<end_of_turn>": "<start_of_turn>",
    "<turn|>": "<|turn>",
    "<|eot_id|>": "<|start_header_id|>",
    "<|eom_id|>": "<|start_header_id|>",
    "<|eot|>": "<|header_start|>",
    "<|end|>": "<|start|>",
    "[/INST]": "[INST]",
    "<</SYS>>": "<<SYS>>",
    "</s>": "<s>",
}
# A role belongs to the token in front of it.
_ROLES = "assistant|user|system|developer|tool|model|analysis|commentary|final"
BARS = "|｜‖│┃∣❘¦"
_DSML = rf"</?\s?[{BARS}]{{0,2}}\s?DSML\s?[{BARS}]{{1,2}}[^<>\n]{{0,80}}>?"
_SPECIAL = "|".join(
    (
        _DSML,
        r"<\|/?[A-Za-z][\w:./\-]{1,60}/?\|>",
        r"</\|[a-z][\w]{1,60}\|>",
        r"</?｜[^<>\n｜]{1,60}｜[^<>\n]{0,80}>",
        r"<unused\d{1,4}>",
        *map(re.escape, _TOKENS),
    )
)
_TAG = "|".join(
    (
        rf"(?P<slash></?)(?P<tag>{'|'.join(map(re.escape, _TAG_NAMES))})(?::[\w\-]*)?(?:[ =][^<>\n]{{0,120}})?>",
        rf"<(?P<named>{'|'.join(_NAMED_TAGS)})(?:=[^<>\n]{{1,120}}|\s+name=[\"'][^<>\n]{{1,120}})>",
        rf"</(?P<closed>{'|'.join(_NAMED_TAGS)})>",
    )
)
# Kimi's, which by themselves stand in any text about tokens.
_KIMIS_END = r"\[(?:BOS|EOS|EOT)\]"
_MARKUP = re.compile(rf"(?P<special>(?:{_SPECIAL})(?:(?:{_ROLES})\b|{_KIMIS_END})?)|{_TAG}|(?P<eos></?s>)")
_FIRST = re.compile(r"[<\[\]◁]")
_PLAIN_WORD = re.compile(r"<(?:[be]os|\|(?:im_(?:start|end)|endoftext|e[om][tm]_id|begin_of_text|end_of_text)\|)>")
# The longest part of a token at an end.
_LONGEST = 40
_WHOLE = tuple(
    sorted(
        {
            *_TOKENS,
            *THOUGHT_MARKS.keys() - AT_START,
            *THOUGHT_MARKS.values(),
            *(f"<{slash}{name}>" for name in (*_TAG_NAMES, *_NAMED_TAGS) for slash in ("", "/")),
            *(f"<{name}=name>" for name in ("function", "parameter")),
            *(f'<{name} name="' for name in _NAMED_TAGS),
            "<｜DSML｜",
            "</｜DSML｜",
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁calls▁end｜>",
            "<｜end▁of▁sentence｜>",
            "<|im_start|>",
            "<|im_end|>",
            "<|eot_id|>",
            "<|eom_id|>",
            "<|start_header_id|>",
            "<|endoftext|>",
            "<|end|>",
            "<|channel|>",
            "<|message|>",
            "<|return|>",
            "<|call|>",
            "<|python_tag|>",
            "<|tool_call_begin|>",
            "<|tool_call_end|>",
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            "<|tool_call_start|>",
            "<|START_ACTION|>",
            "<|END_ACTION|>",
        }
    )
)
# So much of a value is read, from its end.
_LONGEST_VALUE = 131_072
_PART_AT_END = re.compile(r"(?:</?[a-z][\w:|]*|<[a-z]+(?:=| name=)|</?｜[^<>\n]*|<\|/?[A-Za-z_]\w*|\[/?[A-Z_]+)\|?$")
_PART_AT_START = re.compile(r"/?[|\w▁]{2,40}(?:[|｜]>|>)")
_WORD = re.compile(rf"[^\W_]|{CODE}")
_ENDS_SENTENCE = re.compile(r"\s*[.,;:!?)\]\"'”’»]")


class Token(NamedTuple):
    """A token in a text, and its place."""

    text: str
    start: int
    end: int


def may_hold_tokens(text: str) -> bool:
    """Whether there is any token in the text, or a part of one at an end, mentioned or not."""
    if _part_at_start(text) is not None:
        return True
    return _FIRST.search(text) is not None and (
        _MARKUP.search(text) is not None or _part_at_end(text.rstrip()) is not None
    )


def tokens_in(plain: str, *, ended: bool = True) -> list[Token]:
    """The tokens in the text of an answer that are not only mentioned. `ended`: no more text can come."""
    found: list[Token] = []
    if part := _part_at_start(plain):
        found.append(part)
    tokens = list(_residue(plain, ended=ended))
    found += _not_mentioned(plain, tokens, ended=ended)
    last = plain.rstrip()
    if ended and (part := _part_at_end(last)):
        found.append(part)
    return found


def token_at_end(value: str) -> str | None:
    """The token, or the part of one, that a value ends with."""
    last = value.rstrip()[-_LONGEST_VALUE:]
    if not last or (last[-1] not in ">]|▷[" and not _PART_AT_END.search(last[-_LONGEST:])):
        return None
    for token in reversed(_residue(last, ended=True)):
        if token.end == len(last):
            return None if is_type_argument(last, token.start, token.end) else token.text
    part = _part_at_end(last)
    return None if part is None else part.text


def is_word(token: str) -> bool:
    """Whether people write the token without its brackets, too: EOS, im_end."""
    return _PLAIN_WORD.fullmatch(token) is not None


def _residue(text: str, *, ended: bool) -> list[Token]:
    """The tokens in `text`, except tags that belong together. `ended`: no closing tag can come any more."""
    found: list[Token | None] = []
    opened: dict[str, list[int]] = {}
    begin, end = len(text) - len(text.lstrip()), len(text.rstrip())
    has_closing = "</s>" in text

    @cache
    def is_plainly_opened(name: str) -> bool:
        """Whether the text has this tag as XML has it, which is no call's: `<function>`, `<function id="a">`."""
        return re.search(rf"<{name}(?=[\s>])", text) is not None

    for match in _MARKUP.finditer(text):
        token = Token(match.group(), *match.span())
        if match["eos"]:
            if token.text == "</s>":
                if not opened.get("<s>") and token.end >= end and not is_named(line_around(text, *match.span())[0]):
                    found.append(token)
            else:
                opened["<s>"] = [len(found)]
                found.append(token if token.start <= begin and not has_closing else None)
            continue
        if match["special"]:
            if (opener := _PAIRS.get(token.text)) and opened.get(opener):
                opened[opener].pop()
                continue
            if token.text.startswith(tuple(_PAIRS.values())):
                for opener in _PAIRS.values():
                    if token.text.startswith(opener):
                        opened.setdefault(opener, []).append(len(found))
                        break
            # Usage lines and keyboards have these, set apart; in a call, they touch what is before them.
            if token.text in _WORDS_OF_OTHERS and text[token.start - 1 : token.start].strip() == "":
                continue
            found.append(token)
            continue
        name = match["tag"] or match["named"] or match["closed"]
        if match["slash"] == "</" or match["closed"]:
            if waiting := opened.get(name):
                found[waiting.pop()] = None
            elif name not in _NAMED_TAGS or not is_plainly_opened(name):
                found.append(token)
        else:
            opened.setdefault(name, []).append(len(found))
            found.append(token)
    if not ended:
        for name, waiting in opened.items():
            if name not in _PAIRS.values():
                for place in waiting:
                    found[place] = None
    return [token for token in found if token is not None]


def _not_mentioned(text: str, tokens: list[Token], *, ended: bool) -> list[Token]:
    found: list[Token] = []
    place = 0

    @cache
    def is_about_marks_itself() -> bool:
        return is_about_marks(_MARKUP.sub("", text))

    if len(tokens) > 1 and _shows_template(text, tokens) and is_about_marks_itself():
        return []
    while place < len(tokens):
        # Tokens one after the other are judged together.
        last = place
        while last + 1 < len(tokens) and not text[tokens[last].end : tokens[last + 1].start].strip():
            last += 1
        start, end = tokens[place].start, tokens[last].end
        joins = text.startswith(("<|", "<｜"), start) and joins_texts(text, start, end) and not is_about_marks_itself()
        if joins or not _is_mentioned(text, start, end, ended=ended):
            found += tokens[place : last + 1]
        place = last + 1
    return found


def _shows_template(text: str, tokens: list[Token]) -> bool:
    """Whether words lead to the first token, which begins a line, or follow the last one in another paragraph."""
    first, last = tokens[0].start, tokens[-1].end
    if line_around(text, first, first)[0].strip() or not text[:first].strip():
        return False
    return text[:first].rstrip().endswith((":", "：")) or _WORD.search(text[last:].partition("\n\n")[2]) is not None


def _is_mentioned(text: str, start: int, end: int, *, ended: bool) -> bool:
    before, after = line_around(text, start, end)
    if is_set_apart(text, start, end, before, after) or is_type_argument(text, start, end):
        return True
    if not ended and end + len(after) >= len(text):
        # Words may follow.
        return True
    if "\n" in text[start:end]:
        return False
    if is_labelled(text, start, end, before) or is_dotted(text, start, end, before, after):
        return True
    if is_answer(before) and not text[end:].strip():
        return True
    said, is_item = without_head(before)
    if _WORD.search(said):
        return _WORD.search(after) is not None or _ENDS_SENTENCE.match(after) is not None or is_named(before)
    if not after.strip():
        if is_item:
            return True
        return not said.strip() and (is_explained_below(text, end) or is_told_below(text, end))
    return is_explained(after) or is_subject(after, of_cjk=True)


def _part_at_start(text: str) -> Token | None:
    start = len(text) - len(text.lstrip())
    match = _PART_AT_START.match(text, start)
    if match is None:
        return None
    part = match.group()
    shown = part.lstrip("/")
    if len(shown) < 5 or ("_" not in part and "|" not in part and "｜" not in part and not part.startswith("/")):
        return None
    return Token(part, *match.span()) if any(word.endswith(part) for word in _WHOLE) else None


def _part_at_end(text: str) -> Token | None:
    match = _PART_AT_END.search(text[-_LONGEST:])
    if match is None:
        return None
    part = match.group()
    # So few letters may begin anything.
    if sum(letter.isalpha() for letter in part) < 4 and not part.startswith(("<|", "<｜", "</｜")):
        return None
    is_known = any(word.startswith(part) and word != part for word in _WHOLE)
    if not is_known and not part.startswith(("<｜", "</｜")):
        return None
    start = len(text) - len(part)
    return Token(part, start, len(text))
