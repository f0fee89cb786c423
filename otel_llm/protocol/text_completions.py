"""Text completions, the API before chat completions: their requests and chunks as those of chat completions.  Pure.

Shapes: the OpenAI API reference, "Completions". The readings:

- A choice has a `text` where a chat's choice has a delta or a message; the rest of a chunk is the same.
- A prompt is one text, or several with an answer each. A prompt of tokens is no text, and is left out.
- The application writes the prompt in the form that the model was trained on, so marks of thoughts and control tokens
  in the answer are what it asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_llm.protocol.choice import Notice
from otel_llm.protocol.fields import field, given, items_of, text_of
from otel_llm.protocol.made_chunks import MadeChunk, Translator
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest, with_extra_body

_OBJECT = "text_completion"
_MOST_PROMPTS = 128
_SAME = ("id", "model", "service_tier", "system_fingerprint", "usage", "error")


def is_text_completion(response: Any) -> bool:
    """Whether a response or chunk is one of this API."""
    if text_of(field(response, "object")) == _OBJECT:
        return True
    choices = items_of(field(response, "choices"))
    first = choices[0] if choices else None
    return field(first, "text") is not None and field(first, "delta") is None and field(first, "message") is None


def text_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `completions.create` as those of `chat.completions.create`."""
    made = dict(with_extra_body(kwargs))
    prompt = given(made.pop("prompt", None))
    prompts = [prompt] if text_of(prompt) is not None else items_of(prompt)[:_MOST_PROMPTS]
    texts = [text for text in prompts if text_of(text) is not None]
    if texts:
        made["messages"] = [{"role": "user", "content": text} for text in texts]
    return made


class TextCompletionChunks(Translator):
    """Reads one response into `recording`: `feed` for each chunk, or `read_response` for an unstreamed one."""

    api: Final = "completions"

    def __init__(self, recording: Recording, _request: ChatRequest | None = None) -> None:
        super().__init__(recording)
        self._choice = self._text_chunk.choices[0]

    def feed(self, chunk: Any, wait_started_ns: int, received_ns: int) -> list[Notice] | None:
        """Take one chunk, as `Recording.feed` does."""
        try:
            (choice,) = chunk.choices
            text = choice.text
            # The first chunk says which model answers, and the last ones are few.
            plain = type(text) is str and choice.finish_reason is None and chunk.usage is None
            if plain and self._recording.response_id is not None:
                self._choice.index = choice.index
                self._text_delta.content = text
                return self._feed(self._text_chunk, wait_started_ns, received_ns)
        except Exception:  # noqa: BLE001, S110  a mapping, a mock, a chunk without a choice or with several
            pass
        return self._feed(_as_chat(chunk, "delta"), wait_started_ns, received_ns)

    def read_response(self, response: Any, received_ns: int) -> list[Notice]:
        """Take an unstreamed response."""
        return self._recording.read_response(_as_chat(response, "message"), received_ns)


def _as_chat(response: Any, part: str) -> MadeChunk:
    """`part`: where a choice of a chat completion has the text, `delta` or `message`."""
    made: MadeChunk = {name: value for name in _SAME if (value := field(response, name)) is not None}
    made["choices"] = [
        {
            "index": field(choice, "index"),
            part: {"content": field(choice, "text")},
            "finish_reason": field(choice, "finish_reason"),
        }
        for choice in items_of(field(response, "choices"))
    ]
    return made
