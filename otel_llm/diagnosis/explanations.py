"""What each anomaly means, who reported it, what to do, and a sample stream that has it.

These texts exist only here: `otel-llm explain` prints them, and `otel-llm explain --markdown` generates
`docs/anomalies.md` from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """A public report of the anomaly: `where` is a repository and the number of an issue or pull request."""

    where: str
    what: str


class Sample(NamedTuple):
    """A stream: its chunks, the request parameters besides `tools`, and waits (s) before chunks, by their position."""

    chunks: tuple[Mapping[str, Any], ...]
    asked: Mapping[str, Any] = {}
    waits: Mapping[int, float] = {}

    def lines(self) -> list[str]:
        """The stream as a server sends it, one line per event."""
        lines = []
        for position, chunk in enumerate(self.chunks):
            if position in self.waits:
                lines.append(f": {self.waits[position]:g} seconds without data")
            lines.append("data: " + json.dumps(chunk))
        return [*lines, "data: [DONE]"]


class Explanation(NamedTuple):
    """One type of anomaly."""

    type: str
    group: str
    means: str
    seen: tuple[Seen, ...]
    do: str
    sample: Sample


TOOLS: tuple[Mapping[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {title: {"type": "string"} for title in required},
                "required": required,
            },
        },
    }
    for name, required in (("add_task", ["title"]), ("list_tasks", []))
)
"""The tools that the requests of all samples declare."""

INTRODUCTION = """\
What can go wrong with a tool call. Each section explains one value of the attribute `otel_llm.anomaly.type`;
`otel-llm explain TYPE` prints it in the terminal.

* Each choice is judged at the end of the stream, on its joined deltas. Healthy streams raise no anomaly. If the caller
  stopped the stream, or it broke off, nothing is reported that further chunks could have corrected: until a choice has its
  finish reason, missing parts are not a fault.
* Some anomalies can be detected only where the request is known (declared tools and their schemas, `tool_choice`,
  `parallel_tool_calls`). A `StreamingToolCallTracker` used on its own does not know the request, and tools passed as a
  one-shot iterator are not inspected.
* An id, name or finish reason that is an empty string counts as absent. Repeating the same id or name is not a
  contradiction. Indexes need not start at 0, be contiguous or be in order.
* The arguments of a call are exactly one of: nothing (or white space), one object, one other JSON value, several values,
  or not JSON (RFC 8259). Only the anomaly that matches is reported.
* "Reported" lists issues and pull requests of people who ran into the anomaly; some of these bugs are fixed by now. The
  sample streams answer requests that declare the tools `add_task`, which requires the string `title`, and `list_tasks`."""

_TITLE = '{"title": "buy milk"}'


def _chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _delta(index: Any = 0, call_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fields = {"index": index, "id": call_id, "function": function or None}
    return {key: value for key, value in fields.items() if value is not None}


def _calls(*deltas: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return _chunk({"tool_calls": list(deltas)}, finish_reason)


def _ends(finish_reason: str = "tool_calls") -> dict[str, Any]:
    return _chunk({}, finish_reason)


def _one_call(arguments: Any, name: str = "add_task", finish_reason: str = "tool_calls", **asked: Any) -> Sample:
    return Sample((_calls(_delta(0, "call_1", name, arguments)), _ends(finish_reason)), asked)


_HEAD = _calls(_delta(0, "call_1", "add_task", ""))
_WHOLE = _calls(_delta(0, "call_1", "add_task", _TITLE))
_OTHER = _delta(1, "call_2", "list_tasks", "{}")

ARGUMENTS, IDENTITY = "Arguments", "Identity"
REQUEST, STREAM = "Conflicts with the request", "The stream"
RESULTS = "Results of earlier calls"


def _asked_with(*messages: Mapping[str, Any]) -> Sample:
    return Sample((_chunk({"content": "Done."}), _ends("stop")), {"messages": list(messages)})


_MADE = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "list_tasks", "arguments": "{}"}}],
}


def _result(call_id: str) -> Mapping[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "[]"}


EXPLANATIONS: tuple[Explanation, ...] = (
    Explanation(
        "invalid_json",
        ARGUMENTS,
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
        Sample((_HEAD, _calls(_delta(0, arguments='{"title": "buy mi')), _ends())),
    ),
    Explanation(
        "arguments_duplicated",
        ARGUMENTS,
        "The arguments are two or more JSON values, one after the other (`{}{}`).",
        (
            Seen("vllm-project/vllm#51697", "the xlam parser sends all arguments again when the stream ends"),
            Seen("vllm-project/vllm#42167", "a GLM call whose last chunk repeats all arguments"),
            Seen("lidge-jun/opencodex#361", "an extra chunk repeats the arguments of every call"),
        ),
        "If both values are equal, keep the first and report the bug to the server's maintainers. If they differ, two calls"
        " were merged into one: they arrived with the same index and without ids.",
        Sample((_HEAD, _calls(_delta(0, arguments=_TITLE)), _calls(_delta(0, arguments=_TITLE)), _ends())),
    ),
    Explanation(
        "arguments_not_object",
        ARGUMENTS,
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
        _one_call(json.dumps(_TITLE)),
    ),
    Explanation(
        "arguments_not_string",
        ARGUMENTS,
        "A delta carried an object where the protocol has a string. The object itself is then checked like parsed arguments.",
        (
            Seen("ggml-org/llama.cpp#20198", "llama-server sent objects for some time"),
            Seen("huggingface/text-generation-inference#2461", "arguments sent as an object"),
            Seen("BerriAI/litellm#37792", "`ollama_chat` streamed a dict"),
        ),
        "Clients that concatenate strings fail here. Update the server or the gateway; until then, serialize the object"
        " yourself.",
        _one_call({"title": "buy milk"}),
    ),
    Explanation(
        "empty_arguments",
        ARGUMENTS,
        "No arguments arrived, though the tool has required parameters. Empty arguments for a tool without required"
        " parameters raise no anomaly.",
        (
            Seen("vllm-project/vllm#47901", "with two parsers, calls that follow one without arguments lose theirs"),
            Seen("vllm-project/vllm#9693", "arguments are null when streaming, complete otherwise"),
            Seen("vllm-project/vllm#31501", "arguments lost with `--stream-interval` above 1"),
        ),
        "Repeat the request without streaming: if the arguments arrive, the server's streaming parser lost them. Do not"
        " execute the call without them.",
        _one_call(""),
    ),
    Explanation(
        "schema_violation",
        ARGUMENTS,
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
        _one_call('{"title": 3}'),
    ),
    Explanation(
        "truncated",
        ARGUMENTS,
        "The choice ended with `length`, `content_filter` or `error` while the arguments of a call were not yet one complete"
        " JSON value. Missing parts of such a call are not reported separately; contradictions in it are.",
        (Seen("github/copilot-cli#4286", "arguments buffered until complete, so a cut loses all of them"),),
        "Raise `max_tokens`, or ask for less in one call; after `error`, send the request again. Do not execute the call.",
        Sample((_HEAD, _calls(_delta(0, arguments='{"title": "buy')), _ends("length"))),
    ),
    Explanation(
        "missing_name",
        IDENTITY,
        "The call's name never arrived. A name that arrives late raises no anomaly.",
        (
            Seen("open-webui/open-webui#29690", "a custom SGLang build sent null"),
            Seen("farion1231/cc-switch#4158", "names empty or absent"),
            Seen("langchain4j/langchain4j#5209", "DeepSeek: an extra, empty call at its own index after the real ones"),
        ),
        "The call cannot be executed. Repeat the request without streaming: if the name arrives, the server's streaming"
        " parser lost it.",
        Sample((_calls(_delta(0, "call_1", arguments=_TITLE)), _ends())),
    ),
    Explanation(
        "missing_id",
        IDENTITY,
        "The call's id never arrived, or is an empty string. The legacy `function_call` needs no id.",
        (
            Seen("ggml-org/llama.cpp#12279", "empty ids, on which Semantic Kernel failed"),
            Seen("camel-ai/camel#3027", "Gemini sends empty ids"),
        ),
        "A result refers to its call by the id: generate one, and use it in both messages.",
        Sample((_calls(_delta(0, None, "add_task", _TITLE)), _ends())),
    ),
    Explanation(
        "missing_index",
        IDENTITY,
        "A delta had no index, a null index, or one that is not a usable number. otel-llm then takes different ids for"
        " different calls, and a delta without an id for a continuation of the last call.",
        (
            Seen("ollama/ollama#7881", "no index before 0.4.7"),
            Seen("brainlid/langchain#620", "Gemini's parts carry no index"),
        ),
        "Clients that group deltas by index lose or mix such calls, and the OpenAI SDK's own `stream()` helper raises: group"
        " the deltas by id.",
        Sample((_calls(_delta(None, "call_1", "add_task", _TITLE)), _ends())),
    ),
    Explanation(
        "name_changed",
        IDENTITY,
        "A later delta gives the call a different name. Repeating the same name raises no anomaly, nor do pieces that join to"
        " the name of a declared tool.",
        (
            Seen("NousResearch/hermes-agent#3468", "clients that concatenate names get `terminalterminal`"),
            Seen("continuedev/continue#5849", "some models send the name in pieces, some repeat it"),
        ),
        "Two calls may have been sent as one: look at their arguments. Before you concatenate names, check whether the name"
        " is only repeated.",
        Sample((_HEAD, _calls(_delta(0, None, "list_tasks", _TITLE)), _ends())),
    ),
    Explanation(
        "id_changed",
        IDENTITY,
        "A later delta gives the call a different id, but does not begin a new call.",
        (Seen("poolsideai/pool#9", "one id in the first chunk, another in all later ones"),),
        "Use the first id. A client that tells calls apart by id sees two calls: one without a name, the other without"
        " arguments.",
        Sample((_HEAD, _calls(_delta(0, "call_x", arguments=_TITLE)), _ends())),
    ),
    Explanation(
        "index_reused",
        IDENTITY,
        "A second call begins at an index that is in use: its delta has a different id and a name, and either the name"
        " differs or the arguments so far are one complete JSON value. otel-llm treats it as a separate call.",
        (
            Seen("ollama/ollama#15457", "every call has index 0"),
            Seen("BerriAI/litellm#33678", "the same through `ollama_chat`"),
            Seen("BerriAI/litellm#21331", "the same for models of the Responses API"),
            Seen("ai-dynamo/dynamo#4723", "index 0 for parallel calls"),
            Seen("InternLM/lmdeploy#3412", "the same in LMDeploy, compared with vLLM and SGLang"),
        ),
        "A client that groups deltas by index gets `{}{}` and can execute neither call: begin a new call when the id changes.",
        Sample((_WHOLE, _calls(_delta(0, "call_2", "list_tasks", "{}")), _ends())),
    ),
    Explanation(
        "duplicate_id",
        IDENTITY,
        "Two calls in one choice have the same id.",
        (
            Seen("mudler/LocalAI#9722", "one call at several indexes, with one id"),
            Seen(
                "HKUDS/nanobot#4473",
                "Kimi's coding endpoint gives parallel calls the same id, and rejects it when it is sent back",
            ),
            Seen("QuantumNous/new-api#6278", "a call sent again under the next index"),
        ),
        "Their results cannot be told apart. If both are the same call, drop one; otherwise assign a new id to one of them.",
        Sample((_WHOLE, _calls(_delta(1, "call_1", "list_tasks", "{}")), _ends())),
    ),
    Explanation(
        "duplicate_call",
        IDENTITY,
        "Two calls in one choice have the same name and the same arguments. Arguments are compared by meaning: white space"
        " and the order of keys make no difference.",
        (
            Seen("mudler/LocalAI#9722", "the server repeats the call"),
            Seen("OpenRouterTeam/ai-sdk-provider#489", "a client that saw each call twice ran each command twice"),
        ),
        "If running the tool twice does harm, run it once. The model may have meant it, though (two rolls of one die).",
        Sample((_WHOLE, _calls(_delta(1, "call_2", "add_task", '{"title":"buy milk"}')), _ends())),
    ),
    Explanation(
        "unknown_tool",
        REQUEST,
        "The call names a tool that the request does not declare. Not reported if the request has tools that the server runs"
        " itself.",
        (
            Seen("mastra-ai/mastra#9688", "Groq rejects calls to tools that are not in the request"),
            Seen("BerriAI/litellm#11001", "tools that the conversation mentions but the request no longer declares"),
        ),
        "The model invented the tool or remembers it from an earlier turn, or a parser cut or extended the name. Answer the"
        " call with the list of available tools.",
        _one_call("{}", "delete_all_tasks"),
    ),
    Explanation(
        "tool_choice_violated",
        REQUEST,
        "`tool_choice` is `none`, but the response has a call; or it is `required` or a named tool, and the response has no"
        " call or a call to another tool. `required` raises no anomaly if the choice ended with `length` before any call.",
        (
            Seen("vllm-project/vllm#53363", "`required` not enforced with the gemma4 parser"),
            Seen("vllm-project/vllm#24509", "`required` fails when streaming"),
            Seen("JustVugg/colibri#118", "`tool_choice` ignored"),
        ),
        "The server ignores `tool_choice`, or cannot enforce it with this parser or while streaming: check whether guided"
        " decoding has to be turned on.",
        _one_call("{}", "list_tasks", tool_choice="none"),
    ),
    Explanation(
        "parallel_violated",
        REQUEST,
        "`parallel_tool_calls` is false, but the choice has several calls.",
        (Seen("sgl-project/sglang#9696", "not enforced"),),
        "Execute the first call and remove the others from the conversation, or answer all of them.",
        Sample((_WHOLE, _calls(_OTHER), _ends()), {"parallel_tool_calls": False}),
    ),
    Explanation(
        "text_leak",
        REQUEST,
        "The text contains a complete call to a declared tool, in one of the syntaxes that models use: with markup, or as a"
        " JSON object, a list in Python syntax or a `tool_code` fence on lines of its own. Not reported: calls in reasoning,"
        " in backticks or in any other code fence, calls that `tool_call_tags` rewrote, and objects where the request's"
        " `response_format` asks for JSON.",
        (
            Seen("vllm-project/vllm#21571", "Qwen3-Coder with the hermes parser"),
            Seen("vllm-project/vllm#25560", "gpt-oss"),
            Seen("ggml-org/llama.cpp#14697", "calls as JSON in the content"),
            Seen("sgl-project/sglang#17593", "DeepSeek V3.2"),
        ),
        "Start the server with the tool-call parser and the chat template for this model. Or let otel-llm rewrite the calls:"
        " `OTEL_LLM_TOOL_CALL_TAGS=openai`, see [tool-call-tags.md](tool-call-tags.md).",
        Sample(
            (
                _chunk({"content": "Sure.\n<tool_call>\n"}),
                _chunk({"content": '{"name": "add_task", "arguments": {"title": "buy milk"}}'}),
                _chunk({"content": "\n</tool_call>"}),
                _ends("stop"),
            )
        ),
    ),
    Explanation(
        "result_without_call",
        RESULTS,
        "The request contains a tool result without a `tool_call_id`, or with one that matches no call in the messages sent."
        " Whether the call was really made does not matter: the server sees only what is sent, and OpenAI's server rejects"
        " the request (400). If the request's span links to the span of the call, the call was made in this process, and the"
        " message that contains it is missing. With `previous_response_id`, the result may also belong to a call of the"
        " previous response, if that was observed in this process. With `conversation`, the server keeps the calls, and this"
        " anomaly is never reported.",
        (
            Seen("langchain-ai/langchain#35313", "trimming the history left results without their calls"),
            Seen("microsoft/semantic-kernel#13608", "the same with a history reducer"),
            Seen("everruns/everruns#2039", "the same with the Responses API, for the rest of the session"),
        ),
        "The message with the calls was cut from the history, or an id was changed on the way. Trim the history before a"
        " message with calls, never after it.",
        _asked_with(_MADE, _result("call_1"), _result("call_of_before")),
    ),
    Explanation(
        "unanswered_call",
        RESULTS,
        "A call in the model's last message has no result in the request that follows.",
        (
            Seen("agno-agi/agno#3105", "servers reject it: insufficient tool messages"),
            Seen("langgenius/dify#32222", "DeepSeek rejects it, others do not"),
            Seen("google/adk-python#417", "several calls, not all of them answered"),
        ),
        "Send a result for every call of the message; if a tool failed or did not run, send the error as its result.",
        _asked_with(_MADE, {"role": "user", "content": "And now?"}),
    ),
    Explanation(
        "duplicate_result",
        RESULTS,
        "A call gets a second result, in the same turn or in a later one. This includes a turn that continues from a later"
        " response (`previous_response_id`), if both responses were observed in this process. Sending the same result again"
        " to retry a failed request, or to continue once more from the same response, raises no anomaly.",
        (
            Seen("agno-agi/agno#5116", "the API rejects a duplicate value for `tool_call_id`"),
            Seen("RooCodeInc/Roo-Code#9248", "both the error of a tool and its result were sent"),
            Seen("charmbracelet/crush#3121", "an id that was used twice multiplied the results"),
        ),
        "The tool ran twice, or its result was added twice, often in error handling: add it in one place.",
        _asked_with(_MADE, _result("call_1"), _result("call_1")),
    ),
    Explanation(
        "finish_reason_mismatch",
        STREAM,
        "The choice has calls, but its finish reason is none of `tool_calls`, `function_call`, `length`, `content_filter` and"
        " `error`. Or it has no calls, but its finish reason is `tool_calls`, `function_call` or another that refers to a"
        " call. `stop` after calls is accepted where `tool_choice` *names* a tool: OpenAI's API itself answers so.",
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
        _one_call(_TITLE, finish_reason="stop"),
    ),
    Explanation(
        "missing_finish_reason",
        STREAM,
        "The server ended the response without a finish reason, or without any choice at all.",
        (
            Seen("CommandCodeAI/command-code#785", "streams that end in the middle of long arguments"),
            Seen("vllm-project/vllm#27572", "sometimes null"),
            Seen("2389-research/tracker#544", "a client that took such an end for a success"),
        ),
        "The connection was closed early, perhaps by a proxy's timeout, without an error: the calls may be incomplete. Send"
        " the request again.",
        Sample((_WHOLE,)),
    ),
    Explanation(
        "delta_after_finish",
        STREAM,
        "A tool-call delta arrived after the finish reason of its choice.",
        (Seen("ai-dynamo/dynamo#10988", "calls sent at the end of the stream, after the finish reason"),),
        "A client that stops at the finish reason loses the delta: read to the end of the stream.",
        Sample((_HEAD, _ends(), _calls(_delta(0, arguments=_TITLE)))),
    ),
    Explanation(
        "invalid_unicode",
        STREAM,
        "A name, an id or the arguments contain a lone surrogate after all deltas are joined; in the arguments an escaped one"
        " (`\\ud83d`) counts too. A pair split over two deltas is one valid character, and so is U+FFFD.",
        (),
        "An emoji was split between two tokens, or the model wrote half of an escape sequence. Such text cannot be encoded as"
        " UTF-8: replace the lone surrogate before you store or send it.",
        _one_call('{"title": "\\ud83d"}'),
    ),
    Explanation(
        "stalled",
        STREAM,
        "The wait between two chunks was longer than `stall_seconds` (10 by default).",
        (
            Seen("ollama/ollama#16279", "a call is held back until it is complete"),
            Seen("vllm-project/vllm#50627", "32 s of silence before the arguments of one call"),
            Seen("ollama/ollama#16108", "a proxy timed out in the middle of long calls"),
        ),
        "If the wait follows a call's name, the server's parser is holding its arguments back. Otherwise the server was busy,"
        " or a proxy buffers.",
        Sample((_HEAD, _calls(_delta(0, arguments=_TITLE)), _ends()), waits={1: 12.5}),
    ),
    Explanation(
        "limit_exceeded",
        STREAM,
        "The stream reached one of otel-llm's own limits; the detail says which. Anything beyond the limit is counted but not"
        " judged.",
        (),
        "See [telemetry.md](telemetry.md#limits). A stream that reaches a limit is rarely intended.",
        _one_call('{"title": "x", "a": ' + '{"a": ' * 128 + "0" + "}" * 129),
    ),
)

BY_TYPE: Mapping[str, Explanation] = {one.type: one for one in EXPLANATIONS}
