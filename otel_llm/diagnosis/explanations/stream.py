"""What can be wrong with a stream as a whole."""

from __future__ import annotations

from otel_llm.diagnosis.explanations.model import (
    HEAD,
    TITLE,
    WHOLE,
    Explanation,
    Sample,
    Seen,
    calls,
    delta,
    ends,
    one_call,
)

_GROUP = "The stream"


STREAM: tuple[Explanation, ...] = (
    Explanation(
        "finish_reason_mismatch",
        _GROUP,
        "The choice has calls, but its finish reason is none of `tool_calls`, `function_call`, `length`, `content_filter` and"
        " `error`. Or it has no calls, but its finish reason is `tool_calls`, `function_call` or another that refers to a"
        " call. `stop` after calls is accepted where `tool_choice` *names* a tool: OpenAI's API itself answers so. It is"
        " accepted where the request is not known, too.",
        (
            Seen("BerriAI/litellm#35753", "`stop` after streamed calls of Ollama"),
            Seen("BerriAI/litellm#12862", "`stop` for o1-pro and Cohere"),
            Seen("Blaizzy/mlx-vlm#990", "always `stop`"),
            Seen("vllm-project/vllm#25054", "what OpenAI and vLLM answer for each tool choice"),
            Seen("googleapis/python-genai#2868", "Gemini: `stop` after streamed calls"),
            Seen("HKUDS/nanobot#1555", "Copilot: text in one choice, its calls in another, and `tool_calls` in both"),
            Seen("coder/coder#28470", "Gemini: `function_call_filter: MALFORMED_FUNCTION_CALL`, and nothing else"),
        ),
        "An agent that goes by the finish reason does not execute the calls: go by the calls instead. If there is no call,"
        " the server could not parse the model's call and dropped it: send the request again.",
        one_call(TITLE, finish_reason="stop"),
    ),
    Explanation(
        "missing_finish_reason",
        _GROUP,
        "The server ended the response without a finish reason, or without any choice at all.",
        (
            Seen("CommandCodeAI/command-code#785", "streams that end in the middle of long arguments"),
            Seen("vllm-project/vllm#27572", "sometimes null"),
            Seen("2389-research/tracker#544", "a client that took such an end for a success"),
        ),
        "The connection was closed early, perhaps by a proxy's timeout, without an error: the calls may be incomplete. Send"
        " the request again.",
        Sample((WHOLE,)),
    ),
    Explanation(
        "delta_after_finish",
        _GROUP,
        "A tool-call delta arrived after the finish reason of its choice.",
        (Seen("ai-dynamo/dynamo#10988", "calls sent at the end of the stream, after the finish reason"),),
        "A client that stops at the finish reason loses the delta: read to the end of the stream.",
        Sample((HEAD, ends(), calls(delta(0, arguments=TITLE)))),
    ),
    Explanation(
        "invalid_unicode",
        _GROUP,
        "A name, an id or the arguments contain a lone surrogate after all deltas are joined; in the arguments an escaped one"
        " (`\\ud83d`) counts too. A pair split over two deltas is one valid character, and U+FFFD has an anomaly of its own.",
        (),
        "An emoji was split between two tokens, or the model wrote half of an escape sequence. Such text cannot be encoded as"
        " UTF-8: replace the lone surrogate before you store or send it.",
        one_call('{"title": "\\ud83d"}'),
    ),
    Explanation(
        "stalled",
        _GROUP,
        "The wait between two chunks was longer than `stall_seconds` (10 by default).",
        (
            Seen("ollama/ollama#16279", "a call is held back until it is complete"),
            Seen("vllm-project/vllm#50627", "32 s of silence before the arguments of one call"),
            Seen("ollama/ollama#16108", "a proxy timed out in the middle of long calls"),
        ),
        "If the wait follows a call's name, the server's parser is holding its arguments back. Otherwise the server was busy,"
        " or a proxy buffers.",
        Sample((HEAD, calls(delta(0, arguments=TITLE)), ends()), waits={1: 12.5}),
    ),
    Explanation(
        "limit_exceeded",
        _GROUP,
        "The stream reached one of otel-llm's own limits; the detail says which. Anything beyond the limit is counted but not"
        " judged.",
        (),
        "See [telemetry.md](telemetry.md#limits). A stream that reaches a limit is rarely intended.",
        one_call('{"title": "x", "a": ' + '{"a": ' * 128 + "0" + "}" * 129),
    ),
)
