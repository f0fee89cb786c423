"""Scenarios: tool calls written as text, rewritten on the way, in every known syntax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_llm.demo.scripted_server import DONE, Answer, Drop, chunk, completion, error_event, text, tool_call_chunks
from otel_llm.tags import ToolCallTagRewriter
from tests.helpers.breaking.calling import streamed, streamed_async
from tests.helpers.breaking.other_streams import either_way
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.callers import MESSAGES, REQUEST
from tests.helpers.sdk_versions import helpers
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
ARGUMENTS_TEXT = '{"title": "x"}'
BARE = '{"name": "add_task", "arguments": {"title": "x"}}'
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
    "cut in a tag": "<function=add_task><parameter=title>buy mi",
    "cut in a marker": "Sure. <tool_ca",
    "cut in a closing tag": "<function=add_task><parameter=title>x</parameter></fun",
    "a marker in a value": "<|tool_call>call:add_task{title:<tool_call|>}<tool_call|>",
    "a call within a call": f'{MINIMAX}<tool_call>{MINIMAX}<invoke name="add_task">{MINIMAX}<invoke name="x">',
    "two keys": '<tool_call>{"name": "add_task", , "x" "arguments": {}}</tool_call>',
    "no JSON, bare": '{"name": "add_task", "arguments": {"title": NaN}}',
    "bare, in a string": '{"name": "add_task", "arguments": "{\\"count\\": NaN}"}',
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
}


def spoken(said: str, size: int = 5) -> list[Any]:
    pieces = [says(said[start : start + size]) for start in range(0, len(said), size)]
    return [*pieces, ends("stop"), DONE]


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
    run.answer([*spoken("Sure. <tool_ca")[:-2]], [*spoken("Sure. <tool_ca")[:-2], Drop()])
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

    run.answer([*spoken("Sure. <tool_ca")[:-2]])
    run.wait(play())


def either_way_rewritten(run: Run) -> None:
    either_way(run, tool_call_tags="openai")


OPENAI = {"tool_call_tags": "openai"}
TAGS = {"tool_call_tags": "ojlk,dfsd"}


def rewriting(name: str, play: Callable[[Run], None], options: Any = None) -> Scenario:
    return Scenario(f"rewritten, {name}", play, options=options or OPENAI, rewrites=True)


SCENARIOS = [
    rewriting("async", saying_async),
    rewriting("whole", whole),
    rewriting("raw", raw),
    rewriting("parsed", parsed),
    rewriting("beside calls", beside_calls),
    rewriting("held to the end", held_to_the_end),
    rewriting("held to the end, async", held_to_the_end_async),
    rewriting("error in a call", error_in_a_call),
    rewriting("error in a call, async", error_in_a_call_async),
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
    *(Scenario(f"written, {name}", saying(f"Sure.\n{said}")) for name, said in (("a call", HERMES), ("as JSON", BARE))),
]
