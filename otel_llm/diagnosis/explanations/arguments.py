"""What can be wrong with the arguments of a call."""

from __future__ import annotations

import json

from otel_llm.diagnosis.explanations.model import (
    HEAD,
    TITLE,
    Explanation,
    Sample,
    Seen,
    calls,
    delta,
    ends,
    one_call,
)

_GROUP = "Arguments"


ARGUMENTS: tuple[Explanation, ...] = (
    Explanation(
        "invalid_json",
        _GROUP,
        "The arguments of a completed call are not valid JSON (`NaN` and `Infinity` are not JSON either). The detail says"
        " where parsing stopped.",
        (
            Seen("vllm-project/vllm#41739", "the Kimi K2 parser passed the model's malformed arguments on"),
            Seen(
                "vllm-project/vllm#53269",
                "a call cut by `max_tokens` ended with `tool_calls`, its arguments incomplete",
            ),
            Seen("mistralai/mistral-vibe#216", "Windows paths with unescaped backslashes"),
        ),
        "If parsing stopped at the very end, the arguments were cut: by `max_tokens`, by a proxy's limit, or by a parser"
        " that lost the last deltas. If it stopped earlier, the model wrote invalid JSON or the server's parser let markup"
        " through: try constrained decoding (`strict`, a grammar), and return the error to the model as the tool's result.",
        Sample((HEAD, calls(delta(0, arguments='{"title": "buy mi')), ends())),
    ),
    Explanation(
        "arguments_duplicated",
        _GROUP,
        "The arguments are two or more JSON values, one after the other (`{}{}`).",
        (
            Seen("vllm-project/vllm#51697", "the xlam parser sends all arguments again when the stream ends"),
            Seen("vllm-project/vllm#42167", "a GLM call whose last chunk repeats all arguments"),
            Seen("lidge-jun/opencodex#361", "an extra chunk repeats the arguments of every call"),
        ),
        "If both values are equal, keep the first and report the bug to the server's maintainers. If they differ, two calls"
        " were merged into one: they arrived with the same index and without ids.",
        Sample((HEAD, calls(delta(0, arguments=TITLE)), calls(delta(0, arguments=TITLE)), ends())),
    ),
    Explanation(
        "arguments_not_object",
        _GROUP,
        "The arguments are valid JSON, but not an object: a string, a number, an array, a boolean or null.",
        (
            Seen(
                "vllm-project/vllm#54964",
                "hermes parser: Granite 4's arguments are encoded twice, as a string that holds JSON",
            ),
            Seen("tailcallhq/forgecode#2764", "arguments in a request encoded twice"),
        ),
        "A string that holds JSON was encoded twice, by the model or by the server: decode it once more, and report the bug."
        " Any other value is the model's mistake: declare `type: object` with named properties.",
        one_call(json.dumps(TITLE)),
    ),
    Explanation(
        "arguments_not_string",
        _GROUP,
        "A delta carried an object where the protocol has a string. The object itself is then checked like parsed arguments.",
        (
            Seen("ggml-org/llama.cpp#20198", "llama-server sent objects for some time"),
            Seen("huggingface/text-generation-inference#2461", "arguments sent as an object"),
            Seen("BerriAI/litellm#37792", "`ollama_chat` streamed a dict"),
        ),
        "Clients that concatenate strings fail here. Update the server or the gateway; until then, serialize the object"
        " yourself.",
        one_call({"title": "buy milk"}),
    ),
    Explanation(
        "empty_arguments",
        _GROUP,
        "No arguments arrived, though the tool has required parameters. Empty arguments for a tool without required"
        " parameters raise no anomaly.",
        (
            Seen("vllm-project/vllm#47901", "with two parsers, calls that follow one without arguments lose theirs"),
            Seen("vllm-project/vllm#9693", "arguments are null when streaming, complete otherwise"),
            Seen("vllm-project/vllm#31501", "arguments lost with `--stream-interval` above 1"),
        ),
        "Repeat the request without streaming: if the arguments arrive, the server's streaming parser lost them. Do not"
        " execute the call without them.",
        one_call(""),
    ),
    Explanation(
        "schema_violation",
        _GROUP,
        "The arguments are an object that does not satisfy the tool's `parameters` schema. The detail names the place in the"
        " schema. `format` is not checked. Arguments nested deeper than 128 levels are not checked. Nor are schemas that are"
        " not JSON Schema (`nullable` is OpenAPI's), that refer to something outside themselves, or that are longer than"
        " 262,144 characters; a warning names them.",
        (
            Seen("vllm-project/vllm#46924", "nested objects arrive as strings where the schema uses `$defs`"),
            Seen("JustVugg/colibri#118", "strings that look like numbers arrive as numbers"),
            Seen("HunorLaczko/ha-groq-cloud-api#20", "Groq checks arguments too, and answers with status 400"),
        ),
        "If the values are right and only their types are wrong, the server's parser guessed the types. Otherwise the model"
        " made a mistake: describe the parameters more precisely, use `strict`, and return the error as the tool's result.",
        one_call('{"title": 3}'),
    ),
    Explanation(
        "truncated",
        _GROUP,
        "The choice ended with `length`, `content_filter` or `error` while the arguments of a call were not yet one complete"
        " JSON value. Missing parts of such a call are not reported separately; contradictions in it are. A whole response of"
        " Anthropic's messages or of Converse cannot show half an object: there, `{}` for the last call counts as cut if its"
        " tool requires parameters.",
        (Seen("github/copilot-cli#4286", "arguments buffered until complete, so a cut loses all of them"),),
        "Raise `max_tokens`, or ask for less in one call; after `error`, send the request again. Do not execute the call.",
        Sample((HEAD, calls(delta(0, arguments='{"title": "buy')), ends("length"))),
    ),
)
