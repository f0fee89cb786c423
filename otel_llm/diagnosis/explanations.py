"""What each anomaly means, where it is known from, what to do, and a stream that has it.

The one place of these texts: `otel-llm explain` prints them, and `docs/anomalies.md` is made of them
(`otel-llm explain --markdown`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """A report of somebody who met it: `where` is a repository and the number of its issue or pull request."""

    where: str
    what: str


class Sample(NamedTuple):
    """A stream: its chunks, what was asked beside `tools`, and the wait (s) before a chunk, by its position."""

    chunks: tuple[Mapping[str, Any], ...]
    asked: Mapping[str, Any] = {}
    waits: Mapping[int, float] = {}

    def lines(self) -> list[str]:
        """The stream as a server sends it, a line an event."""
        lines = []
        for position, chunk in enumerate(self.chunks):
            if position in self.waits:
                lines.append(f": {self.waits[position]:g} seconds of nothing")
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
"""What the requests of all samples declare."""

INTRODUCTION = """\
What can be wrong with a tool call, by the name it has in `otel_llm.anomaly.type`. `otel-llm explain TYPE` prints a section
of this page in the terminal.

* Everything is judged per choice, at the end of the stream, on the deltas joined. A healthy stream is accused of nothing.
  A stream that the caller stopped, or that broke, is accused of nothing that more chunks could have mended: until a choice
  has its finish reason, what it lacks is no fault.
* Judgements that need the request (declared tools, their schemas, `tool_choice`, `parallel_tool_calls`) are made only where
  it is known: a `StreamingToolCallTracker` used by itself does not know it, and tools passed as a one-shot iterator are
  not looked at.
* An empty string as id, name or finish reason is absent. The same id or name again is no contradiction. Indexes need not
  start at 0, be dense or be in order.
* The arguments of a call are exactly one of: nothing (or white space), one object, one other JSON value, several values,
  not JSON (RFC 8259). Only the type that fits is named.
* "Reported" names issues and pull requests in which people met it; some are fixed since. The samples are of
  requests that declare the tools `add_task`, which requires the string `title`, and `list_tasks`."""

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
REQUEST, STREAM = "Against the request", "The stream"
RESULTS = "The results of the calls before"


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
        "The arguments of a completed call are not JSON. NaN and Infinity are none. The detail says where reading stopped.",
        (
            Seen("vllm-project/vllm#41739", "the Kimi K2 parser handed the model's malformed arguments on"),
            Seen("vllm-project/vllm#53269", "a call cut by max_tokens ended with `tool_calls`, its arguments open"),
            Seen("mistralai/mistral-vibe#216", "Windows paths with backslashes that nobody escaped"),
        ),
        "Where reading stopped at the very end, look for a cut: `max_tokens`, a proxy's limit, a parser that lost the last"
        " deltas. Elsewhere the model wrote it, or the server's parser passed markup on: try constrained decoding (`strict`,"
        " a grammar), and send the error back to the model as the tool's result.",
        Sample((_HEAD, _calls(_delta(0, arguments='{"title": "buy mi')), _ends())),
    ),
    Explanation(
        "arguments_duplicated",
        ARGUMENTS,
        "The arguments are two or more JSON values, one after the other (`{}{}`).",
        (
            Seen("vllm-project/vllm#51697", "the xlam parser sends all arguments again when the stream ends"),
            Seen("vllm-project/vllm#42167", "a GLM call whose last chunk holds all arguments once more"),
            Seen("lidge-jun/opencodex#361", "every call with its arguments in an extra chunk"),
        ),
        "Where both values are the same, keep the first and report it to the server. Where they differ, two calls were"
        " joined: they came with one index and without ids.",
        Sample((_HEAD, _calls(_delta(0, arguments=_TITLE)), _calls(_delta(0, arguments=_TITLE)), _ends())),
    ),
    Explanation(
        "arguments_not_object",
        ARGUMENTS,
        "The arguments are JSON, but no object: a string, a number, an array, null.",
        (
            Seen(
                "vllm-project/vllm#54964",
                "hermes parser: Granite 4's arguments encoded twice, a string that holds JSON",
            ),
            Seen("tailcallhq/forgecode#2764", "arguments of a request encoded twice"),
        ),
        "A string that holds JSON was encoded twice, by the model or by the server: decode it again, and report it. Anything"
        " else is the model's: declare `type: object` with named properties.",
        _one_call(json.dumps(_TITLE)),
    ),
    Explanation(
        "arguments_not_string",
        ARGUMENTS,
        "A delta carried an object where the protocol has a string. It is judged as the JSON that it is.",
        (
            Seen("ggml-org/llama.cpp#20198", "llama-server sent objects for some time"),
            Seen("huggingface/text-generation-inference#2461", "arguments as an object"),
            Seen("BerriAI/litellm#37792", "`ollama_chat` streamed a dict"),
        ),
        "Clients that join strings fail here. Update the server or the gateway; until then encode the object yourself.",
        _one_call({"title": "buy milk"}),
    ),
    Explanation(
        "empty_arguments",
        ARGUMENTS,
        "No arguments came at all, though the tool requires some. For a tool that requires none that is no fault.",
        (
            Seen("vllm-project/vllm#47901", "calls after one without arguments lose theirs, with two parsers"),
            Seen("vllm-project/vllm#9693", "arguments null when streaming, whole when not"),
            Seen("vllm-project/vllm#31501", "lost with `--stream-interval` above 1"),
        ),
        "Ask the same without streaming: if the arguments are there, the server's streaming parser lost them. Do not execute"
        " the call with nothing.",
        _one_call(""),
    ),
    Explanation(
        "schema_violation",
        ARGUMENTS,
        "The arguments are an object that does not satisfy the tool's `parameters`. The detail says where in the schema;"
        " `format` is not checked. Arguments nested deeper than 128, and schemas that are no JSON Schema (`nullable` is not), that refer to"
        " something outside, or that are longer than 262,144 characters are not checked (a warning says so).",
        (
            Seen("vllm-project/vllm#46924", "nested objects come as strings where the schema uses `$defs`"),
            Seen("JustVugg/colibri#118", "strings that look like numbers come as numbers"),
            Seen("HunorLaczko/ha-groq-cloud-api#20", "Groq checks too, and answers with status 400"),
        ),
        "If the values are right and their types wrong, the server's parser guessed them. Else the model made it up: say in"
        " the descriptions what belongs where, use `strict`, and send the error back as the tool's result.",
        _one_call('{"title": 3}'),
    ),
    Explanation(
        "truncated",
        ARGUMENTS,
        "`length`, `content_filter` or `error` came while the arguments of a call were not one whole value. What such a call"
        " lacks is not named beside it; what contradicts itself is.",
        (Seen("github/copilot-cli#4286", "arguments held back to their end, and so lost whole when cut"),),
        "Raise `max_tokens`, or ask for less in one call; after `error` ask again. Do not execute it.",
        Sample((_HEAD, _calls(_delta(0, arguments='{"title": "buy')), _ends("length"))),
    ),
    Explanation(
        "missing_name",
        IDENTITY,
        "The call's name never came. It may come late: then nothing is wrong.",
        (
            Seen("open-webui/open-webui#29690", "a custom SGLang build sent null"),
            Seen("farion1231/cc-switch#4158", "names empty or absent"),
            Seen("langchain4j/langchain4j#5209", "DeepSeek: an empty call at an index of its own behind the real ones"),
        ),
        "The call cannot be executed. Ask the same without streaming; if the name is there, the server lost it.",
        Sample((_calls(_delta(0, "call_1", arguments=_TITLE)), _ends())),
    ),
    Explanation(
        "missing_id",
        IDENTITY,
        "The call's id never came, or is an empty string. The legacy `function_call` needs none.",
        (
            Seen("ggml-org/llama.cpp#12279", "ids empty, and Semantic Kernel failed"),
            Seen("camel-ai/camel#3027", "Gemini's ids empty"),
        ),
        "A result is sent back by the call's id: make one up, and use it in both messages.",
        Sample((_calls(_delta(0, None, "add_task", _TITLE)), _ends())),
    ),
    Explanation(
        "missing_index",
        IDENTITY,
        "A delta had no index, null, or no usable number. Different ids are then different calls, and a delta with neither"
        " goes on with the last call.",
        (
            Seen("ollama/ollama#7881", "no index before 0.4.7"),
            Seen("brainlid/langchain#620", "Gemini's parts carry none"),
        ),
        "Clients that keep calls by index lose or mix such calls, and the SDK's own `stream()` helper raises: read the deltas"
        " by id.",
        Sample((_calls(_delta(None, "call_1", "add_task", _TITLE)), _ends())),
    ),
    Explanation(
        "name_changed",
        IDENTITY,
        "A later delta gives the call another name. Pieces of a name whose join is a declared tool are no contradiction,"
        " nor is the same name again.",
        (
            Seen("NousResearch/hermes-agent#3468", "clients that join names get `terminalterminal`"),
            Seen("continuedev/continue#5849", "some models send the name in pieces, some repeat it"),
        ),
        "Two calls may have been sent as one: look at their arguments. Never join names without looking whether the name is"
        " only repeated.",
        Sample((_HEAD, _calls(_delta(0, None, "list_tasks", _TITLE)), _ends())),
    ),
    Explanation(
        "id_changed",
        IDENTITY,
        "A later delta gives the call another id, without beginning a call of its own.",
        (Seen("poolsideai/pool#9", "one id in the first chunk, another in all that follow"),),
        "Take the first id. A client that tells calls apart by id sees two, of which one has no name and the other no"
        " arguments.",
        Sample((_HEAD, _calls(_delta(0, "call_x", arguments=_TITLE)), _ends())),
    ),
    Explanation(
        "index_reused",
        IDENTITY,
        "A second call begins at an index in use: another id with a name, where the name differs or the arguments so far are"
        " one whole JSON value. It is kept as a call of its own.",
        (
            Seen("ollama/ollama#15457", "every call with index 0"),
            Seen("BerriAI/litellm#33678", "the same through `ollama_chat`"),
            Seen("BerriAI/litellm#21331", "the same for models of the Responses API"),
            Seen("ai-dynamo/dynamo#4723", "index 0 for parallel calls"),
            Seen("InternLM/lmdeploy#3412", "the same of LMDeploy, with vLLM and SGLang beside it"),
        ),
        "A client that joins by index gets `{}{}` and executes neither: begin a call when the id changes.",
        Sample((_WHOLE, _calls(_delta(0, "call_2", "list_tasks", "{}")), _ends())),
    ),
    Explanation(
        "duplicate_id",
        IDENTITY,
        "Two calls of one choice share an id.",
        (
            Seen("mudler/LocalAI#9722", "one call at several indexes, with one id"),
            Seen(
                "HKUDS/nanobot#4473",
                "Kimi's coding endpoint gives parallel calls one id, and refuses it when it comes back",
            ),
            Seen("QuantumNous/new-api#6278", "a call sent again under the next index"),
        ),
        "Their results cannot be told apart. If they are the same call, drop one; else give one of them an id of your own.",
        Sample((_WHOLE, _calls(_delta(1, "call_1", "list_tasks", "{}")), _ends())),
    ),
    Explanation(
        "duplicate_call",
        IDENTITY,
        "The same name with the same arguments twice in one choice, compared by meaning: white space and the order of keys"
        " make no difference.",
        (
            Seen("mudler/LocalAI#9722", "the server repeats the call"),
            Seen("OpenRouterTeam/ai-sdk-provider#489", "a client that saw a call twice ran each command twice"),
        ),
        "Execute it once where executing twice does harm. A model may also mean it (two rolls of one die).",
        Sample((_WHOLE, _calls(_delta(1, "call_2", "add_task", '{"title":"buy milk"}')), _ends())),
    ),
    Explanation(
        "unknown_tool",
        REQUEST,
        "The call's name is none of the declared tools. Where the request has tools that the server runs itself, no name is"
        " unknown.",
        (
            Seen("mastra-ai/mastra#9688", "Groq refuses calls of tools that are not in the request"),
            Seen("BerriAI/litellm#11001", "tools named in the conversation and no longer declared"),
        ),
        "The model made it up, remembers a tool of an earlier turn, or a parser cut or extended the name. Answer the call"
        " with the list of tools there are.",
        _one_call("{}", "delete_all_tasks"),
    ),
    Explanation(
        "tool_choice_violated",
        REQUEST,
        "`tool_choice` is `none`, yet a call came; or `required` or a named tool, yet none or another came. `required` and"
        " then `length` before any call is nothing.",
        (
            Seen("vllm-project/vllm#53363", "`required` not enforced with the gemma4 parser"),
            Seen("vllm-project/vllm#24509", "`required` fails when streaming"),
            Seen("JustVugg/colibri#118", "`tool_choice` not looked at"),
        ),
        "The server ignores `tool_choice`, or cannot enforce it with this parser or while streaming: look whether it needs"
        " guided decoding turned on.",
        _one_call("{}", "list_tasks", tool_choice="none"),
    ),
    Explanation(
        "parallel_violated",
        REQUEST,
        "`parallel_tool_calls` is false, yet several calls came.",
        (Seen("sgl-project/sglang#9696", "not enforced"),),
        "Execute the first and drop the others from the conversation, or answer all of them.",
        Sample((_WHOLE, _calls(_OTHER), _ends()), {"parallel_tool_calls": False}),
    ),
    Explanation(
        "text_leak",
        REQUEST,
        "The text holds a whole call of a declared tool, in one of the syntaxes of models; with markup, or as an object, a"
        " list in Python's syntax or a `tool_code` fence that has its lines to itself. What stands in reasoning, in"
        " backticks or in any other fence is talk; what `tool_call_tags` rewrote was asked for, and so was an object where"
        " the request has a `response_format` of JSON.",
        (
            Seen("vllm-project/vllm#21571", "Qwen3-Coder behind the hermes parser"),
            Seen("vllm-project/vllm#25560", "gpt-oss"),
            Seen("ggml-org/llama.cpp#14697", "calls as JSON in the content"),
            Seen("sgl-project/sglang#17593", "DeepSeek V3.2"),
        ),
        "Start the server with the tool-call parser and the chat template of this model. Or have the calls rewritten on the"
        " way: `OTEL_LLM_TOOL_CALL_TAGS=openai`, see [tool-call-tags.md](tool-call-tags.md).",
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
        "The request brings a result whose `tool_call_id` is no call's in the conversation that was sent, or that has none."
        " That the call was made counts for nothing: the server sees what is sent, and OpenAI's refuses the request (400)."
        " Where the request is linked to the span of the call, the call was made here, and its message is what is missing."
        " With `previous_response_id` the calls are those of the response before, if that was watched in this process;"
        " with `conversation` they are the server's, and nothing is named.",
        (
            Seen("langchain-ai/langchain#35313", "trimming the history left results without their calls"),
            Seen("microsoft/semantic-kernel#13608", "the same of a reducer of the history"),
            Seen("everruns/everruns#2039", "the same with the Responses API, for the rest of the session"),
        ),
        "The message with the calls was cut from the history, or an id was changed on the way: cut the history in front of"
        " a message with calls, never behind it.",
        _asked_with(_MADE, _result("call_1"), _result("call_of_before")),
    ),
    Explanation(
        "unanswered_call",
        RESULTS,
        "A call of the model's last message has no result in the request that follows it.",
        (
            Seen("agno-agi/agno#3105", "servers refuse it: insufficient tool messages"),
            Seen("langgenius/dify#32222", "DeepSeek refuses it, others do not"),
            Seen("google/adk-python#417", "several calls, of which not all were answered"),
        ),
        "Send a result for every call of the message; one that tells the error where the tool failed or was not run.",
        _asked_with(_MADE, {"role": "user", "content": "And now?"}),
    ),
    Explanation(
        "duplicate_result",
        RESULTS,
        "A call has a second result, in the same turn or in a later one; in one that goes on from a later response"
        " (`previous_response_id`), too, where both responses were watched in this process. What is sent again after a"
        " failure, or to go on from the same response once more, is no second result.",
        (
            Seen("agno-agi/agno#5116", "the API refuses a duplicate value for `tool_call_id`"),
            Seen("RooCodeInc/Roo-Code#9248", "the error of a tool and its result, both sent"),
            Seen("charmbracelet/crush#3121", "results multiplied for an id that came twice"),
        ),
        "The tool ran twice, or its result was added twice, often where an error is handled: add it in one place.",
        _asked_with(_MADE, _result("call_1"), _result("call_1")),
    ),
    Explanation(
        "finish_reason_mismatch",
        STREAM,
        "Calls, but a finish reason other than `tool_calls`, `function_call`, `length`, `content_filter`, `error`; or one of"
        " the first two, or another word that speaks of a call, without one. A *named* tool choice excuses `stop`, which the"
        " API itself answers then.",
        (
            Seen("BerriAI/litellm#35753", "`stop` after streamed calls of Ollama"),
            Seen("BerriAI/litellm#12862", "`stop` for o1-pro and Cohere"),
            Seen("Blaizzy/mlx-vlm#990", "always `stop`"),
            Seen("vllm-project/vllm#25054", "what OpenAI and vLLM answer, by tool choice"),
            Seen("googleapis/python-genai#2868", "Gemini: `stop` after calls that are streamed"),
            Seen("HKUDS/nanobot#1555", "Copilot: text in one choice, its calls in another, and `tool_calls` in both"),
            Seen("coder/coder#28470", "Gemini: `function_call_filter: MALFORMED_FUNCTION_CALL`, and nothing else"),
        ),
        "An agent that looks at the finish reason does not execute the calls: look at the calls instead. Without a call the"
        " model's was lost, as the server could not read it: ask again.",
        _one_call(_TITLE, finish_reason="stop"),
    ),
    Explanation(
        "missing_finish_reason",
        STREAM,
        "The server ended the response without a finish reason, or without any choice at all.",
        (
            Seen("CommandCodeAI/command-code#785", "streams that end in the middle of long arguments"),
            Seen("vllm-project/vllm#27572", "null now and then"),
            Seen("2389-research/tracker#544", "a client that took such an end for a success"),
        ),
        "The connection was closed early, by a proxy's timeout perhaps, and nothing else told: the calls may be incomplete."
        " Ask again.",
        Sample((_WHOLE,)),
    ),
    Explanation(
        "delta_after_finish",
        STREAM,
        "A tool-call delta came after its choice's finish reason.",
        (Seen("ai-dynamo/dynamo#10988", "calls sent at the end of the stream, behind the finish reason"),),
        "A client that stops at the finish reason loses it: read to the end of the stream.",
        Sample((_HEAD, _ends(), _calls(_delta(0, arguments=_TITLE)))),
    ),
    Explanation(
        "invalid_unicode",
        STREAM,
        "Half a surrogate pair in a name, an id or the arguments, after all deltas are joined; in the arguments also an"
        " escaped one (`\\ud83d`). Two halves in two deltas are one character, and U+FFFD is one too.",
        (),
        "An emoji was cut between two tokens, or the model wrote half an escape. Encoding such text as UTF-8 fails: replace"
        " the half before you store or send it.",
        _one_call('{"title": "\\ud83d"}'),
    ),
    Explanation(
        "stalled",
        STREAM,
        "A wait between two chunks was longer than `stall_seconds` (10).",
        (
            Seen("ollama/ollama#16279", "a call is held back until it is whole"),
            Seen("vllm-project/vllm#50627", "32 s of silence before one call's arguments"),
            Seen("ollama/ollama#16108", "a proxy's timeout in the middle of long calls"),
        ),
        "Short waits behind a call's name: the server's parser holds arguments back. Others: the server was busy, or a proxy"
        " buffers.",
        Sample((_HEAD, _calls(_delta(0, arguments=_TITLE)), _ends()), waits={1: 12.5}),
    ),
    Explanation(
        "limit_exceeded",
        STREAM,
        "One of otel-llm's own limits was reached; the detail says which. What is beyond it is counted and not judged.",
        (),
        "See [telemetry.md](telemetry.md#limits). A stream that reaches one is rarely one that was meant.",
        _one_call('{"title": "x", "a": ' + '{"a": ' * 128 + "0" + "}" * 129),
    ),
)

BY_TYPE: Mapping[str, Explanation] = {one.type: one for one in EXPLANATIONS}
