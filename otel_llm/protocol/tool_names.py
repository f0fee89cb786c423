"""The name of a tool call, which may come in pieces.  Pure.

- Pieces are joined while the result is, or begins, the name of a declared tool.
- The same name again adds nothing. Any other name contradicts the first; it is noted, and the first one stays.
- Pieces that never became a declared name were contradictions too, unless the call was cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm.protocol import json_values
from otel_llm.protocol.json_values import Shape
from otel_llm.protocol.unicode_text import ends_with_half, join_surrogates

if TYPE_CHECKING:
    from otel_llm.protocol.choice import Limits
    from otel_llm.protocol.tool_call import ToolCall


class ToolNames:
    """The names that calls may have. `declared` is None if any name may be right."""

    __slots__ = ("_limits", "declared")

    def __init__(self, declared: frozenset[str] | None, limits: Limits) -> None:
        self.declared = declared
        self._limits = limits

    def may_become_declared(self, name: str) -> bool:
        """Whether `name` is a declared name or the beginning of one."""
        if self.declared is None:
            return False
        if ends_with_half(name):
            name = name[:-1]
        return any(tool.startswith(name) for tool in self.declared)

    def contradicts(self, call: ToolCall, name: str) -> bool:
        """Whether `name` is neither the name of `call` nor its next piece."""
        if call.name is None or name == call.name:
            return False
        is_declared = self.declared is not None and name in self.declared
        return is_declared or not self.may_become_declared(call.name + name)

    def add(self, call: ToolCall, piece: str, time_ns: int) -> bool:
        """Take a name, or a piece of one. Returns whether the call's name is now known to be complete."""
        declared = self.declared
        joined = join_surrogates("".join([*call.name_pieces, piece]))
        if call.name is None:
            call.named_ns = time_ns
            call.name = joined
            call.name_pieces.append(piece)
        elif piece == call.name and (declared is None or piece in declared):
            return False
        elif self.may_become_declared(joined):
            call.name = joined
            call.name_pieces.append(piece)
        elif piece != call.name:
            note(call.other_names, piece, self._limits)
        return declared is None or call.name in declared or not self.may_become_declared(call.name)

    def settle(self, call: ToolCall, *, was_cut_off: bool) -> None:
        """No more pieces come. `was_cut_off`: the choice was stopped before the model had finished it."""
        pieces = call.name_pieces
        if len(pieces) < 2 or self.declared is None or call.name in self.declared:
            return
        if was_cut_off and json_values.read(call.arguments).shape not in {Shape.OBJECT, Shape.OTHER}:
            return
        later, call.other_names = call.other_names, []
        call.name = pieces[0]
        for name in [*pieces[1:], *later]:
            if name != call.name:
                note(call.other_names, name, self._limits)


def note(notes: list[str], value: str, limits: Limits) -> None:
    """Keep the beginning of an id or name that contradicts the first, once and within the limits."""
    value = value[: limits.note]
    if len(notes) < limits.notes and value not in notes:
        notes.append(value)
