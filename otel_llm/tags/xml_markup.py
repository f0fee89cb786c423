"""The tags of models that write each argument between tags of its own (see `xml_calls.py`).  Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from otel_llm.tags.cursor import Cursor, Step, literal, run
from otel_llm.tags.grammars import Context, Grammar, first_of, name_before, not_indented
from otel_llm.tags.messages import message_of_calls, recipient, undoubled
from otel_llm.tags.named_markup import functions_name
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.xml_calls import Tags, xml_parameters

ARG_TAGS = Tags(key="<arg_key>", key_end="</arg_key>", value="<arg_value>", value_end="</arg_value>")
GLM = xml_parameters(replace(ARG_TAGS, closers=("</tool_call>",)))
LONGCAT = Tags(
    key="<longcat_arg_key>",
    key_end="</longcat_arg_key>",
    value="<longcat_arg_value>",
    value_end="</longcat_arg_value>",
    closers=("</longcat_tool_call>",),
    name_of=functions_name,
)
FUNCTION = Tags(
    key="<parameter=",
    key_end=">",
    value_end="</parameter>",
    call_open=("<function=",),
    name_end=(">",),
    closers=("</function>",),
    quotable=True,
)
OWN_LINES = replace(FUNCTION, own_lines=True, block_closers=("</tool_call>",))
QWEN3_CODER = xml_parameters(OWN_LINES)
_TAG_NAMES = frozenset({"function", "invoke", "parameter", "parameters", "tool", "tool_call"})


def _name_of_tag(tag: str) -> str:
    """The tool that a tag is named after. One that lost its name (`<function>`) is no tool's."""
    return "" if tag in _TAG_NAMES else tag


NAMED_TAG = replace(OWN_LINES, call_open=("<",), name_of=_name_of_tag)
INVOKE = Tags(
    key="<parameter name=",
    key_end="",
    value=">",
    attributes=True,
    value_end="</parameter>",
    call_open=("<invoke name=",),
    name_end=(">",),
    empty_end=("/>",),
    closers=("</invoke>",),
    quotable=True,
    json_body=True,
)


def invoke(prefix: str, *ends: str, **more: Any) -> Grammar:
    """The `<invoke>` and `<parameter>` tags, each with a prefix."""

    def prefixed(tag: str) -> str:
        return tag.replace("</", f"</{prefix}") if tag.startswith("</") else tag.replace("<", f"<{prefix}")

    tags = replace(
        INVOKE,
        key=prefixed(INVOKE.key),
        value_end=prefixed(INVOKE.value_end),
        call_open=[prefixed(tag) for tag in INVOKE.call_open],
        closers=[prefixed(tag) for tag in INVOKE.closers],
        block_closers=ends,
        **more,
    )
    return xml_parameters(tags)


LONE_INVOKE = not_indented(
    invoke(
        "",
        *("</minimax:tool_call>", "</dots_function_call>", "</function_calls>", "</tool_calls>"),
        marker_opens_call=True,
        declared=True,
    )
)


@lru_cache(maxsize=16)
def hunyuan(suffix: str = "") -> Grammar:
    """Hunyuan's tags; each checkpoint may add a suffix to all of them. V3 ends the name with a tag, V4 does not."""
    tags = Tags(
        key=f"<arg_key{suffix}>",
        key_end=f"</arg_key{suffix}>",
        value=f"<arg_value{suffix}>",
        value_end=f"</arg_value{suffix}>",
        call_open=(f"<tool_call{suffix}>",),
        closers=(f"</tool_call{suffix}>",),
        block_closers=(f"</tool_calls{suffix}>",),
    )
    return first_of(xml_parameters(replace(tags, name_end=(f"<tool_sep{suffix}>",))), xml_parameters(tags))


_SUFFIX = re.compile(r"[\w.\-]*")


def hunyuan_suffixed(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
    suffix = yield from run(cursor, _SUFFIX, 32)
    if not (yield from literal(cursor, ">")):
        return False
    return (yield from hunyuan(f":{suffix}")(cursor, out, context))


STEP3_INVOKE = "<steptml:invoke name="
_STEP3_END = "<｜tool_call_end｜>"
STEP3 = replace(
    INVOKE,
    key="<steptml:parameter name=",
    value_end="</steptml:parameter>",
    call_open=tuple(
        f"{begin}{kind}{line}{STEP3_INVOKE}"
        for begin in ("<｜tool_call_begin｜>", "<｜tool_call_begin｜>\n", "")
        for kind in ("function<｜tool_sep｜>", "<｜tool_sep｜>", "")
        for line in ("", "\n")
    ),
    closers=(f"</steptml:invoke>{_STEP3_END}", f"</steptml:invoke>\n{_STEP3_END}", "</steptml:invoke>", _STEP3_END),
    block_closers=("<｜tool_calls_end｜>",),
    unmistakable=True,
)
MUSE = invoke(
    "atem:",
    "</atem:function_calls><|eom|>",
    "</atem:function_calls><|eot|>",
    "</atem:function_calls>",
    name_of=undoubled,
)
_MUSE_BLOCK = ("<atem:function_calls>", "</atem:function_calls>")
MUSE_MESSAGE = name_before(f"<|message|>{_MUSE_BLOCK[0]}", MUSE, recipient)
MUSE_ANSWER = message_of_calls(_MUSE_BLOCK, re.compile(r'<atem:invoke name="([^"<>]*)"'), MUSE)
BEAM = Tags(
    key="<rfl:parameter name=",
    key_end="",
    value=">",
    attributes=True,
    quotable=True,
    value_end="</rfl:parameter>",
    closers=("<|call|>", "<|end|>"),
    trimmed=True,
)
BEAM_HEADS = ("<|channel|>analysis <|constrain|>xml<|message|>", "<|channel|>analysis<|message|>")
SOLAR = Tags(
    key="<|tool_arg:start|>",
    key_end="<|tool_arg:value|>",
    value_end="<|tool_arg:end|>",
    closers=("<|tool_call:end|>",),
)
K2_HORIZON = Tags(
    key="<ifm|arg_key>",
    key_end="</ifm|arg_key>",
    value="<ifm|arg_value>",
    value_end="</ifm|arg_value>",
    call_open=("<ifm|tool_call>",),
    closers=("</ifm|tool_call>",),
    block_closers=("</ifm|tool_calls>",),
)
MINICPM = Tags(
    key="<param name=",
    key_end="",
    value=">",
    attributes=True,
    quotable=True,
    value_end="</param>",
    name_end=(">",),
    closers=("</function>",),
    html_escaped=True,
    cdata=True,
)
