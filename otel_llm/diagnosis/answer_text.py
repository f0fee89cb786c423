"""What is in the text of a choice besides the answer: thoughts, calls, residue of markup.  Pure.

Each part is looked for in what the others left over, so that nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from otel_llm.diagnosis.bounds import Budget
from otel_llm.diagnosis.text_leak import Leak, find_leaks
from otel_llm.protocol.request import Tool
from otel_llm.tags.control_tokens import Token, tokens_in
from otel_llm.tags.thoughts import Thought, read_layout


class AnswerText(NamedTuple):
    """A text by its parts. `rest` is what is left of it without thoughts and calls, `unread` how many of its characters
    were not searched for calls, as those of a hostile text are not.
    """

    thoughts: tuple[Thought, ...] = ()
    leaks: tuple[Leak, ...] = ()
    unread: int = 0
    rest: str = ""
    ended: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in the text but thoughts and white space."""
        return not self.leaks and not self.unread and not self.rest.strip()

    def tokens(self) -> list[Token]:
        """The control tokens and lone tags in it."""
        return tokens_in(read_layout(self.rest).plain, ended=self.ended)


def read_answer(
    text: str,
    tools: Mapping[str, Tool],
    budget: Budget,
    *,
    settled: bool = True,
    cut_off: bool = False,
    marked_only: bool = False,
    is_thoughts: bool = False,
) -> AnswerText:
    """`settled`: no more text can come. `cut_off`: the model had not finished. `marked_only`: JSON is the answer.

    `is_thoughts`: all of it is thoughts, without a mark.
    """
    if is_thoughts:
        return AnswerText((Thought(0, len(text), text, ""),))
    part = budget.judged_part(text)
    beyond = len(text) - len(part)
    layout = read_layout(part)
    answer = layout.without_thoughts(part)
    found = find_leaks(answer, tools, budget, ended=settled and not beyond, marked_only=marked_only)
    unread = found.unread + beyond
    return AnswerText(layout.thoughts, tuple(found.found), unread, found.rest, settled and not cut_off and not unread)
