"""What can be wrong with the bytes of a response."""

from __future__ import annotations

from otel_llm.diagnosis.explanations.model import HEAD, TITLE, WHOLE, Explanation, Sample, Seen, calls, delta, ends

_GROUP = "The bytes"
_STREAM = (HEAD, calls(delta(0, arguments=TITLE)), ends())


FRAMING: tuple[Explanation, ...] = (
    Explanation(
        "missing_done",
        _GROUP,
        "A stream of chat completions, or of text completions, ended with a finish reason, but without `data: [DONE]`. Other"
        " APIs do not end so, the Responses API among them. A stream that the caller stopped, or that broke off, is not judged.",
        (
            Seen("huggingface/text-generation-inference#2221", "TGI before July 2024"),
            Seen("ikawrakow/ik_llama.cpp#467", "unless the server is started with `--send-done`"),
            Seen("waybarrios/vllm-mlx#101", "sometimes, after long answers; the connection stays open"),
            Seen("ggml-org/llama.cpp#9459", "llama.cpp before September 2024"),
        ),
        "The SDKs accept the end of the body, but other clients report an incomplete answer, or wait. Send `[DONE]`; a client"
        " goes by the finish reason.",
        Sample(_STREAM, raw=("data: CHUNK", "data: CHUNK", "data: CHUNK")),
    ),
    Explanation(
        "wrong_content_type",
        _GROUP,
        "The `Content-Type` is not that of the body: a stream that is not sent as `text/event-stream`, a JSON document that is,"
        " or a JSON document though a stream was asked for. A header that is absent from the file is not judged.",
        (
            Seen("microsoft/foundry-dev-tools#195", "Foundry Local: `application/json` for streams"),
            Seen("0xPlaygrounds/rig#861", "a client that refuses Ollama's `application/x-ndjson`"),
        ),
        "Browsers and several SSE clients refuse such a stream, and proxies may hold it back until it ends. Correct the header"
        " at the server or at the proxy that changes it.",
        Sample(
            _STREAM, raw=("content-type: application/json", "data: CHUNK", "data: CHUNK", "data: CHUNK", "data: [DONE]")
        ),
    ),
    Explanation(
        "invalid_framing",
        _GROUP,
        "The body holds a line that is no part of a server-sent event: a field that the standard does not have, a line without"
        " a field, an event without data, or several events with no blank line between them. Comments and the fields `event`,"
        " `id` and `retry` are valid.",
        (
            Seen("ggml-org/llama.cpp#16109", "llama.cpp before September 2025: errors in a field `error`"),
            Seen("coddy-project/coddy-agent#106", "a client that loses such an error, and fails on the empty event"),
            Seen("code-yeongyu/oh-my-openagent#1120", "Ollama's own API: lines of JSON"),
        ),
        "Clients ignore such lines, so an error that is told in one is lost, and several events in one are not JSON. Send each"
        ' event as `data: ...` with a blank line behind it, an error as `data: {"error": {...}}`.',
        Sample((WHOLE, ends()), raw=("data: CHUNK", "2026-12-01 WARN slow upstream", "data: CHUNK", "data: [DONE]")),
    ),
)
