"""Tells marks that a text is about from marks that a model wrote for a parser.  Pure.

A mark is only mentioned where the layout shows it: in quotes, in a cell of a table, in an HTML element, as a type's
argument (`List<tool_call>`); or where the words beside it do: an item of a list that explains it, a verb behind it, a
noun such as "tag" before it.
"""

from __future__ import annotations

import re

CODE = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for each character of code."""

_NEAR = 400
_FAR = 600
_WORD = re.compile(r"[^\W\d_]{2}")
_INDENTATION = re.compile(r"[ \t]{1,64}(?:<[\w|:]{1,60}>)?")
_QUOTES = frozenset("\"'“”‘’«»„‹›「」『』()[]{}*_")
_LIST_HEAD = re.compile(
    r"[ \t]*(?:(?:[-*+>#•‣◦·–—●▪✅❌✓✔✗✘☑☐➜➤]+\ufe0f?|\[[ xX]\]|\(?(?:\d+|[A-Za-z])[.):])[ \t]+)+"
    # A line of a patch.
    r"|[-+]$"
    # A number of a table of tokens, as `151645 <|im_end|>`.
    r"|[ \t]*[#\[(]?\d{5,6}[\])]?[ \t]+$"
)
_EXPLAINS = re.compile(
    r"[ \t]+[#\[(]?\d{5,6}[\])]?[ \t]*$|\s*(?:…+|[.·_]{3,})\s*[\w:]"
    r"|\s*[,;)，；、）]|\s*[:：=–—→⇒⟶]|\s+-|\s+\((?=\w)|[.!?](?:\s|$)|。|\s*/(?=[ \t]*[<\[])"
)
# Words that stand behind a mark, or begin the line behind it, where the text is about it. Those of CJK need no space.
_VERBS = (
    r"marks|opens|closes|starts|begins|ends|means|denotes|indicates|signals|separates|delimits|introduces|wraps"
    r"|surrounds|encloses|terminates|stands for"
    r"|markiert|öffnet|schließt|beginnt|beendet|endet|bedeutet|kennzeichnet|trennt|leitet|steht für"
    r"|marque|ouvre|ferme|commence|termine|signifie|indique|délimite|sépare"
    r"|marca|abre|cierra|fecha|empieza|comienza|começa|inicia|termina|significa|indica|separa|delimita"
    r"|segna|apre|chiude|inizia|opent|sluit|markeert|открывает|закрывает|начинает|завершает|означает"
)
_NOUNS = (
    r"tags?|tokens?|markers?|delimiters?|separators?|blocks?|elements?"
    r"|Tags?|Tokens?|Marke|Markierung|Steuerzeichen|balises?|jetons?|etiquetas?|marcadore?s?|marcatore|тег|токен"
)
_COPULAS = (
    r"is|are|was|were|and|or|should|must|can|may|comes|goes|appears|tells|belongs?|needs?"
    r"|ist|sind|und|oder|soll|muss|est|sont|et|ou|es|son|y|è|sono|é|são|en|и|или|это"
)
_CJK_NOUNS = r"标记|标志|标签|標記|標籤|令牌|符号|タグ|トークン|記号|태그|토큰"
# Answers begin with these too, so a word must follow that is about marks.
_CJK = (
    r"(?:是|表示|用于|用來|代表|和|与|は|が|を|で|と|는|은|을|를|이|와|과)[^。\n]{0,16}"
    rf"(?:{_CJK_NOUNS}|开始|结束|终止|思考|開始|終了|시작|종료|끝)"
)
_BEGINNINGS = (
    r"(?:end|start|beginning|opening|closing|beginn|anfang|ende|début|fin|inicio|início|fim|inizio|fine)"
    r"(?= of\b| d[eiuo]\b| des\b| del\b| tag\b| token\b| mark| einer\b| eines\b| der\b)"
)
# Words that want an object, which is the mark: a sentence does not end with them.
_WANT_OBJECTS = re.compile(
    r"after|before|until|till|between|than|by|of|to|from|for|into|onto|via|without|and|or|nor|plus"
    r"|vs|vs\.|versus|no|every|each|any|another|a|an|the|its|their|your|be|forget|forgot|wrote|write"
    r"|writes|lacks|misses|needs|contains|at|on|der|die|das|den|dem|ein|eine|einen|einem|nach|vor"
    r"|bis|mit|ohne|zu|von|und|oder|kein|keine|keinen|fehlt|le|les|la|un|une|des|du|de|après|avant"
    r"|sans|avec|et|ou|par|pour|manque|attendu|el|los|las|una|después|tras|antes|sin|con|y|o|por"
    r"|para|hasta|falta|il|lo|di|dopo|prima|senza|da|um|uma|após|sem|com"
)
_ORDERS = re.compile(
    r"find|for|remove|delete|replace|insert|add|append|write|emit|print|handle|match|detect|strip|drop"
    r"|skip|ignore|rename|change|open|close|type|press|escape|grep|suche|finde|entferne|lösche|ersetze"
    r"|cherche|supprime|remplace|busca|elimina|reemplaza|missing|expected|unexpected|unclosed|unmatched"
    r"|unbalanced|stray|invalid|unknown|unterminated|fehlendes|unerwartetes"
)
_STATES = (
    r"missing|expected|unexpected|unclosed|unmatched|unbalanced|stray|invalid|unknown|not found|found|got"
    r"|wanted|required|removed|added|deleted|old|new|before|after|fehlt|erwartet|gefunden|manquant|attendu|falta|esperado"
)
_SAYS = re.compile(rf"[ \t]+(?:{_VERBS}|{_NOUNS}|{_COPULAS}|{_BEGINNINGS})\b|[ \t]*(?:{_CJK_NOUNS})")
_SAYS_IN_CJK = re.compile(rf"[ \t]*(?:{_CJK})")
_BELOW = r"[ \t]*\r?\n[ \t]*(?:[:：=→⇒]|[-=]>)"
_DEFINED_BELOW = re.compile(_BELOW)
_SAID_BELOW = re.compile(
    rf"{_BELOW}|[ \t]*\r?\n(?:"
    r"[ \t]*[–—]|[ \t]{2,}\w+,?[ \t]+\w"
    r"|[ \t]*(?i:(?:it|this|that|the|an?|here|das|dies|der|die|eine?|le|la|les|une?|el|il|o|het|een)[ \t]+)?"
    rf"(?:(?i:special|control|opening|closing|spezielles?)[ \t]+)?(?:(?i:{_VERBS}|{_NOUNS}|{_BEGINNINGS})\b|(?:{_CJK}))"
    r")"
)
_NAMES = re.compile(
    rf"(?:\b(?:{_NOUNS}|marks?|signs?|symbols?|strings?|sequences?|called|named|(?:EOS|BOS|token|tag) is"
    r"|e\.g\.|i\.e\.|z\. ?B\.|such as|writes|emits|prints|outputs|appends|adds"
    r"|(?:end|start|begin|clos|open|stopp?|follow|delimit|separat|terminat|wrapp?)(?:s|e|es|ed|ing)?"
    r" (?:\w+ ){0,3}(?:with|by|at):?"
    r"|(?:endet|beginnt|schließt|beginnen|enden) mit|(?:termine|finit|commence|ouvre|ferme)(?:nt)? (?:par|avec)"
    r"|(?:termina|empieza|comienza|cierra|acaba|começa|inizia|finisce)n? (?:con|com|em|en))[ \t]+"
    rf"|(?:{_CJK_NOUNS}|是|用|以|用作)[ \t]*"
    rf"|\b(?i:{_NOUNS}|\w*zeichen|marks?|start|begin|end|stop|eos|bos|fin|inicio|fim|fine|ende|anfang)"
    r"[ \t]*[:：=][ \t]*"
    rf"|(?:{_CJK_NOUNS}|开始|结束|開始|終了)[:：][ \t]*"
    rf"|{CODE}[ \t]*[:：=][ \t]*"
    r"|[>\]][ \t]*[/,+&][ \t]*"
    # Marks of emphasis may stand around the label.
    rf"|\b(?i:{_NOUNS}|{_STATES})[*_]{{0,3}}[:：][*_]{{0,3}}[ \t]+"
    # A place of a template.
    r"|\{\w{1,30}\}[ \t]*)$"
)
# An arrow, also with a label behind it, or dots that lead to the mark.
_LEADS = re.compile(r"(?:-+>+|=>|[→⇒⟶])[ \t]*(?:\w[\w ]{0,20}:[ \t]+)?$|\w[ \t]*(?:\.{4,}|…{2,}|·{3,})[ \t]*$")
_BEFORE_MARK = frozenset(" \t:=/,+&>.}")
# A line with a label and a mark: `Qwen: <|im_end|>`.
_DOTS = r"(?:\.{2,}|…+|·{2,})"
_LABEL = rf"[ \t]*(?:[-*+•][ \t]+|\d+[.)][ \t]+)?[^\s:：|<>][^:：|<>\n]{{0,30}}(?:[:：=]|[ \t]{_DOTS})[ \t]+"
_LABEL_BEFORE = re.compile(_LABEL)
_LABELLED_BELOW = re.compile(rf"[ \t]*\r?\n{_LABEL}[<\[]\S{{1,40}}[ \t]*(?:\n|$)")
# One that is about the mark, as `meaning: end of a turn`. The roles of a conversation are no labels.
_PAIR_LABEL = (
    r"[ \t]*(?:[-*+•][ \t]+)?(?!(?i:user|assistant|system|human|ai|bot|model|tool|q|a|question|answer|result|output)\b)"
    r"[^\W\d_][\w \-]{0,30}[:：][ \t]+"
)
_PAIR = re.compile(_PAIR_LABEL)
_PAIR_BELOW = re.compile(rf"[ \t]*\r?\n{_PAIR_LABEL}\S")
_PAIR_ABOVE = re.compile(rf"(?:^|\n){_PAIR_LABEL}\S[^\n]{{0,60}}\r?\n$")
_LABELLED_ABOVE = re.compile(rf"(?:^|\n){_LABEL}[<\[]\S{{1,40}}[ \t]*\r?\n$")
# The answer to a question for a mark: `A: <|im_end|>`.
_ANSWER = re.compile(
    r"[ \t>]*[*_]{0,3}(?i:a|ans|answer|antwort|réponse|respuesta|resposta|risposta|ответ|答案?|回答|정답|답)"
    r"[*_]{0,3}[ \t]*[:：][*_]{0,3}[ \t]*"
)
# Marks with dots behind them, one below the other.
_TRAILING_DOTS = re.compile(rf"[ \t]*{_DOTS}[ \t]*")
_DOTTED_BELOW = re.compile(rf"[ \t]*\r?\n[ \t]*[<\[]\S{{1,40}}?[ \t]*{_DOTS}[ \t]*(?:\r?\n|$)")
_DOTTED_ABOVE = re.compile(rf"(?:^|\n)[ \t]*[<\[]\S{{1,40}}?[ \t]*{_DOTS}[ \t]*\r?\n$")
# The line below says what the mark is. Few words, because thoughts are followed by an answer.
_TAGS = r"(?i:tags?|tokens?|markers?|delimiters?|balises?|jetons?|etiquetas?|steuerzeichen|marke|тег|токен)"
_TOLD_BELOW = re.compile(
    rf"[ \t]*\r?\n[ \t]*(?:(?i:it|this|that|the|dies(?:e[rs]?)?|das|der|die|cette|este|esta|questo)[ \t]+"
    rf"(?:\w+[ \t]+)?{_TAGS}[ \t]+(?:{_VERBS}|{_COPULAS})\b"
    rf"|(?i:it|this|that|dies|das|es)[ \t]+(?:{_VERBS})\b[^\n]{{0,60}}"
    rf"\b(?:(?i:reasoning|thoughts?|thinking|turn)|{_TAGS})\b"
    rf"|(?:(?i:it|this|that|dies|das|es)[ \t]+)?(?:is|ist|est|es)[ \t]+(?:[\w'\-]+[ \t]+){{0,4}}{_TAGS}\b)"
)
_BAR = "|│┃｜"
_CELL_BEHIND = re.compile(rf"[ \t]*[{_BAR}]|\t[ \t]*\S")
_CELL_BEFORE = re.compile(rf"\S[ \t]+[{_BAR}][ \t]*$|\S[ \t]*\t$")
_ELEMENT = re.compile(r"<(?:t[dht]|li|code|kbd|samp|b|i|em|strong|d[td]|p|span|pre|h\d)(?:\s[^<>]{0,80})?>[ \t]*$")
_COLUMN = re.compile(r"(?:[ \t]{2,}|\t)[\w✅❌✓✔✗✘]")
# Types of common languages that take others as their arguments.
_GENERICS = (
    r"vec(?:tor)?|(?:array|linked|sorted|mutable|immutable)?(?:list|map|set|queue)|array|hash(?:map|set)|dict(?:ionary)?"
    r"|optional|option|maybe|nullable|result|expected|promise|future|task|deferred|observable|observer|iterable|iterator"
    r"|i?enumerable|i?enumerator|sequence|stream|flux|mono|deque|stack|span|slice|tuple|pair|box|rc|arc|cell|refcell"
    r"|mutex|(?:unique|shared|weak)_ptr|partial|readonly|required|channel|sender|receiver|type|class|supplier|consumer"
    r"|function|predicate|comparable|comparator|lazy|ref|awaitable|async(?:iterable|iterator|generator)|generator"
    r"|collection|allocator|event|handler|callback|factory|builder|repository|state|signal|subject|action|func|icollection"
    r"|ilist|idictionary|keyof|record|parser|stack|tree|node|heap|buffer|cache|response|request|page|either|try|io|seq"
)
_GENERIC = re.compile(
    rf"(?:(?:\w::\w*)|(?<![A-Za-z])(?i:{_GENERICS})|(?:^|[^A-Za-z])[A-Za-z]\w*[a-z0-9][A-Z]\w*"
    r"|(?:^|[^\w])\w+_\w+|#include[ \t]+|::|(?:cast|new|typename|template|sizeof)[ \t]?)$"
)
_AFTER_TYPE = re.compile(
    r">|[&*]|\[\]|\(\)|[ \t]*[;,)]|[ \t]+(?:extends|implements|where|with)\b|[ \t]*\{[ \t]*(?:\}|$|\r?\n[ \t]*[^\s\"'])"
    r"|[ \t]+\w+[ \t]*(?:[;=,]|\)|\(\))"
)


def line_around(text: str, start: int, end: int) -> tuple[str, str]:
    """What stands before `start` and after `end` in their lines, up to some distance."""
    first, last = max(start - _NEAR, 0), end + _NEAR
    after = text.find("\n", end, last)
    return text[max(text.rfind("\n", first, start) + 1, first) : start], text[end : last if after < 0 else after]


def is_quoted(text: str, start: int, end: int) -> bool:
    """Whether there are quotes, brackets or marks of emphasis around."""
    return text[start - 1 : start] in _QUOTES and text[end : end + 1] in _QUOTES if start else False


def without_head(before: str) -> tuple[str, bool]:
    """What stands in a line before a mark, without the head of a list's item, and whether it surely has one: an answer
    may be `B.`, too.
    """
    head = _LIST_HEAD.match(before)
    return (before[head.end() :], not head.group().strip()[:1].isalpha()) if head else (before, False)


def is_explained(after: str) -> bool:
    """Whether the rest of the line behind a mark explains it."""
    return _EXPLAINS.match(after) is not None or _COLUMN.match(after) is not None or is_subject(after)


def is_subject(after: str, *, of_cjk: bool = False) -> bool:
    """Whether a verb or a noun follows that makes the mark the subject. `of_cjk`: or a character that may do so."""
    return _SAYS.match(after) is not None or (of_cjk and _SAYS_IN_CJK.match(after) is not None)


def is_defined_below(text: str, end: int) -> bool:
    """Whether the next line begins as a definition of the mark that ends at `end`."""
    return _DEFINED_BELOW.match(text, end, end + _NEAR) is not None


def is_told_below(text: str, end: int) -> bool:
    """Whether the next line says what the mark that ends at `end` is: `This tag closes the reasoning.`"""
    return _TOLD_BELOW.match(text, end, end + _NEAR) is not None


def is_answer(before: str) -> bool:
    """Whether there is a label in front of a mark that makes it the answer to a question."""
    return _ANSWER.fullmatch(before) is not None


def is_dotted(text: str, start: int, end: int, before: str, after: str) -> bool:
    """Whether the mark has a line with dots behind it, and so has the one above or below."""
    if before.strip() or _TRAILING_DOTS.fullmatch(after) is None:
        return False
    line = start - len(before)
    if _DOTTED_BELOW.match(text, end + len(after), end + len(after) + _NEAR):
        return True
    return _DOTTED_ABOVE.search(text[max(line - 120, 0) : line]) is not None


def is_example(text: str, start: int, end: int) -> bool:
    """Whether a call is indented and stands between words: behind a colon or an empty line, with more text behind."""
    before, _ = line_around(text, start, start)
    if _INDENTATION.fullmatch(before) is None or _WORD.search(text, end, end + _FAR) is None:
        return False
    above = text[max(start - len(before) - _NEAR, 0) : start - len(before)]
    said = above.rstrip()
    if said.endswith((":", "：")):
        return True
    is_block = before.startswith(("    ", "\t")) and above[len(said) :].count("\n") > 1
    return bool(said) and is_block


def is_explained_below(text: str, end: int) -> bool:
    """Whether the line below the mark that ends at `end`, the last of its line, is about it."""
    return _SAID_BELOW.match(text, end, end + _NEAR) is not None


_ABOUT_MARKS = re.compile(
    rf"\b(?i:{_NOUNS}|templates?|parsers?|tokeni[sz]\w+|eos|bos|chatml|strings?|prompts?|inputs?|decod\w+|encod\w+|splits?)\b"
    rf"|{_CJK_NOUNS}|词元|詞元|模板|字符串|停止|生成|输出|輸出|分词|例如|例[:：]|文字列|出力|テンプレート|템플릿|출력|шаблон|строк"
)
# Characters of CJK that stand before or behind a mark in a sentence.
_CJK_BEFORE = frozenset("见見到出入加除含有无無为為把将將在和与與或即叫个個以用是遇写寫输送は、の")
_CJK_BEHIND = frozenset(
    "时時后後前之来來作为為会會应應必须須不没沒以的中里上下等这這那和与與或及也就都可能需要即结結はがをでとにのもかへ는은을를이가와과로에의도"
)


def is_about_marks(text: str) -> bool:
    """Whether the text has words of the field."""
    return _ABOUT_MARKS.search(text) is not None


def joins_texts(text: str, start: int, end: int) -> bool:
    """Whether the mark touches words on both sides: one text ended there, and another one began."""
    before, behind = text[start - 1 : start] if start else "", text[end : end + 1]
    if not (before.isalpha() and behind.isalpha()) or before in _CJK_BEFORE:
        return False
    return before.isascii() or not (behind in _CJK_BEHIND or is_subject(text[end : end + 40], of_cjk=True))


def is_named(before: str) -> bool:
    """Whether the words before a mark say that one comes, as in `the closing tag </think>`."""
    last = before[-1:]
    if last.isascii() and last not in _BEFORE_MARK:
        return False
    near = before[-60:]
    if last.isspace():
        word = "".join(near.split()[-1:])
        if _WANT_OBJECTS.fullmatch(word) or _ORDERS.fullmatch(word.lower()) or " grep -" in f" {near.lower()}":
            return True
    return _LEADS.search(near) is not None or _NAMES.search(near) is not None


def is_labelled(text: str, start: int, end: int, before: str) -> bool:
    """Whether the line has a label and the mark, and so has the line above or below."""
    if _LABEL_BEFORE.fullmatch(before) is None:
        return False
    line = start - len(before)
    above = text[max(line - 120, 0) : line]
    if _PAIR.fullmatch(before) and (_PAIR_BELOW.match(text, end, end + _NEAR) or _PAIR_ABOVE.search(above)):
        return True
    return _LABELLED_BELOW.match(text, end, end + _NEAR) is not None or _LABELLED_ABOVE.search(above) is not None


def is_set_apart(text: str, start: int, end: int, before: str, after: str) -> bool:
    """Whether the layout shows that the mark is mentioned. `before` and `after`: see `line_around`."""
    if is_quoted(text, start, end):
        return True
    if before.lstrip().startswith("|"):
        if "|" in after:
            return True
    elif _CELL_BEHIND.match(after) or _CELL_BEFORE.search(before[-80:]):
        return True
    return before.endswith((">", "> ")) and after.lstrip()[:2] == "</" and _ELEMENT.search(before) is not None


def is_type_argument(text: str, start: int, end: int) -> bool:
    """Whether the opening tag is the argument of a type, as in `std::vector<tool_call>`."""
    if text[start : start + 2] in {"</", "<|"} or text[start : start + 1] != "<":
        return False
    last = text[start - 1 : start] if start else ""
    if not (last.isalnum() or last in {"_", ":", " "}):
        return False
    before = text[max(start - 60, 0) : start].rpartition("\n")[2]
    if _GENERIC.search(before):
        return True
    return before[-1:].isalnum() and _AFTER_TYPE.match(text, end) is not None
