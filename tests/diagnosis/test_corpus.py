"""The labelled streams have the anomalies of their labels, and so have healthy ones that are broken by a program."""

from __future__ import annotations

import codecs
import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.cli import main
from otel_llm.demo.scripted_server import ScriptedServer
from otel_llm.diagnosis.explanations import BY_TYPE, EXPLANATIONS
from otel_llm.exchanges.bodies import BodyReader
from otel_llm.exchanges.entries import ResponseEnd
from otel_llm.exchanges.reading import read_exchanges
from otel_llm.exchanges.verdicts import judge
from tests.helpers.corpus_streams import Labelled, judged, load, paths, reads_of
from tests.helpers.plain_text import plain_text
from tests.helpers.sdk_versions import READS_NAMED_EVENTS, known
from tests.helpers.seen import Seen
from tests.helpers.streams import anomalies_of, call, calls, ends, says
from tests.helpers.thoroughness import examples

PATHS = paths()
# What chunks do not show.
OF_BYTES = {one.type for one in EXPLANATIONS if one.group == "The bytes"}


def without_bytes(names: list[str]) -> list[str]:
    return [name for name in names if name not in OF_BYTES]


every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@cache
def found_in(path: Path) -> list[str]:
    """The types of the anomalies that `otel-llm inspect` finds."""
    (verdict,) = judge(read_exchanges(path))
    return sorted(anomaly.type for anomaly, _ in verdict.anomalies)


@every
def test_a_stream_has_the_anomalies_of_its_label(path: Path) -> None:
    stream = load(path)
    assert found_in(path) == stream.expected
    for as_sdk in (True, False):
        found = judged(
            stream.chunks, stream.times, stream.request, stream.ends, as_sdk=as_sdk, provider=stream.provider
        )
        assert found == without_bytes(stream.expected)


def test_precision_and_recall(capsys: pytest.CaptureFixture[str]) -> None:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for path in PATHS:
        found, expected = Counter(found_in(path)), Counter(load(path).expected)
        right += found & expected
        wrong += found - expected
        missed += expected - found
    rates = {
        name: (right[name] / max(1, right[name] + wrong[name]), right[name] / max(1, right[name] + missed[name]))
        for name in sorted({*right, *wrong, *missed})
    }
    with capsys.disabled():
        healthy = sum(load(path).is_healthy for path in PATHS)
        print(f"\n{len(PATHS)} streams, {healthy} of them healthy")
        for name, (precision, recall) in rates.items():
            print(f"{name:24} {right[name] + missed[name]:3} labelled, precision {precision:.3f}, recall {recall:.3f}")
    assert set(rates) == set(BY_TYPE)
    assert set(rates.values()) == {(1.0, 1.0)}


def test_there_are_enough_streams_of_each_type() -> None:
    streams = [load(path) for path in PATHS]
    assert sum(stream.is_healthy for stream in streams) >= 60
    count = Counter(name for stream in streams for name in set(stream.expected))
    assert set(count) == set(BY_TYPE)
    assert min(count.values()) >= 3, count
    assert all(stream.name.startswith("healthy-" if stream.is_healthy else "broken-") for stream in streams)


@every
def test_the_exit_status_of_inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = load(path)
    status = 0 if stream.is_healthy and stream.ends.outcome != "error" else 1
    assert main(["inspect", str(path)]) == status
    out = capsys.readouterr().out
    assert all(name in out for name in stream.expected)
    assert ("ANOMALY" in out) is not stream.is_healthy
    assert main(["inspect", "--json", str(path)]) == status
    printed = json.loads(capsys.readouterr().out)
    assert sorted(anomaly["type"] for anomaly in printed["anomalies"]) == stream.expected


# Without streams that need waits of seconds, an application that stops, one that reads what is no event, or a server
# elsewhere.
LIVE = [
    path
    for path in PATHS
    if load(path).ends.outcome == "completed"
    and not {"stalled", "invalid_framing"} & {*load(path).expected}
    and (load(path).is_healthy or load(path).provider is None)
]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    """A client of a server that plays the stream whose name a request has as its model."""
    steps = {path.stem: [data for _, data in reads_of(path)] or [b""] for path in LIVE}
    with (
        ScriptedServer(lambda body: steps[body["model"]]) as server,
        openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0, timeout=10) as client,
    ):
        yield client


@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.stem)
def test_the_same_anomalies_over_http(path: Path, client: openai.OpenAI, instrument: Callable[..., Seen]) -> None:
    stream = load(path)
    seen = instrument(log=False, stall_seconds=600)
    request: Any = stream.request | {"model": path.stem}
    if path.stem == "healthy-framing-event-fields" and not READS_NAMED_EVENTS:
        pytest.skip("this version of the OpenAI SDK does not read chunks from events with a name")
    chunks = list(client.chat.completions.create(**known(request)))
    assert len(chunks) == len(stream.chunks)
    # As a set, because the events of 257 calls do not fit on a span either, which is one more `limit_exceeded`.
    assert set(seen.anomalies) == set(without_bytes(stream.expected))


# -- breaking healthy streams --


class Broken(NamedTuple):
    """A stream with one fault. `also`: other anomalies that the same fault may cause. `provider`: who sent it."""

    chunks: list[dict[str, Any]]
    request: dict[str, Any]
    times: list[int]
    also: frozenset[str] = frozenset()
    provider: str | None = None


class Call:
    """The last function call of a choice: its deltas, and where they are."""

    def __init__(self, stream: Labelled) -> None:
        self.chunks = copy.deepcopy(stream.chunks)
        self.request = copy.deepcopy(stream.request)
        self.times = list(stream.times)
        self.choice, self.index = -1, -1
        self.names: list[str] = []
        deltas = [
            (at, choice["index"], delta)
            for at, chunk in enumerate(self.chunks)
            for choice in chunk.get("choices") or ()
            for delta in (choice.get("delta") or {}).get("tool_calls") or ()
            if "custom" not in delta
        ]
        self.deltas: list[dict[str, Any]] = []
        if deltas:
            self.choice, self.index = deltas[-1][1], deltas[-1][2]["index"]
            mine = [
                (at, delta) for at, choice, delta in deltas if (choice, delta["index"]) == (self.choice, self.index)
            ]
            self.deltas = [delta for _, delta in mine]
            self.last_at = mine[-1][0]
        self.indexes = {delta["index"] for _, choice, delta in deltas if choice == self.choice}
        self.name = "".join(delta.get("function", {}).get("name") or "" for delta in self.deltas[:2])
        if len({delta.get("function", {}).get("name") for delta in self.deltas} - {None, ""}) == 1:
            self.name = next(n for d in self.deltas if (n := d.get("function", {}).get("name")))
        self.id = next((delta["id"] for delta in self.deltas if delta.get("id")), None)
        self.arguments = "".join(delta.get("function", {}).get("arguments") or "" for delta in self.deltas)

    def write(self, arguments: Any) -> None:
        """Replace the arguments: all of them in the first delta with a function."""
        for delta in self.deltas:
            if "arguments" in (delta.get("function") or {}):
                delta["function"]["arguments"] = ""
        self.deltas[-1].setdefault("function", {})["arguments"] = arguments

    def insert(self, delta: Any, *, also: dict[str, Any] | None = None) -> None:
        """Add a chunk with this delta after the call's last one, before any finish reason of that chunk."""
        body = {"tool_calls": [delta], **(also or {})} if delta is not None else dict(also or {})
        before = self.last_at if self.deltas else self.finish_at() or 0
        finishing = [choice for choice in self.chunks[before].get("choices") or () if choice.get("finish_reason")]
        at = before + 1
        if finishing and self.deltas:
            # Move the finish reason into a chunk of its own after it.
            reasons = [(choice["index"], choice["finish_reason"]) for choice in finishing]
            for choice in finishing:
                choice["finish_reason"] = None
            self._put(at, [{"index": index, "delta": {}, "finish_reason": reason} for index, reason in reasons])
        elif not self.deltas:
            at = before
        self._put(at, [{"index": max(self.choice, 0), "delta": body, "finish_reason": None}])

    def append(self, delta: Any) -> None:
        self._put(len(self.chunks), [{"index": self.choice, "delta": {"tool_calls": [delta]}, "finish_reason": None}])

    def _put(self, at: int, choices: list[Any]) -> None:
        self.chunks.insert(
            at, {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
        )
        self.times.insert(at, self.times[min(at, len(self.times) - 1)] if self.times else 0)

    def finish_at(self) -> int | None:
        places = [
            at for at, chunk in enumerate(self.chunks) for one in chunk.get("choices") or () if one.get("finish_reason")
        ]
        return places[0] if places else None

    def finish(self, reason: Any) -> None:
        for chunk in self.chunks:
            for choice in chunk.get("choices") or ():
                if choice.get("finish_reason") and choice.get("index") in {self.choice, max(self.choice, 0)}:
                    choice["finish_reason"] = reason

    def done(self, *also: str) -> Broken:
        return Broken(self.chunks, self.request, self.times, frozenset(also))


def declared(stream: Labelled) -> dict[str, Any]:
    entries = [
        *(stream.request.get("tools") or ()),
        *({"function": one} for one in stream.request.get("functions") or ()),
    ]
    return {one["function"]["name"]: one["function"].get("parameters") or {} for one in entries if "function" in one}


MUTATIONS: dict[str, Callable[[Labelled, Call], Broken | None]] = {}
Mutation = Callable[[Labelled, Call], Broken | None]


def breaks(name: str) -> Callable[[Mutation], Mutation]:
    def add(mutation: Mutation) -> Mutation:
        MUTATIONS[name] = mutation
        return mutation

    return add


def of_a_call(name: str) -> Callable[[Mutation], Mutation]:
    """For streams with a call in a choice that the server finished."""

    def add(mutation: Mutation) -> Mutation:
        def guarded(stream: Labelled, one: Call) -> Broken | None:
            whole = one.deltas and stream.ends.outcome == "completed" and one.finish_at() is not None
            if not whole or any(
                choice.get("finish_reason") == "length" for chunk in one.chunks for choice in chunk.get("choices") or ()
            ):
                return None
            return mutation(stream, one)

        return breaks(name)(guarded)

    return add


@of_a_call("invalid_json")
def _(_: Labelled, one: Call) -> Broken | None:
    if not one.arguments:
        return None
    one.write(one.arguments[:-1])
    return one.done()


@of_a_call("arguments_duplicated")
def _(_: Labelled, one: Call) -> Broken | None:
    one.write((one.arguments or "{}") * 2)
    return one.done()


@of_a_call("arguments_not_object")
def _(_: Labelled, one: Call) -> Broken:
    one.write(json.dumps(one.arguments))
    return one.done()


@of_a_call("arguments_not_string")
def _(_: Labelled, one: Call) -> Broken:
    one.write(json.loads(one.arguments or "{}"))
    return one.done()


@of_a_call("empty_arguments")
def _(stream: Labelled, one: Call) -> Broken | None:
    if not declared(stream)[one.name].get("required"):
        return None
    one.write("")
    return one.done()


@of_a_call("schema_violation")
def _(stream: Labelled, one: Call) -> Broken | None:
    schema = declared(stream)[one.name]
    if schema.get("required"):
        one.write("{}")
    elif schema.get("properties"):
        one.write(json.dumps({key: [None] for key in schema["properties"]}))
    else:
        schema["additionalProperties"] = False
        one.request["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": of}} for name, of in declared(stream).items()
        ]
        one.write('{"made up": 1}')
    return one.done("duplicate_call")


@of_a_call("truncated")
def _(_: Labelled, one: Call) -> Broken | None:
    if len(one.indexes) > 1:
        return None
    one.write(one.arguments[: len(one.arguments) // 2])
    one.finish("length")
    return one.done("repetition")


@of_a_call("missing_name")
def _(_: Labelled, one: Call) -> Broken:
    for delta in one.deltas:
        (delta.get("function") or {}).pop("name", None)
    return one.done("tool_choice_violated")


@of_a_call("missing_id")
def _(_: Labelled, one: Call) -> Broken:
    for delta in one.deltas:
        delta.pop("id", None)
    return one.done()


@of_a_call("missing_index")
def _(_: Labelled, one: Call) -> Broken | None:
    if len(one.indexes) > 1:
        return None
    for delta in one.deltas:
        del delta["index"]
    return one.done()


@of_a_call("name_changed")
def _(_: Labelled, one: Call) -> Broken:
    one.insert({"index": one.index, "function": {"name": "another_name"}})
    return one.done()


@of_a_call("id_changed")
def _(_: Labelled, one: Call) -> Broken:
    one.insert({"index": one.index, "id": "another_id", "function": {"arguments": ""}})
    return one.done()


def second(one: Call, index: Any, id_: Any, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": id_, "type": "function", "function": {"name": one.name, "arguments": arguments}}


def other(arguments: str) -> str:
    """Other arguments: the same with one more field."""
    return json.dumps({**json.loads(arguments or "{}"), "something else": 1})


@of_a_call("index_reused")
def _(_: Labelled, one: Call) -> Broken | None:
    if not one.arguments:
        return None
    one.insert(second(one, one.index, "another_id", other(one.arguments)))
    return one.done("parallel_violated", "schema_violation")


@of_a_call("duplicate_id")
def _(_: Labelled, one: Call) -> Broken:
    one.insert(second(one, 10**6, one.id, other(one.arguments)))
    return one.done("parallel_violated", "schema_violation")


@of_a_call("duplicate_call")
def _(stream: Labelled, one: Call) -> Broken | None:
    if not declared(stream)[one.name].get("properties") or "twice" in str(one.request["messages"]):
        return None
    one.insert(second(one, 10**6, "another_id", one.arguments))
    return one.done("parallel_violated")


@of_a_call("parallel_violated")
def _(_: Labelled, one: Call) -> Broken:
    one.request["parallel_tool_calls"] = False
    one.insert(second(one, 10**6, "another_id", other(one.arguments)))
    return one.done("schema_violation")


@of_a_call("unknown_tool")
def _(_: Labelled, one: Call) -> Broken:
    for delta in one.deltas:
        if (delta.get("function") or {}).get("name"):
            delta["function"]["name"] = "made_up"
    return one.done("tool_choice_violated")


@of_a_call("delta_after_finish")
def _(_: Labelled, one: Call) -> Broken:
    one.append({"index": one.index, "function": {"arguments": ""}})
    return one.done()


@of_a_call("invalid_unicode")
def _(_: Labelled, one: Call) -> Broken:
    one.write(json.dumps({**json.loads(one.arguments or "{}"), "half": "\udc00"}))
    return one.done("schema_violation")


@of_a_call("limit_exceeded")
def _(_: Labelled, one: Call) -> Broken:
    for delta in one.deltas:
        if delta.get("id"):
            delta["id"] = delta["id"] * 9000
    return one.done()


@of_a_call("tool_choice_violated")
def _(_: Labelled, one: Call) -> Broken:
    one.request["tool_choice"] = "none"
    return one.done("finish_reason_mismatch")


@breaks("finish_reason_mismatch")
def _(stream: Labelled, one: Call) -> Broken | None:
    reasons = {choice.get("finish_reason") for chunk in one.chunks for choice in chunk.get("choices") or ()}
    if not reasons <= {None, "stop", "tool_calls"} or stream.ends.outcome != "completed":
        return None
    if not one.deltas and "tool_calls" in reasons:
        return None
    one.request.pop("tool_choice", None)
    one.finish("end_turn" if one.deltas else "tool_calls")
    return one.done()


@breaks("missing_finish_reason")
def _(stream: Labelled, one: Call) -> Broken | None:
    if stream.ends.outcome != "completed":
        return None
    one.finish(None)
    # Without `length`, a required call that is missing is an anomaly, and so is one that never left the thoughts.
    # Usage is also looked for in the choice that has the finish reason.
    return one.done("tool_choice_violated", "call_in_reasoning", "missing_usage")


@breaks("text_leak")
def _(stream: Labelled, one: Call) -> Broken | None:
    names = sorted(declared(stream))
    if not names or stream.ends.outcome != "completed" or one.finish_at() is None:
        return None
    leak = json.dumps({"name": names[0], "arguments": {}})
    one.insert(None, also={"content": f"\n<tool_call>{leak}</tool_call>\n"})
    return one.done()


def holds(stream: Labelled, *words: str) -> bool:
    """Whether the request, or the answer, has one of these in it already."""
    said = json.dumps([stream.request, stream.chunks], ensure_ascii=False)
    return any(word in said for word in words)


@breaks("token_leak")
def _(stream: Labelled, one: Call) -> Broken | None:
    if stream.ends.outcome != "completed" or one.finish_at() is None or holds(stream, "<|eot_id|>", "```", "<think>"):
        return None
    one.insert(None, also={"content": "<|eot_id|>\n"})
    return one.done()


@breaks("reasoning_leak")
def _(stream: Labelled, one: Call) -> Broken | None:
    if (
        stream.ends.outcome != "completed"
        or one.finish_at() is None
        or holds(stream, "think>", "reasoning_format", "```")
    ):
        return None
    one.insert(None, also={"content": "\n<think>\nIs that all?\n</think>\n"})
    return one.done()


@of_a_call("call_in_reasoning")
def _(stream: Labelled, one: Call) -> Broken | None:
    """The only call of a response moves into the thoughts."""
    places = [(chunk, choice) for chunk in one.chunks for choice in chunk.get("choices") or ()]
    texts = [choice["delta"].get("content") for _, choice in places if choice.get("delta")]
    if len(one.indexes) > 1 or one.choice > 0 or any(texts) or len({choice["index"] for _, choice in places}) > 1:
        return None
    for _, choice in places:
        if choice.get("delta"):
            choice["delta"].pop("tool_calls", None)
    body = json.dumps({"name": one.name, "arguments": json.loads(one.arguments or "{}")})
    one.deltas = []
    one.insert(None, also={"reasoning_content": f"I call it.\n<tool_call>\n{body}\n</tool_call>"})
    one.finish("stop")
    return one.done("tool_choice_violated", "empty_response")


@breaks("stalled")
def _(_: Labelled, one: Call) -> Broken | None:
    if len(one.times) < 2:
        return None
    half = len(one.times) // 2
    one.times[half:] = [time_ns + 11 * 10**9 for time_ns in one.times[half:]]
    return one.done()


# -- results in the request --


def with_results(*results: str) -> Mutation:
    """A request whose last turn has the calls `a` and `b`, and these results."""

    def mutation(stream: Labelled, one: Call) -> Broken | None:
        if not isinstance(one.request.get("messages"), list):
            return None
        function = {"name": "list_tasks", "arguments": "{}"}
        calls = [{"id": call, "type": "function", "function": function} for call in "ab"]
        turn: list[dict[str, Any]] = [{"role": "assistant", "content": None, "tool_calls": calls}]
        turn += [{"role": "tool", "tool_call_id": result, "content": "[]"} for result in results]
        request = {**one.request, "messages": [*one.request["messages"], *turn]}
        return Broken(one.chunks, request, one.times, frozenset({"id_reused"}))

    return mutation


def called_before(one: Call, *ids: str, name: str, arguments: str) -> dict[str, Any]:
    """The request with a turn for each id, in which this call was made and had its result."""
    messages = list(one.request["messages"])
    for call_id in ids:
        function = {"name": name, "arguments": arguments}
        messages.append(
            {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]}
        )
        messages.append({"role": "tool", "tool_call_id": call_id, "content": "[]"})
    return {**one.request, "messages": messages}


@of_a_call("id_reused")
def _(_: Labelled, one: Call) -> Broken | None:
    if one.id is None or not isinstance(one.request.get("messages"), list):
        return None
    request = called_before(one, one.id, name="another", arguments="{}")
    return Broken(one.chunks, request, one.times)


@of_a_call("repeated_call")
def _(_: Labelled, one: Call) -> Broken | None:
    choices = [choice for chunk in one.chunks for choice in chunk.get("choices") or ()]
    if len(one.indexes) > 1 or len({choice["index"] for choice in choices}) > 1:
        return None
    if not isinstance(one.request.get("messages"), list):
        return None
    # Written differently, with the same meaning.
    arguments = json.dumps(json.loads(one.arguments or "{}"), indent=2)
    request = called_before(one, "before_1", "before_2", name=one.name, arguments=arguments)
    return Broken(one.chunks, request, one.times)


@breaks("unacceptable_id")
def _(_: Labelled, one: Call) -> Broken | None:
    if not isinstance(one.request.get("messages"), list):
        return None
    request = called_before(one, "call_of_another", name="another", arguments="{}")
    return Broken(one.chunks, request, one.times, frozenset({"unacceptable_name"}), "mistral_ai")


@breaks("unacceptable_name")
def _(_: Labelled, one: Call) -> Broken | None:
    tools = [*(one.request.get("tools") or ()), {"type": "function", "function": {"name": "tasks.add"}}]
    return Broken(one.chunks, {**one.request, "tools": tools}, one.times, frozenset({"unknown_tool"}), "openai")


# -- the text --


def texts_of(one: Call) -> list[str]:
    """The texts of the first choice, none if not all of its contents are strings."""
    contents = [
        content
        for chunk in one.chunks
        for choice in chunk.get("choices") or ()
        if choice.get("index") in {0, None} and (content := (choice.get("delta") or {}).get("content"))
    ]
    return contents if all(isinstance(content, str) for content in contents) else []


def says_with_the_finish(one: Call) -> bool:
    """Whether the last text comes with the finish reason, before which other text is inserted."""
    choices = [choice for chunk in one.chunks for choice in chunk.get("choices") or () if choice.get("finish_reason")]
    return any((choice.get("delta") or {}).get("content") for choice in choices)


def of_an_ended_stream(name: str) -> Callable[[Mutation], Mutation]:
    """For streams that the server finished, other than by a limit or a filter."""

    def add(mutation: Mutation) -> Mutation:
        def guarded(stream: Labelled, one: Call) -> Broken | None:
            reasons = {choice.get("finish_reason") for chunk in one.chunks for choice in chunk.get("choices") or ()}
            ended = stream.ends.outcome == "completed" and one.finish_at() is not None
            return mutation(stream, one) if ended and not reasons & {"length", "content_filter"} else None

        return breaks(name)(guarded)

    return add


@of_an_ended_stream("empty_response")
def _(_: Labelled, one: Call) -> Broken:
    for chunk in one.chunks:
        for choice in chunk.get("choices") or ():
            choice["delta"] = {"role": "assistant", "content": ""}
            if choice.get("finish_reason"):
                choice["finish_reason"] = "stop"
    return one.done("tool_choice_violated")


@of_an_ended_stream("duplicated_text")
def _(_: Labelled, one: Call) -> Broken | None:
    text = "".join(texts_of(one))
    if len(text) < 16 or says_with_the_finish(one):
        return None
    one.deltas = []
    one.insert(None, also={"content": text})
    # The thoughts in it are no longer at the beginning.
    return one.done("text_leak")


@of_an_ended_stream("repetition")
def _(_: Labelled, one: Call) -> Broken | None:
    if says_with_the_finish(one):
        return None
    one.insert(None, also={"content": "No, wait. " * 250})
    return one.done()


@of_an_ended_stream("replacement_character")
def _(_: Labelled, one: Call) -> Broken | None:
    if "\ufffd" in json.dumps(one.request, ensure_ascii=False):
        return None
    one.insert(None, also={"content": "Caf\ufffd\ufffd"})
    return one.done()


@of_an_ended_stream("missing_usage")
def _(_: Labelled, one: Call) -> Broken:
    for chunk in one.chunks:
        chunk.pop("usage", None)
        chunk.pop("x_groq", None)
        for choice in chunk.get("choices") or ():
            choice.pop("usage", None)
    return one.done()._replace(request={**one.request, "stream_options": {"include_usage": True}})


breaks("result_without_call")(with_results("a", "b", "c"))
breaks("unanswered_call")(with_results("b"))
breaks("duplicate_result")(with_results("a", "b", "a"))


# -- bytes --

Bytes = tuple[bytes, str]
BYTE_MUTATIONS: dict[str, Callable[[bytes], Bytes | None]] = {}
STREAM_TYPE = "text/event-stream"


def of_bytes(name: str, kind: str) -> Callable[[Callable[[bytes], Bytes | None]], None]:
    """For whole streams that the server ended. `kind`: what is done to one, as there are several ways."""

    def add(mutation: Callable[[bytes], Bytes | None]) -> None:
        BYTE_MUTATIONS[f"{name}: {kind}"] = mutation

    return add


@of_bytes("missing_done", "no [DONE]")
def _(data: bytes) -> Bytes | None:
    return re.sub(rb"(?:id: .*\n)?data: ?\[DONE\]\s*$", b"", data), STREAM_TYPE


@of_bytes("wrong_content_type", "JSON")
def _(data: bytes) -> Bytes | None:
    return data, "application/json"


@of_bytes("invalid_framing", "another field")
def _(data: bytes) -> Bytes | None:
    return b"message: hello\n\n" + data.removeprefix(codecs.BOM_UTF8), STREAM_TYPE


@of_bytes("invalid_framing", "no field")
def _(data: bytes) -> Bytes | None:
    place = data.find(b"data:", 10)
    return data[:place] + b"<p>hello</p>\n\n" + data[place:], STREAM_TYPE


@of_bytes("invalid_framing", "no blank lines")
def _(data: bytes) -> Bytes | None:
    if b"\r" in data or b"\n:" in data:
        return None
    return data.replace(b"\n\n", b"\n"), STREAM_TYPE


def bytes_judged(path: Path, data: bytes, content_type: str) -> list[str]:
    body = BodyReader(path.stem, load(path).request, content_type=content_type)
    (verdict,) = judge([*body.feed(data), *body.finish()])
    return sorted(anomaly.type for anomaly, _ in verdict.anomalies)


HEALTHY = [path for path in PATHS if load(path).is_healthy]


# A test for each mutation, not for each stream too: there are some 5,000 pairs, and pytest is slow with so many tests.
@pytest.mark.parametrize("name", BYTE_MUTATIONS)
def test_broken_bytes_have_the_anomaly(name: str) -> None:
    found = {}
    for path in HEALTHY:
        data = b"".join(data for _, data in reads_of(path))
        # Between carriage returns or comments the empty lines cannot be told, so there is nothing to take away.
        if load(path).ends.outcome == "completed" and (broken := BYTE_MUTATIONS[name](data)):
            found[path.stem] = bytes_judged(path, data, STREAM_TYPE), bytes_judged(path, *broken)
    assert {stem: pair for stem, pair in found.items() if pair != ([], [name.partition(":")[0]])} == {}
    assert len(found) >= 10


def applications(name: str) -> Iterator[tuple[Path, Broken]]:
    for path in HEALTHY:
        if (broken := MUTATIONS[name](load(path), Call(load(path)))) is not None:
            yield path, broken


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_broken_stream_has_the_anomaly(name: str) -> None:
    count, wrong = 0, {}
    for path, broken in applications(name):
        count += 1
        ends = load(path).ends
        end = ResponseEnd(ends.outcome, "", max([*broken.times, ends.time_ns or 0]))
        found = set(judged(broken.chunks, broken.times, broken.request, end, provider=broken.provider))
        if name not in found or not found <= {name, *broken.also}:
            wrong[path.stem] = found
    assert wrong == {}
    assert count >= 10


def test_each_type_has_a_mutation() -> None:
    assert {*MUTATIONS, *OF_BYTES} == set(BY_TYPE)
    assert {name.partition(":")[0] for name in BYTE_MUTATIONS} == OF_BYTES


# -- generated healthy streams --


@st.composite
def schemas_and_values(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """A schema, and a value that satisfies it."""
    kind = draw(st.sampled_from(["string", "integer", "number", "boolean", "null", "enum", "array", "object", "anyOf"]))
    if kind == "string":
        text = draw(plain_text(20))
        return {"type": "string", "minLength": 0, "maxLength": len(text) + draw(st.integers(0, 5))}, text
    if kind == "integer":
        number = draw(st.integers())
        return {"type": "integer", "minimum": number - draw(st.integers(0, 5))}, number
    if kind == "number":
        value = draw(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
        return {"type": ["number", "string"]}, value
    if kind in {"boolean", "null"}:
        return {"type": kind}, draw(st.booleans()) if kind == "boolean" else None
    if kind == "enum" or depth == 0:
        values = draw(st.lists(st.one_of(plain_text(5), st.integers(), st.booleans()), min_size=1, max_size=4))
        return {"enum": values}, draw(st.sampled_from(values))
    inner, value = draw(schemas_and_values(depth=depth - 1))
    if kind == "array":
        return {"type": "array", "items": inner, "maxItems": 3}, [value] * draw(st.integers(0, 3))
    if kind == "anyOf":
        return {"anyOf": [{"type": "object", "required": ["no such field"]}, inner]}, value
    name = draw(plain_text(8))
    closed = {"additionalProperties": False} if draw(st.booleans()) else {}
    return {"type": "object", "properties": {name: inner}, "required": [name], **closed}, {name: value}


TALK = [
    "Hello. ",
    "I call f and <tool_call> is a tag. ",
    '`<tool_call>{"name": "f", "arguments": {}}</tool_call>` ',
    '\n```\n<tool_call>{"name": "f", "arguments": {}}</tool_call>\n```\n',
    '\n```json\n{"name": "f", "arguments": {}}\n```\n',
    'as in {"name": "f", "arguments": {}} here. ',
    '<tool_call>{"name": "g", "arguments": {}}</tool_call>\n',
]


@given(
    st.lists(schemas_and_values(), max_size=3),
    st.lists(st.sampled_from(TALK), max_size=5),
    st.integers(1, 30),
    st.booleans(),
)
@settings(max_examples=examples(200), deadline=None, suppress_health_check=list(HealthCheck))
def test_a_generated_healthy_stream_has_no_anomalies(
    made: list[tuple[Any, Any]], talk: list[str], size: int, ascii_only: bool
) -> None:
    chunks = []
    content = "".join([*talk, "Hello."])
    chunks += [says(content[at : at + size]) for at in range(0, len(content), size)]
    for index, (_, value) in enumerate(made):
        arguments = json.dumps({"value": value, "call": index}, ensure_ascii=ascii_only)
        pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
        chunks.append(calls(call(index, f"id_{index}", "f" if index == 0 else f"f{index}", "")))
        chunks += [calls(call(index, arguments=piece)) for piece in pieces]
    chunks.append(ends("tool_calls" if made else "stop"))
    tools = [
        {
            "type": "function",
            "function": {
                "name": "f" if index == 0 else f"f{index}",
                "parameters": {"type": "object", "properties": {"value": schema}, "required": ["value"]},
            },
        }
        for index, (schema, _) in enumerate(made or [({}, None)])
    ]
    assert anomalies_of(chunks, {"tools": tools}) == []
