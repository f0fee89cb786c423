"""DeepSeek's markup language, DSML: invokes whose tags have a prefix, in a wrapper that models damage.  Pure."""

from __future__ import annotations

import re

from otel_llm.tags.cursor import Cursor, Step, literal, run
from otel_llm.tags.grammars import Context, Grammar, first_of
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.xml_markup import invoke

# Wrappers of DeepSeek V3.2 and V4. V4.1 has a space before the name of each tag.
_DSML_BLOCKS = ("function_calls", "tool_calls", "calls", "function_call", "tool_call", "call")
_DSML_NAME = re.compile(r"[\w ]*")


def dsml(prefix: str, *, marker_opens_call: bool = False) -> Grammar:
    """DeepSeek's invokes. Any of the wrappers may close the block."""
    mark = prefix.rstrip()
    ends = [f"</{mark}{space}{block}>" for block in _DSML_BLOCKS for space in ("", " ")]
    return invoke(prefix, *ends, unmistakable=True, marker_opens_call=marker_opens_call)


DSML, DSML_SPACED = dsml("｜DSML｜"), dsml("｜DSML｜ ")


_DSML_BY_MARK = {
    "<｜DSML｜": first_of(DSML, DSML_SPACED),
    "<|DSML|": first_of(dsml("|DSML|"), dsml("|DSML| ")),
}


def dsml_damaged(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
    """Invokes whose wrapper is none of those known, or is not closed."""
    yield from run(cursor, _DSML_NAME, 32)
    yield from literal(cursor, ">")
    return (yield from _DSML_BY_MARK[context.opening](cursor, out, context))
