"""Scenarios: tool calls written as text, rewritten on the way, in every known syntax."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import openai
import zstandard

from otel_llm.demo.scripted_responses import function_call, message, reasoning, refusal, response, response_events
from otel_llm.demo.scripted_server import (
    DONE,
    Answer,
    Drop,
    chunk,
    completion,
    data,
    error_event,
    text,
    tool_call_chunks,
)
from otel_llm.tags import ToolCallTagRewriter
from tests.helpers.breaking.calling import streamed, streamed_async
from tests.helpers.breaking.other_streams import either_way
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import MESSAGES, REQUEST, RESPONSE_REQUEST
from tests.helpers.sdk_versions import HAS_RESPONSES, helpers
from tests.helpers.streams import ends, says, tool
from tests.helpers.written_calls import FAMILIES, MINIMAX, Call

ARGUMENTS = {
    "title": 'buy "milk" & bread\nnow',
    "count": 3,
    "price": -1.5e3,
    "urgent": True,
    "nothing": None,
    "tags": ["a", 'b"', 2],
    "place": {"street": "x", "number": [1, {}]},
}
TYPES: dict[str, Any] = {
    "count": {"type": "integer"},
    "price": {"type": "number"},
    "urgent": {"type": "boolean"},
    "nothing": {"type": "null"},
    "tags": {"type": "array"},
    "place": {"type": "object"},
}
TOOLS = [tool("add_task", "title", **TYPES), tool("list_tasks")]
CALL = Call("add_task", ARGUMENTS)
HERMES = '<tool_call>\n{"name": "add_task", "arguments": {"title": "buy milk"}}\n</tool_call>'
# What may begin a call without a marker is held back to the end of the text.
HELD = 'Sure.\n{"name": "add'
ARGUMENTS_TEXT = '{"title": "x"}'
BARE = '{"name": "add_task", "arguments": {"title": "x"}}'
DECLARED = '{"name": "add_task", "parameters": {"type": "object", "properties": {"name": {"type": "string"}}}}'
WRITTEN = {
    "a call": HERMES,
    "as JSON": BARE,
    "a declaration": DECLARED,
    "a token in quotes": 'It ends with "<|im_end|>".',
}
BROKEN_TEXTS = {
    "no JSON": '<tool_call>\n{"name": "add_task", "arguments": {title: \'buy milk\', }}\n</tool_call>',
    "cut off": '<tool_call>\n{"name": "add_task", "arguments": {"title": "buy mi',
    "no call": "<tool_call>nothing of that kind</tool_call>",
    "no call of a tool": '<tool_call>{"a": [1, "x", {"b": null}]}</tool_call>',
    "in backticks": "It writes `<tool_call>` and then JSON.",
    "in a fence": f"```\n{HERMES}\n```\n",
    "in a json fence": '```json\n{"name": "add_task", "arguments": {"title": "x"}}\n```\n',
    "no call at all": '{"names": [1, 2, {"a": "b"}], "text": "x"}\n[1, 2]\nf(x)\n',
    "python": "[add_task(title='buy\\x41 \\u00e9' \"milk\", tags=(1, -2.5, {'a': None}), count=0x1F), list_tasks()]",
    "python, three quotes": """[add_task(title='''buy 'milk' '' now''')]""",
    "no python": "[add_task(title=",
    "a comma too few": '<tool_call>{"name": "add_task" "arguments": {"title": "x"}}</tool_call>',
    "arguments in a string": '<tool_call>{"arguments": "{\\"title\\": \\"x\\"}", "name": "add_task"}</tool_call>',
    "the call in its arguments": f"<|channel|>commentary to=add_task<|message|>{BARE}<|call|>",
    "name behind": '<tool_call>{"parameters": {"title": "x"}, "name": "add_task"}</tool_call>',
    "in reasoning": f"<think>I might {HERMES}</think>{HERMES}",
    "in reasoning with a suffix": f"<think:a>I might `</think:a>` {HERMES}</think:a>\nHi.",
    "with a mark in words": "Well <think>hm, and",
    "with a mark in quotes": 'Well "<think>" or (<think>a</think>)',
    "with a lone mark": "I think so. </think> Hi",
    "with marks mentioned": "The <think> and </think> tags",
    "an answer of its own": "<|channel|>final<|message|>Hi.<|return|>[END FINAL RESPONSE]",
    "cut in a tag": "<function=add_task><parameter=title>buy mi",
    "cut in a marker": HELD,
    "cut in a closing tag": "<function=add_task><parameter=title>x</parameter></fun",
    "no closing tag": "<function=add_task>\n<parameter=title>\nbuy\n<parameter=count>\n3\n</parameter>\n</function>",
    "a marker in a value": "<|tool_call>call:add_task{title:<tool_call|>}<tool_call|>",
    "a call within a call": f'{MINIMAX}<tool_call>{MINIMAX}<invoke name="add_task">{MINIMAX}<invoke name="x">',
    "named tag": "<tool_call>\n<add_task>\n<parameter=title>\nx\n</parameter>\n</add_task>\n</tool_call>",
    "two keys": '<tool_call>{"name": "add_task", , "x" "arguments": {}}</tool_call>',
    "no JSON, bare": '{"name": "add_task", "arguments": {"title": NaN}}',
    "bare, in a string": '{"name": "add_task", "arguments": "{\\"count\\": NaN}"}',
    "parameters of another tool": "<function=other>\n<parameter=title>\nx\n</parameter>\n</function>",
    "a value that is none": "<tool_call>add_task\n<arg_key>count</arg_key>\n<arg_value>NaN</arg_value>\n</tool_call>",
    "numbers and words": "<function=add_task><parameter=count>3</parameter><parameter=other>tru</parameter></function>",
    "a long word": f"<function=add_task><parameter=other>{'a' * 400}</parameter></function>",
    "python behind a marker": """<|tool_call_start|>[add_task(title="buy\\x41 it, now", count=y)]<|tool_call_end|>""",
    "gemma's quoting": '<|tool_call>call:add_task{"title":"x", a b:[{k: "v", l: 1.5}], c:}<tool_call|>',
    "spaced tags": '<|open|>tools<|sep|><|open|> call tool="add_task"<|sep|><|open|>json<|sep|>{"title": "x',
    "a cut tag": '<|open|>tools<|sep|><|open|>call tool="add_task"<|sep|><|open|>argument key="count"<|sep|>3<|close|>',
    "calls in an answer": "<|start|>assistant to=user<|message|><atem:function_calls>"
    '<atem:invoke name="add_task.add_task"><atem:parameter name="title">x</atem:parameter></atem:invoke>'
    "</atem:function_calls><|eot|>",
    "no call to a tool": "<|start|>assistant to=self<|message|>I think.<|channel|>analysis to=all<|message|>x",
    "a program in a line": "Here: ```tool_code add_task(title='x')``` and ```tool_code x```",
    "an object for an array": f"<|START_ACTION|>{BARE}<|END_ACTION|>",
    "python, not JSON": """[TOOL_CALLS]add_task{'title': 'it\\'s \\x41 \\d', 'a': (1, None, [2,],), b: .5, 'c': @}""",
    "missing brackets": '<tool_call>{"name": "add_task", "arguments": {"title": "x", "a": [1</tool_call>',
    "a comma too many": '<tool_call>{"name": "add_task", "arguments": {"title": "x",}, }</tool_call>',
    "a word that is cut": """[TOOL_CALLS]add_task{'a': Tru""",
    "tags within tags": "<tool_call><function=add_task><parameter=a><parameter=b></parameter></function></tool_call>",
    "shown in quotes": f'It wrote "{HERMES}" to me.',
    "shown in a sentence": f"For example, {HERMES} calls it. </think> ends thoughts.",
    "an empty block": "Done.\n<tool_calls>[]</tool_calls>\nClose it with\n</think>\nand go on.",
    "a call that does not begin": "Sure.\n<tool_call>",
    "a namespace": '{"name": "functions.add_task", "arguments": {"title": "x"}}',
    "elements": f'{MINIMAX}<tool_call>{MINIMAX}<invoke name="add_task">{MINIMAX}<count>3{MINIMAX}</count>'
    f"{MINIMAX}<title>a {MINIMAX}<b>x{MINIMAX}</b> y{MINIMAX}</title>{MINIMAX}<z>{MINIMAX}<x>1{MINIMAX}</x",
}


def spoken(said: str, size: int = 5) -> list[Any]:
    pieces = [says(said[start : start + size]) for start in range(0, len(said), size)]
    return [*pieces, ends("stop"), DONE]


def stopping_always(run: Run) -> None:
    """A server that names a finish reason in each chunk."""
    steps = spoken(f"Sure. {HERMES} and {HERMES}")
    for step in steps[:-2]:
        step["choices"][0]["finish_reason"] = "stop"
    run.answer(steps)
    run.see_all(streamed(run, tools=TOOLS))


def saying(said: str, size: int = 5) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        run.answer(spoken(said, size))
        run.see_all(streamed(run, tools=TOOLS))

    return play


def saying_async(run: Run) -> None:
    async def play() -> None:
        await run.see_all_async(await streamed_async(run))

    run.answer(spoken(f"Sure.\n{HERMES}\nDone."))
    run.wait(play())


INSIDE = f"I might {HERMES}.\n</think>\nSure.\n{HERMES}"


def whole_inside(run: Run) -> None:
    """The prompt opens the thoughts, which the response shows."""
    run.answer([Answer(completion(text(INSIDE)))])
    run.see(run.client.chat.completions.create(**REQUEST))


def whole(run: Run) -> None:
    run.answer([Answer(completion(text(f"Sure.\n{HERMES}\nDone.")))])
    run.see(run.client.chat.completions.create(**REQUEST))


def raw(run: Run) -> None:
    run.answer([Answer(completion(text(f"Sure.\n{HERMES}\nDone.")))])
    run.see(run.client.chat.completions.with_raw_response.create(**REQUEST).parse())


def parsed(run: Run) -> None:
    run.answer([Answer(completion(text(f"Sure.\n{HERMES}\nDone.")))])
    run.see(helpers(run.client).parse(model="tiny", messages=MESSAGES))


def beside_calls(run: Run) -> None:
    """The server makes calls of its own, and some contents are lists of parts."""
    own = tool_call_chunks("list_tasks", "{}")
    parts = chunk({"content": [{"type": "text", "text": f"{HERMES}\n"}]})
    run.answer([*own, *spoken(HERMES)[:-2], parts, ends("stop"), DONE])
    run.see_all(streamed(run))


def held_to_the_end(run: Run) -> None:
    run.answer([*spoken(HELD)[:-2]], [*spoken(HELD)[:-2], Drop()])
    run.see_all(streamed(run))
    with run.see_error():
        run.see_all(streamed(run))


def error_in_a_call(run: Run) -> None:
    run.answer([*spoken(HERMES)[:8], error_event("overloaded")])
    stream = streamed(run)
    with run.see_error():
        while True:
            run.see(next(stream))


def error_in_a_call_async(run: Run) -> None:
    async def play() -> None:
        stream = await streamed_async(run)
        with run.see_error():
            while True:
                run.see(await anext(stream))

    run.answer([*spoken(HERMES)[:8], error_event("overloaded")])
    run.wait(play())


def held_to_the_end_async(run: Run) -> None:
    async def play() -> None:
        await run.see_all_async(await streamed_async(run))

    run.answer([*spoken(HELD)[:-2]])
    run.wait(play())


def either_way_rewritten(run: Run) -> None:
    either_way(run, tool_call_tags="openai")


RESPONSE_TEXT = f"Sure.\n{HERMES}\nDone."
ANNOTATED = message(RESPONSE_TEXT)
ANNOTATED["content"][0]["annotations"] = [
    {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 4},
    {"type": "file_citation", "file_id": "f", "filename": "f", "index": 0},
]
RESPONSE_ITEMS = [reasoning("hm"), ANNOTATED, message(HERMES, id="msg_2"), refusal("no"), function_call("own", "{}")]
RESPONSE_ITEMS[3]["id"] = "msg_3"


def annotated_events() -> list[Any]:
    """The events of a response, those of its annotations among them."""
    events = []
    for event in response_events(*RESPONSE_ITEMS):
        if event["type"] == "response.output_text.done":
            place = {name: event[name] for name in ("item_id", "output_index", "content_index")}
            for annotation in ANNOTATED["content"][0]["annotations"]:
                kind = "response.output_text.annotation.added"
                events.append({"type": kind, **place, "annotation": annotation, "annotation_index": 0})
        events.append(event)
    for number, event in enumerate(events):
        event["sequence_number"] = number
    return events


def responses(run: Run) -> None:
    run.answer(annotated_events())
    run.see_all(run.client.responses.create(**RESPONSE_REQUEST, stream=True))


def whole_response(run: Run) -> None:
    run.answer([Answer(response(*RESPONSE_ITEMS))])
    run.see(run.client.responses.create(**RESPONSE_REQUEST))


def responses_of(said: str, *left_out: str) -> Callable[[Run], None]:
    """A stream with this text, without some of its events."""

    def play(run: Run) -> None:
        events = [
            event for event in response_events(message(said)) if not any(kind in event["type"] for kind in left_out)
        ]
        run.answer(events)
        run.see_all(run.client.responses.create(**RESPONSE_REQUEST, stream=True))

    return play


def see_bytes(run: Run, body: bytes) -> None:
    for line in body.splitlines():
        try:
            run.see(("bytes", json.loads(line.removeprefix(b"data: "))))
        except ValueError:
            run.see(line)


def as_bytes(*steps: Any, stream: bool = True) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        run.answer(list(steps))
        with run.client.chat.completions.with_streaming_response.create(**REQUEST, stream=stream) as raw:
            see_bytes(run, b"".join(raw.iter_bytes()))

    return play


def squeezed() -> Answer:
    said = b"".join(one if isinstance(one, bytes) else data(one) for one in spoken(RESPONSE_TEXT))
    return Answer(gzip.compress(said), headers={"content-type": "text/event-stream", "content-encoding": "gzip"})


def as_bytes_async(run: Run) -> None:
    async def play() -> None:
        create = run.async_client.chat.completions.with_streaming_response.create
        async with create(**REQUEST, stream=True) as raw:
            see_bytes(run, b"".join([piece async for piece in raw.iter_bytes()]))

    run.answer(spoken(RESPONSE_TEXT))
    run.wait(play())


def in_another_compression(run: Run) -> None:
    said = b"".join(one if isinstance(one, bytes) else data(one) for one in spoken(RESPONSE_TEXT))
    headers = {"content-type": "text/event-stream", "content-encoding": "zstd"}
    run.answer([Answer(zstandard.compress(said), headers=headers)])
    with run.client.chat.completions.with_streaming_response.create(**REQUEST, stream=True) as raw:
        see_bytes(run, b"".join(raw.iter_bytes()))


def responses_as_bytes(*steps: Any, stream: bool = True) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        run.answer(list(steps))
        with run.client.responses.with_streaming_response.create(**RESPONSE_REQUEST, stream=stream) as raw:
            see_bytes(run, b"".join(raw.iter_bytes()))

    return play


class MyChunk(openai.BaseModel):
    choices: list[dict[str, Any]]


def into_a_class(run: Run) -> None:
    run.answer(spoken(RESPONSE_TEXT))
    raw = run.client.chat.completions.with_raw_response.create(**REQUEST, stream=True)
    run.see_all(raw.parse(to=openai.Stream[MyChunk]))


OPENAI = {"tool_call_tags": "openai"}
TAGS = {"tool_call_tags": "ojlk,dfsd"}


def rewriting(name: str, play: Callable[[Run], None], options: Any = None) -> Scenario:
    return Scenario(f"rewritten, {name}", play, options=options or OPENAI, rewrites=True)


SCENARIOS = [
    rewriting("async", saying_async),
    rewriting("whole", whole),
    rewriting("inside of thoughts", saying(INSIDE), {"tool_call_tags": "openai", "reasoning": "opened"}),
    rewriting("inside of thoughts that nothing closes", saying("I might."), {**TAGS, "reasoning": "opened"}),
    rewriting("inside of thoughts, whole", whole_inside),
    rewriting("raw", raw),
    rewriting("parsed", parsed),
    rewriting("beside calls", beside_calls),
    rewriting("held to the end", held_to_the_end),
    rewriting("held to the end, async", held_to_the_end_async),
    rewriting("error in a call", error_in_a_call),
    rewriting("error in a call, async", error_in_a_call_async),
    rewriting("as bytes", as_bytes(*spoken(RESPONSE_TEXT))),
    rewriting("as bytes, held to the end", as_bytes(*spoken(HELD)[:-2])),
    rewriting("as bytes, whole", as_bytes(Answer(completion(text(RESPONSE_TEXT))), stream=False)),
    rewriting("as bytes, compressed", as_bytes(squeezed())),
    rewriting("as bytes, async", as_bytes_async),
    rewriting("in another compression", in_another_compression),
    rewriting("into a class", into_a_class),
    *(
        rewriting(name, play, options)
        for name, play, options in (
            ("responses", responses, OPENAI),
            ("responses, custom tags", responses, TAGS),
            ("responses, whole", whole_response, OPENAI),
            ("responses, thoughts", responses_of(f"<think>hm</think>{HERMES}"), OPENAI),
            ("responses, held to the end", responses_of(HELD, "done", "completed"), OPENAI),
            ("responses, not announced", responses_of(HELD, "done", "added", "completed"), OPENAI),
            ("responses, half announced", responses_of(RESPONSE_TEXT, "item.added", "item.done"), OPENAI),
            ("responses, without deltas", responses_of(RESPONSE_TEXT, "delta"), OPENAI),
            ("responses, as bytes", responses_as_bytes(*response_events(message(RESPONSE_TEXT))), OPENAI),
            (
                "responses, as bytes, whole",
                responses_as_bytes(Answer(response(message(RESPONSE_TEXT), output_text=RESPONSE_TEXT)), stream=False),
                OPENAI,
            ),
        )
        if HAS_RESPONSES
    ),
    rewriting("custom tags", saying(f"Sure.\n{HERMES}\nDone."), TAGS),
    rewriting("custom tags, whole", whole, TAGS),
    rewriting(
        "a rewriter", saying(f"Sure.\n{HERMES}\nDone."), {"tool_call_tags": ToolCallTagRewriter("x,y", tools=TOOLS)}
    ),
    Scenario("rewritten, either way", either_way_rewritten, by="itself", rewrites=True),
    # In one chunk, since thoughts that were moved are not given back.
    rewriting(
        "calls in place of an answer", saying(f"<think>So <tool_call>add_task {ARGUMENTS_TEXT}</tool_call>", 200)
    ),
    rewriting("drafts", saying(f"<think>So <tool_call>add_task {ARGUMENTS_TEXT}</tool_call> or so</think>", 200)),
    rewriting("no number", saying('Sure.\n[TOOL_CALLS]add_task{"title": "x", "count": NaN}', 80)),
    *(rewriting(name, saying(f"Sure.\n{said}")) for name, said in BROKEN_TEXTS.items()),
    *(rewriting(name, saying(f"Sure.\n{family.write([CALL])}\nDone.", 16)) for name, family in FAMILIES.items()),
    *(Scenario(f"written, {name}", saying(f"Sure.\n{said}")) for name, said in WRITTEN.items()),
    rewriting("a reason in each chunk", stopping_always),
    Scenario("written, a long text", saying("a <b " * 10_000, 20_000)),
]
