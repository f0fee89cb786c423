"""What each anomaly means, who reported it, what to do, and a sample stream that has it.

These texts exist only here: `otel-llm explain` prints them, and `otel-llm explain --markdown` generates
`docs/anomalies.md` from them.
"""

from __future__ import annotations

from collections.abc import Mapping

from otel_llm.diagnosis.explanations.arguments import ARGUMENTS
from otel_llm.diagnosis.explanations.conversation import CONVERSATION
from otel_llm.diagnosis.explanations.framing import FRAMING
from otel_llm.diagnosis.explanations.identity import IDENTITY
from otel_llm.diagnosis.explanations.model import Explanation
from otel_llm.diagnosis.explanations.request import REQUEST
from otel_llm.diagnosis.explanations.results import RESULTS
from otel_llm.diagnosis.explanations.stream import STREAM
from otel_llm.diagnosis.explanations.text import TEXT

INTRODUCTION = """\
What can go wrong with a tool call. Each section explains one value of the attribute `otel_llm.anomaly.type`;
`otel-llm explain TYPE` prints it in the terminal.

* Each choice is judged at the end of the stream, on its joined deltas. Healthy streams raise no anomaly. If the caller
  stopped the stream, or it broke off, nothing is reported that further chunks could have corrected: until a choice has its
  finish reason, missing parts are not a fault.
* Some anomalies can be detected only where the request is known (declared tools and their schemas, `tool_choice`,
  `parallel_tool_calls`). A `StreamingToolCallTracker` used on its own does not know the request, and tools passed as a
  one-shot iterator are not inspected.
* The bytes are judged where they are seen: by `otel-llm inspect`, `otel-llm record` and `otel-llm probe`.
* An id, name or finish reason that is an empty string counts as absent. Repeating the same id or name is not a
  contradiction. Indexes need not start at 0, be contiguous or be in order.
* The arguments of a call are exactly one of: nothing (or white space), one object, one other JSON value, several values,
  or not JSON (RFC 8259). Only the anomaly that matches is reported.
* Positions in details are offsets: characters and bytes count from 0, so `character 6 of 6` is the end of the text.
* "Reported" lists issues and pull requests of people who ran into the anomaly; some of these bugs are fixed by now. The
  sample streams answer requests that declare the tools `add_task`, which requires the string `title`, and `list_tasks`."""

EXPLANATIONS: tuple[Explanation, ...] = (
    *ARGUMENTS,
    *IDENTITY,
    *REQUEST,
    *RESULTS,
    *TEXT,
    *CONVERSATION,
    *STREAM,
    *FRAMING,
)

BY_TYPE: Mapping[str, Explanation] = {one.type: one for one in EXPLANATIONS}
