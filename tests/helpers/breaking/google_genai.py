"""Scenarios: what Google's SDK generates."""

from __future__ import annotations

from typing import Any

from otel_llm.demo.scripted_gemini import (
    call_in_pieces,
    call_part,
    candidate,
    response,
    responses,
    text_part,
    text_pieces,
    whole,
)
from otel_llm.demo.scripted_server import Answer
from tests.helpers.breaking.conversations import CAPTURING
from tests.helpers.breaking.world import Run, Scenario

CODE = {"executableCode": {"code": "print(1)", "language": "PYTHON"}}
IMAGE = {"inline_data": {"mime_type": "image/png", "data": b"\x89PNG"}}
FILE = {"file_data": {"mime_type": "application/pdf", "file_uri": "gs://bucket/a.pdf"}}
PIECES = [*text_pieces("$.title", "a task"), {"jsonPath": "$.tags[0]['x']", "numberValue": 5}]
COUNTS = {
    "promptTokenCount": 3,
    "candidatesTokenCount": 4,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}],
}
STREAM = [
    *responses(
        [text_part("hm", thought=True)],
        [text_part("hm.", thought=True)],
        [text_part("Su")],
        [text_part("re.")],
        [CODE],
        *call_in_pieces("add_task", *PIECES, args={"done": False}),
        [call_part("now", {})],
        finish_reason=None,
    ),
    response(candidate([text_part("")], "STOP"), usageMetadata=COUNTS),
]
FAILED = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
SCHEMA = {"type": "OBJECT", "properties": {"title": {"type": "STRING", "nullable": True, "min_length": 1}}}


def clock() -> Any:
    """A function that was never declared before: what its signature says is remembered."""

    def now(zone: str = "UTC") -> str:
        """The time."""
        return zone

    return now


def asking() -> dict[str, Any]:
    return {
        "model": "tiny",
        "contents": [
            "add a task",
            IMAGE,
            FILE,
            {"role": "model", "parts": [text_part("hm", thought=True), call_part("add_task", {"title": "b"})]},
            {"role": "user", "parts": [{"function_response": {"name": "add_task", "response": {"result": "ok"}}}]},
        ],
        "config": {
            "tools": [{"function_declarations": [{"name": "add_task", "parameters": SCHEMA}]}, clock()],
            "system_instruction": "Be brief.",
            "response_mime_type": "text/plain",
            "tool_config": {"function_calling_config": {"mode": "AUTO"}},
            "automatic_function_calling": {"disable": True},
        },
    }


def seen_in(answer: Any) -> Any:
    return answer.model_dump(exclude={"sdk_http_response"})


def generated(run: Run) -> None:
    run.answer(STREAM, [Answer(whole(text_part("Sure."), CODE, call_part("add_task", {"title": "a"})))])
    for answer in run.google.models.generate_content_stream(**asking()):
        run.see(seen_in(answer))
    run.see(seen_in(run.google.models.generate_content(**asking())))


def generated_async(run: Run) -> None:
    async def play() -> None:
        async for answer in await run.google.aio.models.generate_content_stream(**asking()):
            run.see(seen_in(answer))
        run.see(seen_in(await run.google.aio.models.generate_content(**asking())))

    run.answer(STREAM, [Answer(whole(text_part("Sure.")))])
    run.wait(play())


def chat_with_functions(run: Run) -> None:
    run.answer(responses([call_part("now", {"zone": "CET"}), call_part("now", {})]), responses([text_part("Done.")]))
    for answer in run.google.chats.create(model="tiny", config={"tools": [clock()]}).send_message_stream("hi"):
        run.see(seen_in(answer))


def refused_generation(run: Run) -> None:
    blocked = response(promptFeedback={"blockReason": "SAFETY"})
    run.answer([*STREAM[:3], FAILED], [Answer(FAILED, status=503)], [blocked])
    for _ in range(3):
        with run.see_error():
            for answer in run.google.models.generate_content_stream(**asking()):
                run.see(seen_in(answer))


SCENARIOS = [
    *(Scenario.of(play) for play in (generated, generated_async, chat_with_functions, refused_generation)),
    Scenario("generated content that is captured", generated, environment=CAPTURING),
    Scenario("generated content of one client", generated, by="client"),
    Scenario("generated content under a listener", chat_with_functions, by="listener"),
]
