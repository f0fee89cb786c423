"""The names of the telemetry contract: attributes, events, metrics and operations that otel-llm writes or reads.

No other module spells them. docs/telemetry.md says which span, event or metric has which attribute. Names that start
with `otel_llm.` are specific to this package; the others are those of OpenTelemetry's semantic conventions. They are
not imported from opentelemetry-semantic-conventions, whose constants for GenAI are private, deprecated and incomplete.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SCOPE: Final = "otel_llm"
"""The instrumentation scope of all spans, metrics and log records."""
NAMESPACE: Final = "otel_llm."
"""The prefix of all names that are specific to this package."""

# -- attributes of a request's span --

OTEL_LLM_STREAM_OUTCOME: Final = "otel_llm.stream.outcome"
"""`completed`, `closed`, `abandoned`, `cancelled` or `error`. Also an attribute of a metric."""
OTEL_LLM_STREAM_CHUNK_COUNT: Final = "otel_llm.stream.chunk_count"
"""Chunks handed to the caller."""
OTEL_LLM_STREAM_TIME_TO_FIRST_TOOL_CALL: Final = "otel_llm.stream.time_to_first_tool_call"
"""Seconds from the request to the first tool-call delta."""
OTEL_LLM_STREAM_MAX_CHUNK_GAP: Final = "otel_llm.stream.max_chunk_gap"
"""Seconds of the longest wait for a chunk after the first."""
OTEL_LLM_STREAM_COALESCED_DELTA_COUNT: Final = "otel_llm.stream.coalesced_delta_count"
"""Deltas folded into another delta's event."""
OTEL_LLM_STREAM_TOOL_CALL_COUNT: Final = "otel_llm.stream.tool_call_count"
"""Tool calls, over all choices."""
OTEL_LLM_STREAM_TEXT_ONLY: Final = "otel_llm.stream.text_only"
"""Whether there is text and no tool call."""
OTEL_LLM_STREAM_ANOMALY_COUNT: Final = "otel_llm.stream.anomaly_count"
OTEL_LLM_CONVERSATION_REPEATED_CALLS: Final = "otel_llm.conversation.repeated_calls"
"""In so many turns in a row, counting this response, the model made the same call and got the same result."""
OTEL_LLM_STREAM_ANOMALY_TYPES: Final = "otel_llm.stream.anomaly_types"
"""Their types, sorted, each once, with commas between. Absent if there are none."""
OTEL_LLM_STREAM_TIME_PER_OUTPUT_TOKEN: Final = "otel_llm.stream.time_per_output_token"  # noqa: S105  not a password
"""Seconds from the first chunk to the last, for each output token but the first."""
OTEL_LLM_REDACTION_WITHHELD_COUNT: Final = "otel_llm.redaction.withheld_count"
"""Texts that were not sent because the function of `OTEL_LLM_REDACT` failed. Absent if there are none."""
OTEL_LLM_SAMPLING_REASON: Final = "otel_llm.sampling.reason"
"""Why a collector kept the span: `error`, `anomaly`, `slow`, `share` or `trace`. Set by collector-config/, not here."""

# -- attributes of events --

OTEL_LLM_CHOICE_INDEX: Final = "otel_llm.choice.index"
OTEL_LLM_TOOL_CALL_INDEX: Final = "otel_llm.tool_call.index"
OTEL_LLM_DELTA_COUNT: Final = "otel_llm.delta.count"
"""Deltas that an event stands for; on a completed call, all of its deltas."""
OTEL_LLM_ARGUMENTS_LENGTH: Final = "otel_llm.arguments.length"
"""Characters of the arguments so far."""
OTEL_LLM_FINISH_REASON: Final = "otel_llm.finish_reason"
OTEL_LLM_ANOMALY_TYPE: Final = "otel_llm.anomaly.type"
"""One of docs/anomalies.md. Also an attribute of a metric."""
OTEL_LLM_ANOMALY_DETAIL: Final = "otel_llm.anomaly.detail"
OTEL_LLM_TAG_REWRITE_FORMAT: Final = "otel_llm.tag_rewrite.format"
"""The syntax in which the model wrote the call. Also an attribute of a metric."""
OTEL_LLM_TAG_REWRITE_LENGTH: Final = "otel_llm.tag_rewrite.length"
"""Characters of the call's JSON, or of its arguments if the rewriter generated the JSON."""
OTEL_LLM_TAG_REWRITE_TARGET: Final = "otel_llm.tag_rewrite.target"
"""`openai`, or both tags."""

# -- attributes of the semantic conventions --

GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_CONVERSATION_COMPACTED: Final = "gen_ai.conversation.compacted"
"""True if the request sends, or the response brings, an item that stands for the conversation so far."""
GEN_AI_SYSTEM: Final = "gen_ai.system"
"""The provider, in the spans of instrumentations that follow older conventions."""
GEN_AI_REQUEST_PREFIX: Final = "gen_ai.request."
"""The prefix of a request's parameters."""
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
GEN_AI_REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID: Final = "gen_ai.request.previous_response.id"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  not a password
"""`input` or `output`, of the metric that counts tokens."""
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
GEN_AI_TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
"""On spans and events the name as the model wrote it; on metrics that of a declared tool, else `OTHER`."""
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
"""On events cut to `OTEL_LLM_ARGUMENT_LIMIT`: of a delta its own text, of a completed call the beginning."""
OPENAI_API_TYPE: Final = "openai.api.type"
"""`responses` for the Responses API."""
OTEL_LLM_API: Final = "otel_llm.api"
"""`messages` for Anthropic's messages, `converse` for Bedrock's Converse API."""
AWS_BEDROCK_GUARDRAIL_ID: Final = "aws.bedrock.guardrail.id"
OPENAI_REQUEST_SERVICE_TIER: Final = "openai.request.service_tier"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
OPENAI_RESPONSE_SYSTEM_FINGERPRINT: Final = "openai.response.system_fingerprint"
USER_ID: Final = "user.id"
"""Who the request is for, as its body says. Set by the proxy."""
OTEL_LLM_REQUEST_METADATA: Final = "otel_llm.request.metadata"
"""With a dot and a key: what the request's `metadata` says. Set by the proxy."""
HTTP_REQUEST_HEADER: Final = "http.request.header"
"""With a dot and a name: a header of the request, of those that the proxy was told to put on spans."""
OTEL_LLM_PROXY_SIDE: Final = "otel_llm.proxy.side"
"""`client` or `upstream`, of a metric."""
OTEL_LLM_PROXY_DIRECTION: Final = "otel_llm.proxy.direction"
"""`up` to the server or `down` to the client, of a metric."""
ERROR_TYPE: Final = "error.type"
"""The name of an exception, a server's error code, or `ERROR_OF_ANOMALY`."""
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_TYPE: Final = "exception.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
SERVICE_NAME: Final = "service.name"
"""Of the resource."""

OTHER: Final = "_OTHER"
"""The conventions' value for "none of the known ones", where any value could otherwise come from a model."""

ERROR_OF_ANOMALY: Final = "otel_llm.anomaly"
"""The `error.type` of a span that is an error only because of an anomaly."""

# -- values of `gen_ai.operation.name`, and first words of a span's name --

OPERATION_CHAT: Final = "chat"
"""A request's span is named `chat {model}`."""
OPERATION_EXECUTE_TOOL: Final = "execute_tool"
"""A tool's span is named `execute_tool {name}`."""
OPERATION_GENERATE_CONTENT: Final = "generate_content"
OPERATION_TEXT_COMPLETION: Final = "text_completion"

# -- events --

EVENT_TOOL_CALL_DETECTED: Final = "otel_llm.tool_call.detected"
EVENT_TOOL_CALL_NAME: Final = "otel_llm.tool_call.name"
EVENT_TOOL_CALL_ARGUMENTS_DELTA: Final = "otel_llm.tool_call.arguments.delta"
EVENT_TOOL_CALL_COMPLETED: Final = "otel_llm.tool_call.completed"
EVENT_TEXT_STARTED: Final = "otel_llm.text.started"
EVENT_REASONING_STARTED: Final = "otel_llm.reasoning.started"
EVENT_FINISH_REASON: Final = "otel_llm.finish_reason"
EVENT_ANOMALY: Final = "otel_llm.anomaly"
EVENT_TAG_REWRITE: Final = "otel_llm.tag_rewrite"
EVENT_EXCEPTION: Final = "exception"
"""The OpenTelemetry SDK's, on a span that an exception ended."""

# -- metrics --


class Metric(NamedTuple):
    """A metric. `unit` is UCUM's: `s`, or the thing counted, in braces."""

    name: str
    kind: Literal["counter", "histogram", "updowncounter"]
    unit: str
    description: str = ""
    """Empty for a metric that is not created here."""


METRIC_TOOL_CALL_COUNT: Final = Metric(
    "otel_llm.tool_call.count", "counter", "{call}", "Tool calls requested by models"
)
METRIC_TOOL_CALL_DURATION: Final = Metric(
    "otel_llm.tool_call.duration", "histogram", "s", "From the first delta of a tool call to its last"
)
METRIC_TOOL_CALL_TURNAROUND: Final = Metric(
    "otel_llm.tool_call.turnaround",
    "histogram",
    "s",
    "From the completion of a tool call to the request that carries its result",
)
METRIC_TOOL_CALL_FORGOTTEN: Final = Metric(
    "otel_llm.tool_call.forgotten",
    "counter",
    "{call}",
    "Tool calls without a result that were dropped from memory because there were too many",
)
METRIC_TOOL_CALL_ARGUMENTS_SIZE: Final = Metric(
    "otel_llm.tool_call.arguments.size", "histogram", "{character}", "Length of the arguments of a tool call"
)
METRIC_ANOMALY_COUNT: Final = Metric(
    "otel_llm.anomaly.count", "counter", "{anomaly}", "Anomalies of tool calls and their streams"
)
METRIC_STREAM_COUNT: Final = Metric("otel_llm.stream.count", "counter", "{stream}", "Streamed responses, by outcome")
METRIC_STREAM_TIME_TO_FIRST_TOOL_CALL: Final = Metric(
    "otel_llm.stream.time_to_first_tool_call", "histogram", "s", "From the request to the first tool-call delta"
)
METRIC_STREAM_TIME_PER_OUTPUT_TOKEN: Final = Metric(
    "otel_llm.stream.time_per_output_token",
    "histogram",
    "s",
    "From the first chunk of a stream to its last, for each output token but the first",
)
METRIC_TAG_REWRITE_COUNT: Final = Metric(
    "otel_llm.tag_rewrite.count", "counter", "{call}", "Tool calls written as text and rewritten"
)
METRIC_TAG_REWRITE_DURATION: Final = Metric(
    "otel_llm.tag_rewrite.duration", "histogram", "s", "Time to rewrite a tool call written as text"
)
METRIC_PROXY_CONNECTIONS: Final = Metric(
    "otel_llm.proxy.connections", "updowncounter", "{connection}", "Open connections of the proxy, by side"
)
METRIC_PROXY_REQUESTS: Final = Metric(
    "otel_llm.proxy.requests", "counter", "{request}", "Requests that the proxy sent to a server"
)
METRIC_PROXY_BYTES: Final = Metric(
    "otel_llm.proxy.bytes", "counter", "By", "Bytes that the proxy handed on: up to servers, down to clients"
)
METRIC_PROXY_ADDED_LATENCY: Final = Metric(
    "otel_llm.proxy.added_latency",
    "histogram",
    "s",
    "From the end of a request, as it came, to its being sent",
)
METRIC_PROXY_UPSTREAM_ERRORS: Final = Metric(
    "otel_llm.proxy.upstream.errors",
    "counter",
    "{error}",
    "Failures of servers, and to reach them, by error.type",
)
METRIC_PROXY_REWRITE_FAILURES: Final = Metric(
    "otel_llm.proxy.rewrite.failures",
    "counter",
    "{response}",
    "Responses whose rewriting failed: they went on as they came",
)
METRIC_ANOMALY_EVENT_COUNT: Final = Metric("otel_llm.anomaly.event.count", "counter", "")
"""Anomaly events of spans, counted by a collector (collector-config/), also for applications that send no metrics."""
METRIC_GEN_AI_CLIENT_OPERATION_DURATION: Final = Metric("gen_ai.client.operation.duration", "histogram", "s")
METRIC_GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK: Final = Metric(
    "gen_ai.client.operation.time_to_first_chunk", "histogram", "s"
)
METRIC_GEN_AI_CLIENT_TOKEN_USAGE: Final = Metric("gen_ai.client.token.usage", "histogram", "{token}")
