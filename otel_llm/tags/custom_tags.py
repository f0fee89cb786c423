"""The custom tags that calls are rewritten to, and the forms in which users give them.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BARE_WORD = re.compile(r"[\w.:|\-]+")
# Text that could be a part of JSON.
_JSON = re.compile(r'(?:[\s{}\[\],:]|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)+')
# What the writer puts between the tags for any call.
_WRITTEN = ('{"name": "', '", "arguments": {', '{"name":"', '","arguments":{', '"parameters": {', '"parameters":{')
_BRACKETS = {"<": ">", "[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True)
class ToolCallTags:
    """A pair of tags. Between them is one JSON object for each call, `{"name": …, "arguments": …}`.

    `preserve_json`: a body that is such an object already is kept to the byte; otherwise it is written anew.
    `auto_format`: bare words get brackets, so `ojlk` and `dfsd` become `<ojlk>` and `</dfsd>`; otherwise the tags are
    written exactly as given.

    Raises ValueError for tags that no parser could find again: an empty tag, two equal ones, one that begins with the
    other, or one that can occur in the JSON between them.

    >>> ToolCallTags("ojlk", "dfsd").opening
    '<ojlk>'
    """

    start_tag: str
    end_tag: str
    preserve_json: bool = True
    auto_format: bool = True

    def __post_init__(self) -> None:
        for tag in (self.start_tag, self.end_tag):
            if not isinstance(tag, str):
                raise TypeError(f"a tag must be a string, not {type(tag).__name__}")
        opening, closing = self.opening, self.closing
        if not opening.strip() or not closing.strip():
            raise ValueError("a tool-call tag must not be empty")
        if opening == closing:
            raise ValueError(f"the tags {opening!r} and {closing!r} cannot be told apart")
        if opening.startswith(closing) or closing.startswith(opening):
            raise ValueError(f"one of the tags {opening!r} and {closing!r} begins with the other")
        for tag in (opening, closing):
            if _JSON.fullmatch(tag) or any(tag.strip() in text for text in _WRITTEN):
                raise ValueError(f"the tag {tag!r} occurs inside JSON, and JSON stands between the tags")

    @property
    def opening(self) -> str:
        """The opening tag, as it is written."""
        bare = self.auto_format and _BARE_WORD.fullmatch(self.start_tag)
        return f"<{self.start_tag}>" if bare else self.start_tag

    @property
    def closing(self) -> str:
        """The closing tag, as it is written."""
        if not self.auto_format:
            return self.end_tag
        word = self.end_tag.removeprefix("/")
        return f"</{word}>" if _BARE_WORD.fullmatch(word) else self.end_tag


# The formats of AbstractCore, by its names for them.
NAMED_TAGS = {
    "qwen": ToolCallTags("<|tool_call|>", "</|tool_call|>"),
    "llama": ToolCallTags("<function_call>", "</function_call>"),
    "xml": ToolCallTags("<tool_call>", "</tool_call>"),
    "gemma": ToolCallTags("```tool_code\n", "\n```", auto_format=False),
}
NAMED_TAGS["qwen3"] = NAMED_TAGS["qwen"]
NAMED_TAGS["llama3"] = NAMED_TAGS["llama"]


def read_tags(text: str) -> ToolCallTags:
    """The tags in a setting: `start,end`, one tag for both, or the name of a format. Raises ValueError for others.

    Case and spaces of a name do not count.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2:
        raise ValueError(f"{text!r} names {len(parts)} tags; expected 'start,end', one tag, or the name of a format")
    if len(parts) == 2:
        return ToolCallTags(parts[0], parts[1])
    tag = parts[0]
    named = NAMED_TAGS.get(as_name(tag))
    return ToolCallTags(tag, _closing_of(tag)) if named is None else named


def as_name(text: str) -> str:
    """A text as it is compared with names: case and spaces do not count."""
    return "".join(text.split()).lower()


def is_bare_word(text: str) -> bool:
    return _BARE_WORD.fullmatch(text) is not None


def _closing_of(tag: str) -> str:
    """`</x>` for `<x>`, `[/x]` for `[x]`, `x` for a bare `x`."""
    if not tag or _BARE_WORD.fullmatch(tag):
        return tag
    if _BRACKETS.get(tag[0]) == tag[-1]:
        return f"{tag[0]}/{tag[1:]}"
    raise ValueError(f"cannot derive the closing tag of {tag!r}: give both tags, 'start,end'")
