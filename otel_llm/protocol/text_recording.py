"""The text and the reasoning of a response: when they start, and what they say.  Pure.

Text is the content, a refusal, or the transcript of an answer that is spoken. Reasoning is in a field of its own or in
parts of the content (see `message_text.py`).

Deltas are appended as they come, by `Choice.keep_text` or in `Recording.feed`; they are measured and cut when `settle`
is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otel_llm.protocol.choice import Choice, Notice
from otel_llm.protocol.executed_tools import EXECUTED_TOOLS, count_executed_tools
from otel_llm.protocol.fields import field, items_of, text_of
from otel_llm.protocol.kept_text import KeptText
from otel_llm.protocol.message_text import (
    REASONING_FIELDS,
    content_text,
    is_media,
    part_reasoning,
    part_texts,
    reasoning_text,
)

# The fields that are read besides those that OpenAI's SDK declares.
_READ_BESIDE = frozenset({*REASONING_FIELDS, "images", EXECUTED_TOOLS})


class TextRecorder:
    """Reads the text and reasoning of all choices of a recording.

    `notices` gets a notice when the text of a choice starts. `limit`: how many characters of text and reasoning are
    kept, of all choices together.
    """

    __slots__ = ("_choices", "_notices", "_room", "has_text", "over_limit")

    def __init__(self, choices: Iterable[Choice], notices: list[Notice], limit: int) -> None:
        self._choices = choices
        self._notices = notices
        self._room = limit
        self.has_text = False
        """Whether any choice has text."""
        self.over_limit = 0
        """Characters beyond the limit."""

    def content(self, choice: Choice, content: Any, time_ns: int) -> None:
        """A content, a refusal or a transcript: a string, or a list of parts."""
        text = content if type(content) is str else content_text(content)
        if not text:
            for part in items_of(content):
                text = text_of(field(part, "text"))
                if text is not None:
                    self.content(choice, text, time_ns)
                elif reasoning := part_reasoning(part):
                    self._reasoning(choice, reasoning, time_ns)
                elif is_media(part):
                    choice.has_media = True
            return
        if choice.text_started_ns is None:
            choice.text_started_ns = time_ns
            self.has_text = True
            self._notices.append(Notice("text", choice))
            choice.keep_text = choice.text.fresh.append
        if choice.keep_text is not None:
            choice.keep_text(text)

    def other_fields(self, choice: Choice, delta: Any, time_ns: int) -> None:
        """A delta without content or tool calls: a refusal, something in a field of the provider's own, or nothing."""
        try:
            fields = delta.__dict__
        except Exception:  # noqa: BLE001  null, a plain mapping, or an object that raises
            fields = delta
        if type(fields) is not dict:
            return
        refusal = fields.get("refusal")
        if refusal is not None:
            self.content(choice, refusal, time_ns)
        if fields is delta or (fields.get("audio") is None and _READ_BESIDE.isdisjoint(fields)):
            # The other fields of a plain mapping are read as extra ones.
            return
        name = choice.reasoning_field
        if name is None:
            self.extra_fields(choice, fields, time_ns)
        elif name in fields:
            thought = fields[name]
            if type(thought) is str:
                choice.reasoning.fresh.append(thought)
            else:
                self.extra_fields(choice, fields, time_ns)
        if name is not None and EXECUTED_TOOLS in fields:
            count_executed_tools(choice, fields[EXECUTED_TOOLS])

    def extra_fields(self, choice: Choice, extra: Any, time_ns: int) -> None:
        """Fields besides those of the protocol: reasoning, or a spoken answer."""
        if type(extra) is not dict:
            return
        get = extra.get
        audio = get("audio")
        if audio is None and _READ_BESIDE.isdisjoint(extra):
            return
        for name in REASONING_FIELDS:
            value = get(name)
            # It is null in every chunk of some servers.
            if value is not None and (text := value if type(value) is str else reasoning_text(value)):
                choice.reasoning_field = name
                self._reasoning(choice, text, time_ns)
                break
        if audio is not None:
            self.content(choice, field(audio, "transcript"), time_ns)
            choice.has_media = choice.has_media or bool(text_of(field(audio, "data")))
        if "images" in extra and items_of(extra["images"]):
            # OpenRouter, and others that it stands for.
            choice.has_media = True
        if EXECUTED_TOOLS in extra:
            count_executed_tools(choice, extra[EXECUTED_TOOLS])

    def settle(self) -> None:
        """Measure the text that came since the last time, and keep what the limit allows."""
        for choice in self._choices:
            # Reasoning comes before the text.
            if choice.reasoning.fresh:
                self._keep(choice.reasoning, choice.reasoning.fresh)
            if choice.text.fresh:
                try:
                    self._keep(choice.text, choice.text.fresh)
                except TypeError:
                    texts = self._texts_in_parts(choice)
                    choice.text.fresh.clear()
                    self._keep(choice.text, texts)

    def _reasoning(self, choice: Choice, text: str, time_ns: int) -> None:
        if choice.reasoning_started_ns is None:
            choice.reasoning_started_ns = time_ns
        choice.reasoning.fresh.append(text)

    def _texts_in_parts(self, choice: Choice) -> list[str]:
        """The fresh text, if not all of it came as strings. Reasoning in its parts is kept apart."""
        texts: list[str] = []
        for content in choice.text.fresh:
            if (text := content_text(content)) is not None:
                texts.append(text)
                continue
            texts.append("".join(part_texts(content)))
            self._keep(choice.reasoning, [part_reasoning(part) for part in items_of(content)])
        return texts

    def _keep(self, text: KeptText, deltas: list[str]) -> None:
        before = text.over
        self._room -= text.keep(deltas, self._room)
        self.over_limit += text.over - before
        deltas.clear()
