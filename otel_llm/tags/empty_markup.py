"""Reads markup that holds no call and is none of the content: an empty block, and the beginning of a call.  Pure."""

from __future__ import annotations

from otel_llm.tags.blocks import closing_of_block, is_token
from otel_llm.tags.cursor import Cursor, Step, literal, peek, white
from otel_llm.tags.pieces import Piece, PieceBuffer

_SENTENCE_ENDS = frozenset(".!?…。！？")
# The beginning of a call that is cut off has no more than this behind its marker.
_MOST_CUT = 256


def empty_markup(cursor: Cursor, out: PieceBuffer, opening: str, *, is_cut: bool) -> Step[bool]:
    """Read a block without a call, or the beginning of a call, behind an opening marker. False if neither comes.

    `is_cut`: whether the text ended while a call was expected.
    """
    above = out.tail.rstrip()
    is_control = is_token(opening)
    begins = out.at_line_start or above[-1:] in _SENTENCE_ENDS
    if not (is_control or opening.startswith("<")) or not begins:
        return False
    place = cursor.mark()
    if (yield from _empty_block(cursor, closing_of_block(opening))) and (
        is_control or (yield from peek(cursor)) in {"", "\n", "\r"}
    ):
        out.put(Piece("frame", cursor.kept))
        cursor.settle()
        out.at_line_start = out.in_line_head = True
        return True
    cursor.rewind(place)
    rest = cursor.text[cursor.position :]
    if not cursor.ended or not (is_cut or not rest) or len(rest) > _MOST_CUT or above[-1:] == ":":
        return False
    if not is_control and rest.strip() and rest.lstrip()[0] not in "{[<":
        return False
    cursor.take(len(rest))
    out.put(Piece("frame", cursor.settle()))
    return True


def _empty_block(cursor: Cursor, closing: str) -> Step[bool]:
    """Read to the end of a block that holds nothing, or an empty array. `closing` is empty if nothing closes it."""
    yield from white(cursor)
    is_empty = yield from literal(cursor, "[]")
    yield from white(cursor)
    return (yield from literal(cursor, closing)) if closing else is_empty
