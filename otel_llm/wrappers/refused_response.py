"""A response that an SDK got and then refused: it was cut short, or is not what `parse()` was to make of it.

For the first the SDK's error has the response. For the second the error is pydantic's or the JSON parser's and knows
nothing of it, but the SDK's function that held it is in the error's traceback.
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
    """The response of the request that raised `error`, None where there was none."""
    response = None
    is_ours = True
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if str(frame.f_globals.get("__name__")).partition(".")[0] != "otel_llm":
            is_ours = False
            response = response or response_held_by(frame)
        elif not is_ours:
            # From here on it is a request that this one's hooks or validators made, and the error is that one's.
            return response
        step = step.tb_next
    return response or getattr(error, "completion", None)
