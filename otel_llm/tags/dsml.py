"""DeepSeek's markup language, DSML: invokes whose tags have a prefix, in a wrapper that models damage.  Pure."""

from __future__ import annotations

import re

from otel_llm.tags.cursor import Cursor, Step, literal, one_of, run
from otel_llm.tags.grammars import Context, Grammar, first_of
from otel_llm.tags.pieces import PieceBuffer
from otel_llm.tags.xml_markup import invoke

# Wrappers of DeepSeek V3.2 and V4. V4.1 has a space before the name of each tag.
_DSML_BLOCKS = ("function_calls", "tool_calls", "calls", "function_call", "tool_call", "call")
_DSML_NAME = re.compile(r"[\w ]*")
# With one bar or two, of Unicode or of ASCII.
_PREFIXES = ("｜DSML｜", "|DSML|", "｜｜DSML｜｜", "||DSML||")
# A model may close a block with another prefix than that of its invokes.
_ENDS = [f"</{prefix}{space}{block}>" for prefix in _PREFIXES for block in _DSML_BLOCKS for space in ("", " ")]


def dsml(prefix: str, *, marker_opens_call: bool = False) -> Grammar:
    """DeepSeek's invokes. Any of the wrappers may close the block."""
    return invoke(prefix, *_ENDS, unmistakable=True, marker_opens_call=marker_opens_call)


_ALONE = {
    f"<{prefix}": {f"{space}invoke name=": dsml(f"{prefix}{space}", marker_opens_call=True) for space in ("", " ")}
    for prefix in _PREFIXES
}
DSML_MARKS = tuple(_ALONE)
# Models that know several of the prefixes mix them.
DSML = first_of(*[dsml(f"{prefix}{space}") for prefix in _PREFIXES for space in ("", " ")])
DSML_SPACED = first_of(dsml("｜DSML｜ "), DSML)


def dsml_damaged(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
    """Invokes whose wrapper is lost, is none of those known, or is not closed."""
    alone = _ALONE[context.opening]
    place = cursor.mark()
    opening = yield from one_of(cursor, (*alone,))
    if opening is not None:
        if (yield from alone[opening](cursor, out, context)):
            return True
        out.discard()
        cursor.rewind(place)
    yield from run(cursor, _DSML_NAME, 32)
    yield from literal(cursor, ">")
    return (yield from DSML(cursor, out, context))
