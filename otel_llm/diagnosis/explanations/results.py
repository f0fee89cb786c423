"""What can be wrong with the results that a request sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.diagnosis.explanations.model import Explanation, Sample, Seen, chunk, ends

_GROUP = "Results of earlier calls"


def _asked_with(*messages: Mapping[str, Any]) -> Sample:
    return Sample((chunk({"content": "Done."}), ends("stop")), {"messages": list(messages)})


_MADE = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "list_tasks", "arguments": "{}"}}],
}


def _result(call_id: str) -> Mapping[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "[]"}


RESULTS: tuple[Explanation, ...] = (
    Explanation(
        "result_without_call",
        _GROUP,
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
        _GROUP,
        "A call in the model's last message has no result in the request that follows. A call that the server ran itself"
        " needs none.",
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
        _GROUP,
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
)
