"""Scenarios: the SDKs of Mistral, Ollama and Hugging Face."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from otel_llm.demo.scripted_ollama import answer_lines, call, response, says
from otel_llm.demo.scripted_server import DONE, Answer, chunk, completion, text, tool_call_chunks, tool_call_delta
from tests.helpers.breaking.conversations import CAPTURING
from tests.helpers.breaking.world import Run, Scenario
from tests.helpers.chat_request import REQUEST

ARGUMENTS = '{"title": "a"}'
CALLED = {"id": "abcdefghi", "type": "function", "function": {"name": "add_task", "arguments": ARGUMENTS}}
CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk(text("Sure.")),
    *tool_call_chunks("add_task", ARGUMENTS, id="abcdefghi"),
    chunk(finish_reason="tool_calls"),
    DONE,
]
# Mistral's deltas have a name each.
MISTRAL = [
    *CHUNKS[:2],
    chunk(tool_call_delta(index=0, id="abcdefghi", name="add_task", arguments='{"ti')),
    chunk(tool_call_delta(index=0, id="null", name="", arguments='tle": "a"}')),
    *CHUNKS[-2:],
]
WHOLE = Answer(completion({"content": "Sure.", "tool_calls": [CALLED]}, "tool_calls"))
LEAKED = f'<think>hm</think>Sure.<tool_call>\n{{"name": "add_task", "arguments": {ARGUMENTS}}}\n</tool_call> Done.'
PIECES = [LEAKED[at : at + 7] for at in range(0, len(LEAKED), 7)]
LEAKING = [*(chunk(text(piece)) for piece in PIECES), chunk(text(""), "stop"), DONE]
# What may begin a call without a marker is held back to the end of the text.
BROKEN_OFF = [
    chunk(text("<think>hm</think>")),
    chunk(text("Sure.")),
    chunk(text('\n{"name": ')),
    chunk(text('"add')),
    DONE,
]
# A call that is cut off within its arguments.
CUT_OFF = LEAKED[: LEAKED.index('"a"')]
LEAKING_LINES = answer_lines(*map(says, PIECES))
LINES = answer_lines(says(thinking="hm"), says("Su"), says("re."), says(calls=[call("add_task", {"title": "a"})]))
ANSWERED: list[dict[str, Any]] = [
    *REQUEST["messages"],
    {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    {"role": "tool", "name": "add_task", "tool_call_id": "abcdefghi", "content": "ok"},
]
ANSWERED_BY_NAME: list[dict[str, Any]] = [
    *REQUEST["messages"],
    says(thinking="hm", calls=[call("add_task", {"title": "b"})]),
    {"role": "tool", "tool_name": "add_task", "content": "ok"},
]


def see_event(run: Run, event: Any) -> None:
    """An event of Mistral's, or a whole response."""
    chunk_of_it = getattr(event, "data", event)
    run.see((type(event).__name__, chunk_of_it.model_dump()))


def see_line(run: Run, line: Any) -> None:
    """A line of Ollama's, in the shape of a chat completion."""
    said = line.message.model_dump()
    said["reasoning_content"] = said.pop("thinking", None)
    choice = {"delta": said, "done": line.done_reason}
    run.see((type(line).__name__, {"choices": [choice]}))


def see_chunk(run: Run, part: Any) -> None:
    """A chunk of Hugging Face's by its attributes, and whether its items say the same."""
    said = asdict(part)
    for choice in said["choices"]:
        message = choice.get("delta") or choice.get("message")
        message["reasoning_content"] = message.pop("reasoning")
    run.see((type(part).__name__, said))
    run.see(dict.get(part, "choices") == [asdict(choice) for choice in part.choices])


def mistral(run: Run) -> None:
    async def play() -> None:
        async for event in await run.mistral.chat.stream_async(**REQUEST):
            see_event(run, event)

    asked = {**REQUEST, "messages": ANSWERED}
    run.answer(MISTRAL, [WHOLE], MISTRAL)
    for part in run.mistral.chat.stream(**asked):
        see_event(run, part)
    see_event(run, run.mistral.chat.complete(**asked))
    run.wait(play())


def mistral_rewritten(run: Run) -> None:
    run.answer(LEAKING)
    for part in run.mistral.chat.stream(**REQUEST):
        see_event(run, part)


def mistral_rewritten_to_the_end(run: Run) -> None:
    run.answer(BROKEN_OFF)
    for part in run.mistral.chat.stream(**REQUEST):
        see_event(run, part)


def mistral_rewritten_whole(run: Run) -> None:
    run.answer([Answer(completion(text(LEAKED)))])
    see_event(run, run.mistral.chat.complete(**REQUEST))


def ollama(run: Run) -> None:
    async def play() -> None:
        async for line in await run.async_ollama.chat(**REQUEST, stream=True):
            see_line(run, line)

    asked = {**REQUEST, "messages": ANSWERED_BY_NAME, "options": {"temperature": 0.5}}
    run.answer(LINES, [Answer(response(says("Sure.")))], LINES)
    for part in run.ollama.chat(**asked, stream=True):
        see_line(run, part)
    see_line(run, run.ollama.chat(**asked))
    run.wait(play())


def ollama_rewritten(run: Run) -> None:
    run.answer(LEAKING_LINES)
    for part in run.ollama.chat(**REQUEST, stream=True):
        see_line(run, part)


def ollama_rewritten_to_the_end(run: Run) -> None:
    run.answer(LEAKING_LINES[:9])
    for part in run.ollama.chat(**REQUEST, stream=True):
        see_line(run, part)


def ollama_rewritten_whole(run: Run) -> None:
    run.answer([Answer(response(says(LEAKED)))])
    see_line(run, run.ollama.chat(**REQUEST))


def ollama_cut_off(run: Run) -> None:
    run.answer([Answer(response(says(CUT_OFF), reason="length"))])
    see_line(run, run.ollama.chat(**REQUEST))


def hugging_face(run: Run) -> None:
    asked = {**REQUEST, "messages": ANSWERED}
    run.answer(CHUNKS, [WHOLE])
    for part in run.hugging_face.chat_completion(**asked, stream=True):
        see_chunk(run, part)
    see_chunk(run, run.hugging_face.chat.completions.create(**asked))


def hugging_face_rewritten(run: Run) -> None:
    run.answer(LEAKING)
    for part in run.hugging_face.chat_completion(**REQUEST, stream=True):
        see_chunk(run, part)


def hugging_face_rewritten_to_the_end(run: Run) -> None:
    run.answer(BROKEN_OFF)
    for part in run.hugging_face.chat_completion(**REQUEST, stream=True):
        see_chunk(run, part)


def hugging_face_rewritten_whole(run: Run) -> None:
    run.answer([Answer(completion(text(LEAKED)))])
    see_chunk(run, run.hugging_face.chat_completion(**REQUEST))


REWRITING = {"tool_call_tags": "openai"}
SCENARIOS = [
    *(Scenario.of(play) for play in (mistral, ollama, hugging_face)),
    Scenario("Mistral whose content is captured", mistral, environment=CAPTURING),
    Scenario("Ollama whose content is captured", ollama, environment=CAPTURING),
    *(Scenario(f"one client of {play.__name__}", play, by="client") for play in (mistral, ollama, hugging_face)),
    *(
        Scenario(play.__name__.replace("_", " "), play, options=REWRITING, rewrites=True)
        for play in (
            ollama_cut_off,
            mistral_rewritten,
            mistral_rewritten_to_the_end,
            mistral_rewritten_whole,
            ollama_rewritten,
            ollama_rewritten_to_the_end,
            ollama_rewritten_whole,
            hugging_face_rewritten,
            hugging_face_rewritten_to_the_end,
            hugging_face_rewritten_whole,
        )
    ),
]
