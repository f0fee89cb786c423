"""The blocks that calls of known families stand in.  Pure."""

from __future__ import annotations

SECTIONS = {
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
    "<|tool_call_begin|>": "<|tool_call_end|>",
    "<tool_call>": "</tool_call>",
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",
    "<｜DSML｜function_calls>": "</｜DSML｜function_calls>",
    "<｜DSML｜tool_calls>": "</｜DSML｜tool_calls>",
    "<minimax:tool_call>": "</minimax:tool_call>",
    "]<]minimax[>[<tool_call>": "]<]minimax[>[</tool_call>",
    "<seed:tool_call>": "</seed:tool_call>",
}
"""Blocks of calls that models write without closing their thoughts: Kimi K2 Thinking, GLM, Laguna and others."""

_CLOSINGS = {
    **SECTIONS,
    "<|tool_call_start|>": "<|tool_call_end|>",
    "<|tool_call:start|>": "<|tool_call:end|>",
    "<|tool_calls|>": "",
    "<|tool_call|>": "<|/tool_call|>",
    "<|tool_call>": "<tool_call|>",
    "<｜tool_calls_begin｜>": "<｜tool_calls_end｜>",
    "<|START_ACTION|>": "<|END_ACTION|>",
    "<|tools_prefix|>": "<|tools_suffix|>",
    "<|python_start|>": "<|python_end|>",
    "<|plamo:begin_tool_requests:plamo|>": "<|plamo:end_tool_requests:plamo|>",
    "<start_function_call>": "<end_function_call>",
    "[TOOL_CALLS]": "",
}
_TOKENS = ("<|", "<｜", "[TOOL_CALLS]", "]<]")


def is_token(opening: str) -> bool:
    """Whether an opening marker is a control token, which no text in XML or HTML has."""
    return opening.startswith(_TOKENS)


def closing_of_block(opening: str) -> str:
    """What closes the block that a marker opens; empty if nothing does."""
    return _CLOSINGS.get(opening, f"</{opening[1:]}" if opening.startswith("<") else "")
