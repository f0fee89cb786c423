"""Tool calls in the text of responses of the Responses API become items with their events."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from otel_llm.demo.scripted_responses import (
    custom_tool_call,
    function_call,
    message,
    reasoning,
    refusal,
    response,
    response_events,
)
from otel_llm.demo.scripted_server import Answer, Drop, ScriptedServer
from otel_llm.tags import rewritten_text
from otel_llm.tags.json_objects import as_objects
from otel_llm.tags.response_objects import EventMaker, fitted_annotations
from otel_llm.tags.response_stage import ResponseStage
from otel_llm.tags.rewritten_text import Rewriter
from otel_llm.tags.scanner import Scanner
from otel_llm.tags.target import read_target
from tests.helpers.callers import RESPONSE_REQUEST, AsyncCaller, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

pytestmark = needs_responses

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
Item = dict[str, Any]

ARGUMENTS = '{"title": "buy milk"}'
CALL = f'<tool_call>\n{{"name": "add_task", "arguments": {ARGUMENTS}}}\n</tool_call>'
XML = "<tool_call>\n<function=add_task>\n<parameter=title>\nbuy milk\n</parameter>\n</function>\n</tool_call>"
TEXTS = {
    "plain": "Nothing to do.",
    "a call": f"Sure.\n{CALL}\n",
    "only a call": CALL,
    "text behind": f"Sure.\n{CALL}\nDone.",
    "two calls": f"{CALL}\n{XML}",
    "text between": f"a {CALL} b {XML} c",
    "half a marker": "so <tool_ca",
    "cut off": CALL[:60],
    "no call": "<tool_call>nothing of that kind</tool_call>",
    "white space": " \n ",
    "empty": "",
}
SIZES = (1, 2, 7, 1000)


# -- what an application makes of the events --


class Told:
    """Reads events as strictly as a client may, and puts the response together."""

    def __init__(self, events: list[Any]) -> None:
        self.items: dict[int, Item] = {}
        self.open: dict[int, Item] = {}
        self.number = -1
        self.end: Any = None
        for event in events:
            self.take(event if isinstance(event, dict) else event.to_dict())

    def take(self, event: Item) -> None:
        assert event["sequence_number"] == self.number + 1
        self.number += 1
        assert self.end is None
        kind = event["type"].removeprefix("response.")
        index: Any = event.get("output_index")
        if kind == "output_item.added":
            assert index == len(self.items)
            assert not self.open, "items begin and end one after the other"
            self.items[index] = self.open[index] = copy.deepcopy(event["item"])
        elif kind == "output_item.done":
            built = self.open.pop(index)
            assert without_status(built) == without_status(event["item"])
            self.items[index] = event["item"]
        elif kind in {"completed", "incomplete", "failed"}:
            self.end = event["response"]
            assert not self.open
            assert self.end["output"] == list(self.items.values())
        elif index is not None:
            self.inside(kind, event, self.open[index])

    def inside(self, kind: str, event: Item, item: Item) -> None:
        assert event["item_id"] == item["id"]
        if kind == "content_part.added":
            assert event["content_index"] == len(item["content"])
            item["content"].append(dict(event["part"]))
        elif kind == "output_text.delta":
            item["content"][event["content_index"]]["text"] += event["delta"]
        elif kind == "output_text.done":
            assert item["content"][event["content_index"]]["text"] == event["text"]
        elif kind == "output_text.annotation.added":
            item["content"][event["content_index"]].setdefault("annotations", []).append(event["annotation"])
        elif kind == "refusal.delta":
            item["content"][event["content_index"]]["refusal"] += event["delta"]
        elif kind == "content_part.done":
            assert without_status(item["content"][event["content_index"]]) == without_status(event["part"])
        elif kind in {"function_call_arguments.delta", "custom_tool_call_input.delta"}:
            name = "arguments" if "arguments" in item else "input"
            item[name] += event["delta"]
        elif kind == "function_call_arguments.done":
            assert item["arguments"] == event["arguments"]
        elif kind == "reasoning_text.delta":
            if not item["content"]:
                item["content"].append({"type": "reasoning_text", "text": ""})
            item["content"][event["content_index"]]["text"] += event["delta"]
        elif kind == "reasoning_summary_part.added":
            item["summary"].append(dict(event["part"]))
        elif kind == "reasoning_summary_text.delta":
            item["summary"][event["summary_index"]]["text"] += event["delta"]


def without_status(item: Any) -> Any:
    """What events say one after the other. Annotations come in events of their own, if the server sends these."""
    if isinstance(item, list):
        return [without_status(one) for one in item]
    if not isinstance(item, dict):
        return item
    kept = {name: value for name, value in item.items() if name not in {"status", "logprobs", "annotations"}}
    return {name: without_status(value) for name, value in kept.items()}


def plainly(items: Any) -> list[tuple[str, str]]:
    """Each item by its type, and what it says. Texts that follow each other are one: a stream may cut them."""
    found = []
    for item in items:
        fields = item if isinstance(item, dict) else item.to_dict()
        if fields["type"] == "message":
            found.append(
                ("message", "".join(part.get("text") or part.get("refusal") or "" for part in fields["content"]))
            )
        elif fields["type"] == "function_call":
            found.append((fields["name"], fields["arguments"]))
        else:
            found.append((fields["type"], json.dumps(fields.get("summary") or fields.get("input"))))
    return found


def played(events: list[Item], target: str = "openai") -> list[Any]:
    """The events after a stage, without an SDK."""
    stage = ResponseStage(Rewriter(read_target(target)), EventMaker())  # type: ignore[arg-type]
    out = []
    for event in events:
        made = stage.take(as_objects(event))
        out += made if isinstance(made, list) else [made]
    return [*out, *stage.finish()]


def whole(*items: Item, target: str = "openai") -> Any:
    made = as_objects(response(*items))
    ResponseStage(Rewriter(read_target(target)), EventMaker()).rewrite_response(made)  # type: ignore[arg-type]
    return made


# -- every text, in every cut --


@pytest.mark.parametrize("target", ["openai", "ojlk,dfsd"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_cut_gives_what_a_whole_response_gives(text: str, target: str) -> None:
    expected = plainly(whole(message(text), target=target).output)
    for size in range(1, len(text) + 2):
        told = Told(played(response_events(message(text), size=size), target))
        assert plainly(told.items.values()) == expected


@pytest.mark.parametrize("texts", list(itertools.permutations(["a call", "only a call", "plain", "empty"], 3)))
def test_several_messages_among_other_items(texts: tuple[str, ...]) -> None:
    items: list[Item] = [reasoning("hm")]
    for number, name in enumerate(texts):
        items += [
            message(TEXTS[name], id=f"msg_{number}"),
            function_call("own", "{}", call_id=f"call_{number}"),
            {**custom_tool_call("shell", "ls", call_id=f"c{number}"), "input": "ls"},
        ]
    expected = plainly(whole(*items).output)
    for size in SIZES:
        told = Told(played(response_events(*items, size=size)))
        assert plainly(told.items.values()) == expected
    assert expected.count(("own", "{}")) == 3
    assert expected.count(("add_task", ARGUMENTS)) == sum(TEXTS[name].count("<tool_call>") for name in texts)


def test_several_parts_in_a_message() -> None:
    parts = [
        {"type": "output_text", "text": f"one {CALL}", "annotations": []},
        {"type": "refusal", "refusal": "no"},
        {"type": "output_text", "text": f"{XML} two", "annotations": []},
        {"type": "output_text", "text": "three", "annotations": []},
    ]
    item = {**message("x"), "content": parts}
    expected = plainly(whole(item).output)
    assert expected == [
        ("message", "one "),
        ("add_task", ARGUMENTS),
        ("message", "no"),
        ("add_task", ARGUMENTS),
        ("message", " twothree"),
    ]
    for size in SIZES:
        assert plainly(Told(played(response_events(item, size=size))).items.values()) == expected


@pytest.mark.parametrize("text", [TEXTS["plain"], TEXTS["empty"], TEXTS["no call"], TEXTS["white space"]])
@pytest.mark.parametrize("target", ["openai", "ojlk,dfsd"])
def test_a_response_without_calls_is_the_same(text: str, target: str) -> None:
    items = [reasoning("hm"), message(text), refusal("no"), function_call("own", "{}")]
    items[2]["id"] = "msg_2"
    told = response_events(*items, size=1000)
    assert played(told, target) == told
    assert whole(*items, target=target) == response(*items)


# -- in an instrumented application --


async def run(connect: Connect, server: ScriptedServer, **kwargs: Any) -> list[Any]:
    caller = connect(server)
    return await caller.read(await caller.respond(stream=True, **kwargs))


@pytest.mark.parametrize("size", SIZES)
async def test_a_stream(instrument: Callable[..., Seen], serve: Serve, connect: Connect, size: int) -> None:
    seen = instrument(tool_call_tags="openai")
    items = (reasoning("hm"), message(TEXTS["text behind"]), function_call("own", "{}"))
    events = await run(connect, serve(*response_events(*items, size=size)))
    assert {type(event).__module__.partition(".")[0] for event in events} == {"openai"}
    told = Told(events)
    assert plainly(told.items.values())[1:] == [
        ("message", "Sure.\n"),
        ("add_task", ARGUMENTS),
        ("message", "\nDone."),
        ("own", "{}"),
    ]
    if size == 1:
        deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
        assert len(deltas) > len(ARGUMENTS) // 2, "the arguments stream"
    assert events[-1].response.output_text == "Sure.\n\nDone."
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 2
    assert seen.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert len(seen.events("otel_llm.tag_rewrite")) == 1
    assert "invalid_json" not in seen.anomalies
    seen.encode()


async def test_custom_tags(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="ojlk,dfsd")
    body = CALL.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    items = (message(TEXTS["text behind"]), message(CALL, id="msg_2"))
    events = await run(connect, serve(*response_events(*items, size=3)))
    assert plainly(Told(events).items.values()) == [
        ("message", f"Sure.\n<ojlk>{body}</dfsd>\nDone."),
        ("message", f"<ojlk>{body}</dfsd>"),
    ]
    assert len(seen.events("otel_llm.tag_rewrite")) == 2
    assert seen.attributes["otel_llm.stream.tool_call_count"] == 2


async def test_a_whole_response(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    seen = instrument(tool_call_tags="openai")
    answer = await connect(serve(Answer(response(message(TEXTS["text behind"]))))).respond()
    assert plainly(answer.output) == [("message", "Sure.\n"), ("add_task", ARGUMENTS), ("message", "\nDone.")]
    assert answer.output_text == "Sure.\n\nDone."
    assert type(answer.output[1]).__name__ == "ResponseFunctionToolCall"
    assert len({item.id for item in answer.output}) == 3
    assert seen.anomalies == []


async def test_the_helpers(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    instrument(tool_call_tags="openai")
    tools = [{**RESPONSE_REQUEST["tools"][0], "strict": True}]
    for text, size in itertools.product(("only a call", "text behind", "two calls", "text between"), SIZES):
        caller = connect(serve(*response_events(message(TEXTS[text]), size=size)))
        manager = caller.client.responses.stream(model="tiny", input="x", tools=tools)
        if isinstance(caller, AsyncCaller):
            async with manager as stream:
                final = await stream.get_final_response()
        else:
            with manager as stream:
                final = stream.get_final_response()
        expected = plainly(whole(message(TEXTS[text])).output)
        assert plainly(final.output) == expected
        parsed = [item.parsed_arguments for item in final.output if item.type == "function_call"]
        assert {json.dumps(one) for one in parsed} == {ARGUMENTS}
        await caller.close_client()


async def test_parse(instrument: Callable[..., Seen], serve: Serve, connect: Connect) -> None:
    from pydantic import BaseModel

    class Done(BaseModel):
        done: bool

    seen = instrument(tool_call_tags="openai")
    caller = connect(serve(Answer(response(message(CALL)))))
    parsed = await caller.result(caller.client.responses.parse(model="tiny", input="x", text_format=Done))
    assert plainly(parsed.output) == [("add_task", ARGUMENTS)]
    assert seen.anomalies == []
    assert len(seen.events("otel_llm.tag_rewrite")) == 1


# -- odd servers --


def test_an_answer_that_was_cut_off() -> None:
    events = response_events(message(CALL[:60]), status="incomplete", size=4)
    told = Told(played(events))
    (item,) = told.items.values()
    assert item["name"] == "add_task"
    assert item["status"] == "incomplete"
    assert ARGUMENTS.startswith(item["arguments"])


def without(events: list[Item], *kinds: str) -> list[Item]:
    kept = [event for event in events if not any(kind in event["type"] for kind in kinds)]
    for number, event in enumerate(kept):
        event["sequence_number"] = number
    return kept


@pytest.mark.parametrize(
    "missing",
    [
        ("output_text.done",),
        ("content_part.done",),
        ("output_text.done", "content_part.done", "output_item.done"),
        ("output_item.added",),
        ("content_part",),
        ("output_item.added", "content_part", ".done"),
        ("output_text.delta",),
        ("output_text", "content_part"),
    ],
    ids=lambda missing: ", ".join(missing),
)
@pytest.mark.parametrize("text", ["only a call", "text behind", "plain"])
def test_events_that_a_server_leaves_out(text: str, missing: tuple[str, ...]) -> None:
    expected = plainly(whole(message(TEXTS[text])).output)
    for size in SIZES:
        events = played(without(response_events(message(TEXTS[text]), size=size), *missing))
        assert plainly(events[-1]["response"]["output"]) == expected
        made = [event for event in events if event["type"] == "response.output_item.done"]
        calls = [call for call in plainly(event["item"] for event in made) if call[0] == "add_task"]
        assert calls == [one for one in expected if one[0] == "add_task"]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert "<tool_call>" not in json.dumps(events)


def test_events_without_indexes() -> None:
    events = response_events(message(TEXTS["text behind"]), size=3)
    for event in events:
        event.pop("output_index", None)
    made = played(events)
    assert not any("output_index" in event for event in made)
    assert plainly(made[-1]["response"]["output"]) == plainly(whole(message(TEXTS["text behind"])).output)


def test_only_the_end_of_a_response() -> None:
    events = response_events(message(TEXTS["text behind"]))
    made = played([events[0], events[-1]])
    assert plainly(made[-1]["response"]["output"]) == plainly(whole(message(TEXTS["text behind"])).output)


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_that_breaks_off(size: int) -> None:
    events = [event for event in response_events(message("so <tool_ca"), size=size) if "done" not in event["type"]]
    made = played(events[:-1])
    assert "".join(event["delta"] for event in made if event["type"].endswith("text.delta")) == "so <tool_ca"
    assert [event["sequence_number"] for event in made] == list(range(len(made)))


async def test_text_that_is_held_back_comes_before_an_error(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    instrument(tool_call_tags="openai")
    events = [event for event in response_events(message("<tool_ca"), size=2) if "done" not in event["type"]]
    caller = connect(serve(*events[:-1], Drop()))
    stream = await caller.respond(stream=True)
    got: list[Any] = []

    async def read() -> None:
        for _ in range(20):
            got.extend(await caller.read(stream, 1))

    with pytest.raises(Exception):  # noqa: B017, PT011  httpx's, or the SDK's
        await read()
    assert "".join(event.delta for event in got if event.type.endswith("text.delta")) == "<tool_ca"
    assert "response.output_item.added" in {event.type for event in got}


@pytest.mark.parametrize("odd", [{"delta": 5}, {"delta": None}, {"output_index": {}}, {"item_id": 5}, {"type": 5}])
def test_nonsense_among_the_events(odd: Item) -> None:
    events = response_events(message(TEXTS["text behind"]), size=4)
    place = [event["type"] for event in events].index("response.output_text.delta") + 3
    nonsense = {**events[place], **odd}
    made = played([*events[:place], nonsense, *events[place:]])
    assert plainly(made[-1]["response"]["output"])


# -- annotations and probabilities --


def test_annotations_move_with_their_text() -> None:
    text = f"{CALL} see the docs."
    cited = {"type": "url_citation", "url": "u", "title": "t"}
    start = text.index("the docs")
    kept = {**cited, "start_index": start, "end_index": start + 8}
    gone = {**cited, "start_index": 3, "end_index": 20}
    of_a_file = {"type": "file_citation", "file_id": "f", "index": 0}
    item = message(text)
    item["content"][0]["annotations"] = [gone, kept, of_a_file]
    for made in (whole(item).output, Told(played(response_events(item, size=3))).items.values()):
        said = list(made)[-1]["content"][0]
        assert said["text"][said["annotations"][0]["start_index"] : said["annotations"][0]["end_index"]] == "the docs"
        assert [one["type"] for one in said["annotations"]] == ["url_citation", "file_citation"]


def test_annotations_without_their_text() -> None:
    here = {"start_index": 0, "end_index": 2}
    assert fitted_annotations([here], "ab cd", "x ab") == [{"start_index": 2, "end_index": 4}]
    assert fitted_annotations([here], "ab cd", "cd") == []
    assert fitted_annotations([{"start_index": 1, "end_index": 1}], "ab", "ab") == []
    assert fitted_annotations(None, "ab", "ab") == []
    assert fitted_annotations([{"index": 5}], "ab", "") == [{"index": 5}]


def test_probabilities_of_a_text_that_changed_are_dropped() -> None:
    events = response_events(message(TEXTS["a call"]), size=9)
    for event in events:
        if event["type"] == "response.output_text.delta":
            event["logprobs"] = [{"token": event["delta"], "logprob": -1.0}]
    deltas = [event for event in played(events) if event["type"] == "response.output_text.delta"]
    assert all("".join(one["token"] for one in event["logprobs"]) in {event["delta"], ""} for event in deltas)


# -- thoughts --


THOUGHTS = {
    "before a call": f"<think>hm</think>\n{CALL}",
    "before an answer": f"<think>\nhm\n</think>\n\nSo: {CALL} done.",
    "alone": "<think>hm</think>",
    "cut off": "<think>hm",
}


@pytest.mark.parametrize("text", THOUGHTS.values(), ids=THOUGHTS)
def test_thoughts_become_an_item(text: str) -> None:
    expected = whole(message(text)).output
    assert expected[0]["type"] == "reasoning"
    assert expected[0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    for size in range(1, len(text) + 2):
        told = Told(played(response_events(message(text), size=size)))
        assert plainly(told.items.values()) == plainly(expected)
        assert [item["status"] for item in told.items.values()] == ["completed"] * len(expected)
        assert told.items[0]["content"] == expected[0]["content"]


# -- faults --


@pytest.mark.swallows("tag rewriting")
@pytest.mark.parametrize("text", [TEXTS["text behind"], TEXTS["two calls"]], ids=["text behind", "two calls"])
async def test_a_fault_loses_nothing_wherever_it_comes(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A call of which the application has got a part is not taken back; whatever else there is it gets as text."""
    instrument(tool_call_tags="openai")
    told = response_events(message(text), size=5)
    caller = connect(serve(*told))
    make, feed = EventMaker.make, Scanner.feed
    new = said_in(await caller.read(await caller.respond(stream=True)))
    reached = {"feed": True, "make": True}
    for breaks, place in itertools.product(reached, range(40)):
        if not reached[breaks]:
            continue
        left = [place]

        def fails(original: Any, left: list[int] = left) -> Any:
            def failing(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] == -1:
                    raise RuntimeError("broken")
                return original(*args, **kwargs)

            return failing

        with monkeypatch.context() as patch:
            if breaks == "feed":
                patch.setattr(rewritten_text, "Scanner", type("Breaking", (Scanner,), {"feed": fails(feed)}))
            else:
                patch.setattr(EventMaker, "make", fails(make))
            said = said_in(await caller.read(await caller.respond(stream=True)))
        reached[breaks] = left[0] < 0
        if reached[breaks] and said != text:
            begun = max(at for at in range(len(said) + 1) if new.startswith(said[:at]))
            assert text.endswith(said[begun:]), (breaks, place, said)


@pytest.mark.parametrize("size", [5, 1000])
def test_a_fault_at_the_end_of_a_text_gives_back_what_was_held(size: int) -> None:
    """A call without a marker is held back until the text ends."""
    text = f'{{"name": "add_task", "arguments": {ARGUMENTS}}}'
    maker = EventMaker()
    stage = ResponseStage(Rewriter(read_target("openai")), maker)  # type: ignore[arg-type]
    out: list[Any] = []
    fails = False
    for event in map(as_objects, response_events(message(text), size=size)):
        if event.type == "response.output_text.done":
            assert not said_in(out)
            # The first event of the call cannot be made.
            maker.annotation = type(None)
            with pytest.raises(LookupError):
                stage.take(event)
            fails = True
        made = stage.give_back(event) if fails else stage.take(event)
        out += made if isinstance(made, list) else [made]
    assert said_in([*out, *stage.give_back_rest()]) == text


def test_what_is_given_back_at_the_end_of_a_stream_counts_on() -> None:
    text = 'Sure.\n{"name": "add_task", "arg'
    stage = ResponseStage(Rewriter(read_target("openai")), EventMaker())  # type: ignore[arg-type]
    out: list[Any] = []
    for event in map(as_objects, response_events(message(text), size=5)):
        if event.type == "response.output_text.done":
            break
        made = stage.take(event)
        out += made if isinstance(made, list) else [made]
    plainly_said = "".join(event.delta for event in stage.give_back_plainly())
    out += stage.give_back_rest()
    assert said_in(out) == text == "Sure.\n" + plainly_said
    assert [event.sequence_number for event in out] == list(range(len(out)))


def said_in(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


@pytest.mark.swallows("tag rewriting")
async def test_an_sdk_without_the_events(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    instrument(tool_call_tags="openai")
    monkeypatch.setattr("otel_llm.wrappers.rewritten_stream.class_of_chunks", lambda _stream: type(None))
    told = response_events(message(TEXTS["only a call"]), size=5)
    events = await run(connect, serve(*told))
    assert said_in(events) == TEXTS["only a call"]
    assert plainly(events[-1].response.output) == [("message", TEXTS["only a call"])]
    assert isinstance(events[0], openai.BaseModel)
