"""The captured content of a conversation, with the OpenAI SDK and real HTTP."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from otel_llm.demo.scripted_responses import custom_tool_call, message, reasoning, response_events
from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, text
from tests.helpers.callers import MESSAGES, SyncCaller
from tests.helpers.sdk_versions import needs_responses
from tests.helpers.seen import Seen

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., SyncCaller]
Parts = list[dict[str, Any]]

MODE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
ANSWER = [chunk(text("ok")), chunk(finish_reason="stop"), DONE]
PIXEL = b64encode(b"pixel").decode()
FITS = b64encode(b"x" * 60_000).decode()
BIG = b64encode(b"x" * 70_000).decode()


def blob(modality: str, content: str, mime_type: str | None = None) -> dict[str, Any]:
    return {"mime_type": mime_type, "modality": modality, "content": content, "type": "blob"}


def uri(modality: str, address: str) -> dict[str, Any]:
    return {"mime_type": None, "modality": modality, "uri": address, "type": "uri"}


def file(modality: str, file_id: str, mime_type: str | None = None) -> dict[str, Any]:
    return {"mime_type": mime_type, "modality": modality, "file_id": file_id, "type": "file"}


def says(content: str) -> dict[str, Any]:
    return {"content": content, "type": "text"}


def thinks(content: str) -> dict[str, Any]:
    return {"content": content, "type": "reasoning"}


def calls(name: str, arguments: Any, call_id: str | None = None) -> dict[str, Any]:
    return {"arguments": arguments, "name": name, "id": call_id, "type": "tool_call"}


def answers(response: Any, call_id: str | None = None) -> dict[str, Any]:
    return {"response": response, "id": call_id, "type": "tool_call_response"}


def image(address: Any, kind: str = "image_url") -> dict[str, Any]:
    return {"type": kind, kind: {"url": address}}


def audio(data: Any, form: Any) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


PARTS: list[tuple[str, Any, Parts]] = [
    ("image, at an address", image("https://x/y.png"), [uri("image", "https://x/y.png")]),
    ("image, itself", image(f"data:image/png;base64,{PIXEL}"), [blob("image", PIXEL, "image/png")]),
    ("image, in capitals", image(f" DATA:image/png;BASE64,{PIXEL}"), [blob("image", PIXEL, "image/png")]),
    ("image, percent-encoded", image("data:image/svg+xml,pi%78el"), [blob("image", PIXEL, "image/svg+xml")]),
    ("image, malformed", image("data:image/png;base64,?"), [blob("image", "", "image/png")]),
    ("image, half a surrogate pair", image("data:,\ud83d"), [blob("image", b64encode(rb"\ud83d").decode())]),
    ("image, its bytes as an address", image(BIG), [blob("image", "")]),
    ("image, a type without end", image(f"data:{'x' * 300},pixel"), [blob("image", PIXEL)]),
    ("image, an address that is none", image({"a": 1}), []),
    ("video", image("https://x/y.mp4", "video_url"), [uri("video", "https://x/y.mp4")]),
    ("audio, at an address", image("https://x/y.wav", "audio_url"), [uri("audio", "https://x/y.wav")]),
    ("audio", audio(PIXEL, "wav"), [blob("audio", PIXEL, "audio/wav")]),
    ("audio, mp3", audio(PIXEL, "mp3"), [blob("audio", PIXEL, "audio/mpeg")]),
    ("audio, unknown", audio(PIXEL, ["?"]), [blob("audio", PIXEL)]),
    ("audio, malformed", audio("?", "wav"), [blob("audio", "", "audio/wav")]),
    ("audio, none", audio(None, "wav"), []),
    ("file, by id", {"type": "file", "file": {"file_id": "file-1"}}, [file("document", "file-1")]),
    (
        "file, by id, named",
        {"type": "file", "file": {"file_id": "file-1", "filename": "A.PDF"}},
        [file("document", "file-1", "application/pdf")],
    ),
    (
        "file, itself",
        {"type": "file", "file": {"file_data": PIXEL, "filename": "a.pdf"}},
        [blob("document", PIXEL, "application/pdf")],
    ),
    (
        "file, as a data URL",
        {"type": "file", "file": {"file_data": f"data:text/csv;base64,{PIXEL}", "filename": "a.pdf"}},
        [blob("document", PIXEL, "text/csv")],
    ),
    ("file, none", {"type": "file", "file": {}}, []),
    ("refusal", {"type": "refusal", "refusal": "No."}, [says("No.")]),
    ("thinking", {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, [thinks("hm")]),
    (
        "reasoning summed up",
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        [thinks("hm")],
    ),
    ("thinking at once", {"type": "thinking", "thinking": "hm"}, [thinks("hm")]),
    ("a string", "hi", [says("hi")]),
    ("nothing known", {"type": "hologram", "hologram": 1}, []),
    ("an unhashable type", {"type": ["text"], "text": "hi"}, [says("hi")]),
    ("a number", 1, []),
]


async def captured(seen: Seen, name: str = "input") -> list[dict[str, Any]]:
    seen.encode()
    messages: list[dict[str, Any]] = json.loads(str(seen.attributes[f"gen_ai.{name}.messages"]))
    return messages


@pytest.fixture
def capturing(instrument: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.setenv(MODE, "span_only")
    return instrument()


async def ask(connect: Connect, serve: Serve, *messages: Any) -> None:
    caller = connect(serve(*ANSWER))
    # The OpenAI SDK cannot send a lone surrogate; the span of the failed request has it nevertheless.
    with suppress(UnicodeEncodeError):
        await caller.read(await caller.stream(messages=list(messages)))


@pytest.mark.parametrize(("part", "expected"), [pytest.param(*row[1:], id=row[0]) for row in PARTS])
async def test_parts(capturing: Seen, serve: Serve, connect: Connect, part: Any, expected: Parts) -> None:
    await ask(connect, serve, {"role": "user", "content": [{"type": "text", "text": "see"}, part]})
    (asked,) = await captured(capturing)
    assert asked["parts"] == [says("see"), *expected]


CALL: dict[str, Any] = {"name": "add_task", "arguments": '{"title": "a"}'}
MESSAGE_ROWS: list[tuple[str, dict[str, Any], Parts]] = [
    ("function_call", {"content": None, "function_call": CALL}, [calls("add_task", {"title": "a"})]),
    ("reasoning_content", {"content": "x", "reasoning_content": "hm"}, [thinks("hm"), says("x")]),
    ("reasoning", {"content": "x", "reasoning": "hm"}, [thinks("hm"), says("x")]),
    ("refusal", {"content": None, "refusal": "No."}, [says("No.")]),
    ("audio", {"audio": {"id": "audio_1"}}, [file("audio", "audio_1")]),
    (
        "audio, whole",
        {"audio": {"id": "audio_1", "transcript": "Hi", "data": BIG}},
        [says("Hi"), file("audio", "audio_1")],
    ),
    (
        "a custom tool",
        {"tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "12"}}]},
        [calls("shell", "12", "c1")],
    ),
    (
        "arguments that no log record holds",
        {"tool_calls": [{"id": "c1", "type": "function", "function": CALL | {"arguments": f'{{"n": {10**30}}}'}}]},
        [calls("add_task", f'{{"n": {10**30}}}', "c1")],
    ),
    ("developer", {"role": "developer", "content": "Be brief."}, [says("Be brief.")]),
    ("a tool's text", {"role": "tool", "tool_call_id": "c1", "content": "done"}, [answers("done", "c1")]),
    (
        "a tool's texts",
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "text", "text": "do"}, {"type": "text", "text": "ne"}],
        },
        [answers("done", "c1")],
    ),
    (
        "a tool's image",
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "see"}, image("https://x/y.png")]},
        [answers([says("see"), uri("image", "https://x/y.png")], "c1")],
    ),
    ("a tool's nothing", {"role": "tool", "tool_call_id": "c1", "content": ""}, [answers("", "c1")]),
    ("a function's", {"role": "function", "name": "add_task", "content": "done"}, [answers("done")]),
    (
        "a tool's value",
        {"role": "tool", "tool_call_id": "c1", "content": {"n": 10**30, "m": [1]}},
        [answers({"n": str(10**30), "m": [1]}, "c1")],
    ),
]


@pytest.mark.parametrize(("body", "expected"), [pytest.param(*row[1:], id=row[0]) for row in MESSAGE_ROWS])
@pytest.mark.parametrize("mode", ["span_only", "event_only"])
async def test_messages(
    instrument: Callable[..., Seen],
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    body: dict[str, Any],
    expected: Parts,
) -> None:
    monkeypatch.setenv(MODE, mode)
    seen = instrument()
    given = {"role": "assistant", **body}
    await ask(connect, serve, given, *MESSAGES)
    if mode == "span_only":
        asked, *rest = await captured(seen)
    else:
        seen.encode()
        (record,) = seen.log_records
        asked, *rest = json.loads(json.dumps(record.attributes["gen_ai.input.messages"]))
    assert asked == {"role": given["role"], "parts": expected, "name": given.get("name")}
    assert len(rest) == len(MESSAGES)


async def test_unencodable_text_is_recorded_without_raising(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone surrogate in a log record would fail the whole batch."""
    monkeypatch.setenv(MODE, "event_only")
    seen = instrument()
    body = {"arguments": {"\ud83d": ["\ud83d"]}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", **body}}
    await ask(connect, serve, {"role": "assistant", "tool_calls": [call]})
    seen.encode()
    (record,) = seen.log_records
    (part,) = record.attributes["gen_ai.input.messages"][0]["parts"]
    assert part["arguments"] == {r"\ud83d": (r"\ud83d",)}


async def test_messages_without_parts(capturing: Seen, serve: Serve, connect: Connect) -> None:
    nothing = [{"role": "user", "content": []}, {"role": "assistant", "content": None}, {"role": "user", "content": ""}]
    await ask(connect, serve, *nothing, *MESSAGES)
    (asked,) = await captured(capturing)
    assert asked["parts"] == [says(MESSAGES[0]["content"])]


async def test_the_bytes_on_a_span_are_limited(capturing: Seen, serve: Serve, connect: Connect) -> None:
    """64 KiB per request: earlier blobs take precedence, and those that do not fit have no bytes."""
    parts = [image(f"data:image/png;base64,{BIG}"), audio(FITS, "wav"), audio(FITS, "wav"), audio(PIXEL, "wav")]
    await ask(connect, serve, {"role": "user", "content": parts})
    (asked,) = await captured(capturing)
    assert [part["content"] for part in asked["parts"]] == ["", FITS, "", PIXEL]
    assert asked["parts"][0]["mime_type"] == "image/png"


async def test_a_completion_hook_alone_gets_all_bytes(
    instrument: Callable[..., Seen], serve: Serve, connect: Connect
) -> None:
    heard: list[Any] = []

    class Hook:
        def on_completion(self, **kwargs: Any) -> None:
            heard.append(kwargs)

    seen = instrument(completion_hook=Hook())
    await ask(connect, serve, {"role": "user", "content": [image(f"data:image/png;base64,{BIG}")]})
    assert heard[0]["inputs"][0].parts[0].content == b"x" * 70_000
    assert "gen_ai.input.messages" not in seen.attributes


ITEMS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "reasoning",
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "content": [{"type": "reasoning_text", "text": "so"}],
        },
        [{"role": "assistant", "parts": [thinks("hm"), thinks("so")]}],
    ),
    ("reasoning, encrypted", {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}, []),
    (
        "images and files",
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
                {"type": "input_image", "file_id": "file-2"},
                {"type": "input_file", "file_id": "file-1"},
                {"type": "input_file", "file_url": "https://x/y.pdf"},
                {"type": "input_file", "file_data": PIXEL, "filename": "a.csv"},
                audio(PIXEL, "wav"),
            ],
        },
        [
            {
                "role": "user",
                "parts": [
                    says("see"),
                    blob("image", PIXEL, "image/png"),
                    file("image", "file-2"),
                    file("document", "file-1"),
                    uri("document", "https://x/y.pdf"),
                    blob("document", PIXEL, "text/csv"),
                    blob("audio", PIXEL, "audio/wav"),
                ],
            }
        ],
    ),
    (
        "refusal",
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        [{"role": "assistant", "parts": [says("No.")]}],
    ),
    (
        "custom tool",
        {"type": "custom_tool_call", "call_id": "c1", "name": "shell", "input": "12"},
        [{"role": "assistant", "parts": [calls("shell", "12", "c1")]}],
    ),
    (
        "custom tool's output",
        {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "done"}]},
        [{"role": "tool", "parts": [answers("done", "c1")]}],
    ),
    (
        "function's output with a file",
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_file", "file_id": "file-1"}]},
        [{"role": "tool", "parts": [answers([file("document", "file-1")], "c1")]}],
    ),
    (
        "computer",
        {"type": "computer_call", "id": "i1", "call_id": "c1", "action": {"type": "screenshot"}},
        [{"role": "assistant", "parts": [calls("computer", {"type": "screenshot"}, "c1")]}],
    ),
    (
        "computer with several actions",
        {"type": "computer_call", "id": "i1", "call_id": "c1", "actions": [{"type": "wait"}]},
        [{"role": "assistant", "parts": [calls("computer", {"actions": [{"type": "wait"}]}, "c1")]}],
    ),
    (
        "local shell",
        {"type": "local_shell_call", "id": "i1", "call_id": "c1", "action": {"type": "exec", "command": ["ls"]}},
        [{"role": "assistant", "parts": [calls("local_shell", {"type": "exec", "command": ["ls"]}, "c1")]}],
    ),
    (
        "local shell's output",
        {"type": "local_shell_call_output", "id": "c1", "output": "a"},
        [{"role": "tool", "parts": [answers("a", "c1")]}],
    ),
    (
        "a shell of the server's",
        {"type": "shell_call", "call_id": "c1", "action": {}, "environment": {"type": "container_reference"}},
        [],
    ),
    (
        "computer's output",
        {
            "type": "computer_call_output",
            "call_id": "c1",
            "output": {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{BIG}"},
        },
        [{"role": "tool", "parts": [answers([blob("image", "", "image/png")], "c1")]}],
    ),
    (
        "shell's output",
        {"type": "shell_call_output", "call_id": "c1", "output": [{"stdout": "a", "stderr": ""}]},
        [{"role": "tool", "parts": [answers([{"stdout": "a", "stderr": ""}], "c1")]}],
    ),
    (
        "compaction",
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
        [{"role": "assistant", "parts": [{"id": "cmp_1", "content": None, "type": "compaction"}]}],
    ),
    ("a search of the server's", {"type": "web_search_call", "id": "ws_1", "status": "completed"}, []),
]


@needs_responses
@pytest.mark.parametrize(("item", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ITEMS])
async def test_items_of_the_responses_api(
    capturing: Seen, serve: Serve, connect: Connect, item: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    caller = connect(serve(*response_events(message("ok"))))
    last = {"role": "developer", "content": "Be brief."}
    await caller.read(await caller.respond(stream=True, input=[item, last]))
    asked = await captured(capturing)
    brief = {"role": "developer", "parts": [says("Be brief.")]}
    assert asked == [{**entry, "name": None} for entry in [*expected, brief]]


@needs_responses
@pytest.mark.parametrize(
    "left_out", [("delta", "part", "text.done"), ("output_item", "delta", "part", "text.done"), ()]
)
async def test_each_message_is_recorded_once(
    capturing: Seen, serve: Serve, connect: Connect, left_out: tuple[str, ...]
) -> None:
    events = response_events(
        reasoning("First. "), message("One moment. "), reasoning("Then."), message("Done.", id="msg_2")
    )
    kept = [event for event in events if not any(kind in event["type"] for kind in left_out)]
    caller = connect(serve(*kept))
    await caller.read(await caller.respond(stream=True))
    (answered,) = await captured(capturing, "output")
    assert answered["parts"] == [thinks("First. Then."), says("One moment. Done.")]


@needs_responses
async def test_the_input_of_a_custom_tool_is_text(capturing: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(custom_tool_call("shell", "12"))))
    await caller.read(await caller.respond(stream=True))
    (answered,) = await captured(capturing, "output")
    assert answered["parts"] == [calls("shell", "12", "call_1")]


class Unruly(str):
    """Raises where no string does."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise RuntimeError


@pytest.mark.swallows("a message")
async def test_a_message_that_raises_does_not_affect_the_others(
    capturing: Seen, serve: Serve, connect: Connect
) -> None:
    await ask(connect, serve, {"role": Unruly("user"), "content": "hi"}, *MESSAGES)
    (asked,) = await captured(capturing)
    assert asked["parts"] == [says(MESSAGES[0]["content"])]


@needs_responses
async def test_tools_that_an_item_declares(capturing: Seen, serve: Serve, connect: Connect) -> None:
    caller = connect(serve(*response_events(message("ok"))))
    tools = {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "found"}]}
    await caller.read(await caller.respond(stream=True, input=[{"role": "user", "content": "Hi"}, tools], tools=[]))
    (definition,) = json.loads(capturing.attributes["gen_ai.tool.definitions"])
    assert (definition["type"], definition["name"]) == ("function", "found")
