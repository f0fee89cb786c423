"""The markers of models that write the name of a tool apart from its arguments, which are JSON.  Pure.

See `NamedCall` in `json_calls.py`.
"""

from __future__ import annotations

from dataclasses import replace

from otel_llm.tags.json_calls import NamedCall
from otel_llm.tags.messages import header, recipient


def functions_name(name: str) -> str:
    """`functions.NAME:3` is NAME."""
    name = name.removeprefix("functions.")
    head, colon, number = name.rpartition(":")
    return head if colon and number.isdigit() else name


DEEPSEEK_BEGIN, DEEPSEEK_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
DEEPSEEK_CALL = "<｜tool▁call▁begin｜>"
DEEPSEEK_V3 = NamedCall(
    before=(f"{DEEPSEEK_CALL}function<｜tool▁sep｜>", f"{DEEPSEEK_CALL}<｜tool▁sep｜>"),
    after=("```json", "```", ""),
    closers=("```<｜tool▁call▁end｜>", "```\n<｜tool▁call▁end｜>", "```", "<｜tool▁call▁end｜>"),
    block_closers=(DEEPSEEK_END,),
    several=True,
    has_tokens=True,
)
DEEPSEEK_V31 = NamedCall(
    before=(DEEPSEEK_CALL,),
    after=("<｜tool▁sep｜>", "<｜tool▁sep｜>```json", "<｜tool▁sep｜>\n```json", "```json"),
    closers=("<｜tool▁call▁end｜>", "```<｜tool▁call▁end｜>", "```\n<｜tool▁call▁end｜>", "```"),
    block_closers=(DEEPSEEK_END,),
    several=True,
    has_tokens=True,
)


def after_marker(markup: NamedCall) -> NamedCall:
    """The same calls, where the marker is the tag that begins the first one."""
    rest = [word.removeprefix(DEEPSEEK_CALL) for word in markup.before]
    return replace(markup, before=tuple(dict.fromkeys((*markup.before, *rest))), has_tokens=False)


KIMI_K2 = NamedCall(
    before=("<|tool_call_begin|>",),
    after=("<|tool_call_argument_begin|>",),
    closers=("<|tool_call_end|>",),
    block_closers=("<|tool_calls_section_end|>",),
    several=True,
    has_tokens=True,
    name_of=functions_name,
)
HARMONY_OPENERS = (
    *(f"<|channel|>{channel} to=" for channel in ("commentary", "analysis", "final")),
    *(f"<|start|>assistant<|channel|>{channel} to=" for channel in ("commentary", "analysis", "final")),
    "<|start|>assistant to=",
)
HARMONY = NamedCall(read_after=header, closers=("<|call|>", "<|end|>"), name_of=recipient)
PLAMO = NamedCall(
    before=("<|plamo:begin_tool_request:plamo|><|plamo:begin_tool_name:plamo|>",),
    after=(
        "<|plamo:end_tool_name:plamo|><|plamo:begin_tool_arguments:plamo|><|plamo:constrain|>json<|plamo:msg|>",
        "<|plamo:end_tool_name:plamo|><|plamo:begin_tool_arguments:plamo|>",
    ),
    closers=("<|plamo:end_tool_arguments:plamo|><|plamo:end_tool_request:plamo|>",),
    block_closers=("<|plamo:end_tool_requests:plamo|>",),
    several=True,
)
