"""Responses that an SDK received and then refused: cut short, or not what `parse()` expected.

If a response was cut short, the OpenAI SDK's error holds it. If it did not fit, the error is pydantic's or the JSON
parser's and does not; but a function of the SDK that is in the error's traceback does.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from otel_llm.observation import Observation
from otel_llm.transparency.faults import swallow
from otel_llm.wrappers.sdk_internals import response_held_by


def fail_with_response(observation: Observation, error: BaseException) -> None:
    """End the observation of a request that raised, with the response if there was one."""
    try:
        response = _refused(error)
        if response is not None:
            observation.reader.read_response(response, perf_counter_ns())
    except Exception as fault:  # noqa: BLE001  an error may be anything
        swallow("a refused response", fault)
    observation.fail(error)


def _refused(error: BaseException) -> Any:
    """The response of the request that raised `error`, None if there was none."""
    response = None
    is_at_wrapper = True
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if str(frame.f_globals.get("__name__")).partition(".")[0] != "otel_llm":
            is_at_wrapper = False
            response = response or response_held_by(frame)
        elif not is_at_wrapper:
            # A wrapper further in: a hook or validator of this request made another request, which raised.
            return response
        step = step.tb_next
    return response or getattr(error, "completion", None)
