"""Rewrites the tool calls in the text of Ollama's responses, as `stage.py` does for chat completions.  Pure.

This API has whole calls, with objects as arguments. So a call is put into the message that its end came with. Arguments
that are no object, as those of a call that was cut off, cannot be written so, and such a call becomes text.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from otel_llm.protocol.fields import items_of
from otel_llm.tags.rewritten_text import Rewriter, RewrittenText
from otel_llm.tags.sdk_classes import class_in_field
from otel_llm.tags.writers import CallDelta, Part, ThoughtDelta


class OllamaStage:
    """Rewrites one stream, or one response."""

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._inside = rewriter.thoughts.of_stream()
        self._text: RewrittenText | None = None
        self._open: list[CallDelta] = []
        self._last: Any = None

    def take(self, chunk: Any) -> Any:
        """Rewrite one line of a stream. Returns the same object."""
        message = chunk.message
        content = message.content
        if not isinstance(content, str):
            content = ""
        text = self._text
        if text is None:
            if self._inside and getattr(message, "thinking", None):
                # A server that parses thoughts leaves none in the text.
                self._inside = ()
            if not content:
                return chunk
            text = self._text = self._rewriter.begin(0, inside=self._inside)
        self._last = chunk
        is_done = chunk.done is True
        if not is_done and not self._open and (not content or text.scanner.is_plain(content)):
            return chunk
        parts = text.feed(content)
        if is_done:
            parts += text.flush()
            self._rewriter.thoughts.learn(text.scanner, getattr(chunk, "done_reason", None) or "stop")
        left, left_of_call = text.left, text.scanner.left_since_call
        self._put(message, content, parts, at_end=is_done)
        # All of an open call is still to be put somewhere.
        text.hand_on(content, left_of_call if self._open else left)
        return chunk

    def finish(self) -> list[Any]:
        """The stream is over: one more line with the text that was held back, if any was."""
        text = self._text
        if text is None:
            return []
        parts = text.flush()
        self._rewriter.thoughts.learn(text.scanner, None)
        chunk = self._one_more()
        self._put(chunk.message, "", parts, at_end=True)
        text.hand_on("", 0)
        return [chunk] if _says_something(chunk.message) else []

    def give_back_rest(self) -> list[Any]:
        """After a failure, at the end of the stream: one more line with the text that is still held back, if any."""
        held = "" if self._text is None else self._text.held
        if not held:
            return []
        chunk = self._one_more()
        chunk.message.content = held
        return [chunk]

    def give_back_plainly(self) -> list[Any]:
        """The same if that fails, in the simplest form: the last line once more, with nothing else in its message."""
        held = "" if self._text is None else self._text.held
        if not held:
            return []
        chunk = copy.deepcopy(self._last)
        chunk.message = type(chunk.message)(role="assistant", content=held)
        return [chunk]

    def give_back(self, chunk: Any) -> Any:
        """The stage failed at this line or an earlier one: put the text it holds back where it belongs, as it came."""
        text, self._text = self._text, None
        if text is not None and (held := text.held):
            chunk.message.content = held + (chunk.message.content or "")
        return chunk

    def rewrite_response(self, response: Any) -> None:
        """Rewrite an unstreamed response, in place."""
        message = response.message
        content = message.content
        if not isinstance(content, str) or not content:
            return
        inside: Sequence[str] = ()
        if not getattr(message, "thinking", None):
            reason = getattr(response, "done_reason", None)
            inside = self._rewriter.thoughts.of_whole(content, self._rewriter.tools, reason)
        text = self._rewriter.begin(0, inside=inside)
        self._put(message, content, [*text.feed(content), *text.flush()], at_end=True)

    def _one_more(self) -> Any:
        chunk = copy.deepcopy(self._last)
        message = chunk.message
        message.content = ""
        for name in ("thinking", "tool_calls", "images"):
            if getattr(message, name, None) is not None:
                setattr(message, name, None)
        return chunk

    def _put(self, message: Any, content: str, parts: Sequence[Part], *, at_end: bool) -> None:
        """Put what a content was rewritten to in its place. All of it is made before anything is replaced."""
        still_open = [copy.copy(call) for call in self._open]
        written, thoughts, calls = "", "", []
        for part in parts:
            if type(part) is str:
                written += part
            elif type(part) is ThoughtDelta:
                thoughts += part.text
            elif type(part) is CallDelta:
                open_call = next((call for call in still_open if call.index == part.index), None)
                if open_call is None:
                    still_open.append(open_call := copy.copy(part))
                else:
                    open_call.arguments += part.arguments
                    open_call.ends = part.ends
                if open_call.ends:
                    still_open.remove(open_call)
                    made = _made(message, open_call)
                    if made is None:
                        written += _as_text(open_call)
                    else:
                        calls.append(made)
        if at_end:
            written += "".join(map(_as_text, still_open))
            still_open = []
        if calls:
            message.tool_calls = [*items_of(getattr(message, "tool_calls", None)), *calls]
        if thoughts:
            message.thinking = (getattr(message, "thinking", None) or "") + thoughts
        if written != content:
            message.content = written
        self._open = still_open


def _made(message: Any, call: CallDelta) -> Any:
    """The call in the SDK's class, None if its arguments are no object."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(arguments, dict):
        return None
    kind: Any = type(message)
    make = class_in_field(kind, "tool_calls", "function")
    return make(function={"name": call.name or "", "arguments": arguments})


def _as_text(call: CallDelta) -> str:
    name = json.dumps(call.name or "", ensure_ascii=False)
    return f'{{"name": {name}, "arguments": {call.arguments}'


def _says_something(message: Any) -> bool:
    return bool(message.content or getattr(message, "thinking", None) or getattr(message, "tool_calls", None))
