"""A pytest fixture that shows what models sent during a test. pytest finds the plugin, `otel_llm`, by its entry point.

>>> def test_my_agent(llm_streams):
...     run_my_agent("buy milk")
...     (stream,) = llm_streams
...     assert stream.tool_calls[0].name == "add_task"
...     assert stream.tool_calls[0].parsed == {"title": "buy milk"}
...     assert stream.anomalies == []
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, overload

import pytest

from otel_llm.protocol.call_snapshot import ToolCall, calls_in

if TYPE_CHECKING:
    from otel_llm.observation import Observation

__all__ = ["Stream", "Streams", "ToolCall", "llm_streams", "watch_streams"]


class Stream:
    """One request and its response so far, streamed or not."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        request = observation.request
        self.model: str = "" if request is None else request.model
        """The requested model."""

    @property
    def streamed(self) -> bool:
        return self._observation.recording.streamed

    @property
    def outcome(self) -> str | None:
        """`completed`, `closed`, `abandoned`, `cancelled` or `error`; None while the response is open."""
        return self._observation.recording.outcome

    @property
    def chunk_count(self) -> int:
        return self._observation.recording.chunk_count

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls so far, choice by choice, each choice's in the order in which they began."""
        return calls_in(self._observation.recording)

    @property
    def text(self) -> str:
        return "".join(choice.text.whole for choice in self._observation.recording.choices)

    @property
    def reasoning(self) -> str:
        return "".join(choice.reasoning.whole for choice in self._observation.recording.choices)

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice."""
        choices = self._observation.recording.choices
        return choices[0].finish_reason if choices else None

    @property
    def anomalies(self) -> list[str]:
        """The types of the anomalies (docs/anomalies.md); empty until the stream ends."""
        return [anomaly.type for anomaly in self._observation.anomalies]

    @property
    def repeated_calls(self) -> int:
        """In so many turns in a row the model made the same call and got the same result; 0 if it repeated none."""
        return self._observation.repeated_calls

    @property
    def anomaly_details(self) -> list[str]:
        """The anomalies as `type: detail`."""
        return [f"{anomaly.type}: {anomaly.detail}" for anomaly in self._observation.anomalies]

    def __repr__(self) -> str:
        calls = ", ".join(f"{call.name}({call.arguments})" for call in self.tool_calls)
        return f"<Stream {self.model!r} {self.outcome or 'open'}: calls=[{calls}] anomalies={self.anomaly_details}>"


class Streams(Sequence[Stream]):
    """The streams, in the order of their requests."""

    def __init__(self) -> None:
        self._streams: list[Stream] = []

    def _begun(self, observation: Observation) -> None:
        self._streams.append(Stream(observation))

    @overload
    def __getitem__(self, index: int) -> Stream: ...
    @overload
    def __getitem__(self, index: slice) -> list[Stream]: ...
    def __getitem__(self, index: int | slice) -> Stream | list[Stream]:
        return self._streams[index]

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls of all streams."""
        return [call for stream in self._streams for call in stream.tool_calls]

    @property
    def anomalies(self) -> list[str]:
        """The anomalies of all streams."""
        return [anomaly for stream in self._streams for anomaly in stream.anomalies]

    def __repr__(self) -> str:
        return f"Streams({self._streams!r})"


@contextmanager
def watch_streams() -> Iterator[Streams]:
    """Collect the streams that begin within the `with` block, of every supported SDK, instrumented or not."""
    # pytest loads this module in every project; OpenTelemetry is only loaded when the fixture is used.
    from otel_llm.testing.unobserved import listening

    streams = Streams()
    with listening(streams._begun):
        yield streams


@pytest.fixture
def llm_streams() -> Iterator[Streams]:
    """What models sent during this test: `llm_streams[0].tool_calls[0].name`, `llm_streams[0].anomalies`."""
    with watch_streams() as streams:
        yield streams
