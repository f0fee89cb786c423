"""Messages that a text has headers for: what a header says about the body decides whether it may hold calls.  Pure.

gpt-oss writes `<|channel|>NAME to=RECIPIENT<|message|>`, and the recipient may also stand in the role, before the
channel. Muse writes ` to=RECIPIENT<|message|>`. A message to the user is an answer, and no call: not its JSON, and not
the markup that it quotes. The `final` channel, and `commentary` without a recipient, are to the user.
"""

from __future__ import annotations

import re

from otel_llm.tags.brackets import MOST_HELD
from otel_llm.tags.cursor import Cursor, Step, literal, one_of, peek, run, until, white
from otel_llm.tags.grammars import Context, Grammar
from otel_llm.tags.pieces import PieceBuffer

NEXT_MESSAGE = "<|start|>"
_HARMONY_ENDS = ("<|end|>", "<|return|>", "<|call|>", NEXT_MESSAGE)
_MUSE_ENDS = ("<|eom|>", "<|eot|>")
_TYPES = ("", " <|constrain|>json", "<|constrain|>json", " json")

ANSWERS = {
    **{
        f"<|channel|>{channel}{kind}<|message|>": _HARMONY_ENDS
        for channel in ("final", "commentary")
        for kind in _TYPES
    },
    "<|start|>assistant to=user<|message|>": _MUSE_ENDS,
}
"""The headers of messages to the user, and what ends such a message."""

ANSWERS_AT_START = {" to=user<|message|>": _MUSE_ENDS}
"""The same, for headers that count only at the start of a text: the prompt ends with the rest of them."""

# Recipients that are no tools.
_PEOPLE = frozenset({"user", "self", "assistant", "all", "system", "developer"})
_CHANNELS = ("analysis", "commentary", "final")
_WORD = re.compile(r"[A-Za-z]*")


def recipient(name: str) -> str:
    """The tool that a message is to: `functions.f` is `f`. Empty if it is to no tool."""
    name = name.removeprefix("functions.")
    return "" if name in _PEOPLE else name


def undoubled(name: str) -> str:
    """Muse writes a tool without a namespace as `f.f`."""
    half = len(name) // 2
    return name[:half] if len(name) % 2 and name[half] == "." and name[:half] == name[half + 1 :] else name


def header(cursor: Cursor) -> Step[bool]:
    """Read the rest of a header of gpt-oss: `[<|channel|>NAME] [[<|constrain|>]TYPE]<|message|>`."""
    yield from white(cursor)
    if (yield from literal(cursor, "<|channel|>")):
        if (yield from one_of(cursor, _CHANNELS)) is None:
            return False
        yield from white(cursor)
    yield from literal(cursor, "<|constrain|>")
    yield from run(cursor, _WORD, 16)
    yield from white(cursor)
    return (yield from literal(cursor, "<|message|>"))


def message_of_calls(block: tuple[str, str], name: re.Pattern[str], grammar: Grammar) -> Grammar:
    """A message to the user that is one block of calls of declared tools, and nothing else.

    `block`: what opens and closes a block. `name`: finds the name of each call in it. Only the end of the message
    decides, so the block is held back until then.
    """
    opening, closing = block

    def read(cursor: Cursor, out: PieceBuffer, context: Context) -> Step[bool]:
        place = cursor.mark()
        if context.tools is None or not (yield from literal(cursor, opening)):
            return False
        text, end = yield from until(cursor, (closing,), most=MOST_HELD)
        names = [undoubled(found) for found in name.findall(text)]
        if end is None or not names or not all(map(context.may_be_tool, names)):
            return False
        yield from white(cursor)
        if (yield from one_of(cursor, _MUSE_ENDS)) is None and (yield from peek(cursor)):
            return False
        cursor.rewind(place)
        yield from literal(cursor, opening)
        return (yield from grammar(cursor, out, context))

    return read
