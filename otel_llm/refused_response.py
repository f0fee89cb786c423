"""A response that an SDK got and then refused: it was cut short, or is not what `parse()` was to make of it.

For the first the SDK's error has the response. For the second the error is pydantic's or the JSON parser's and knows
nothing of it, but the SDK's function that held it is in the error's traceback.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Final

from otel_llm.observation import Observation

# Packages and classes of what a request answers, as all SDKs that are made from one template have them.
_TYPES: Final = ".types."
_ANSWERS: Final = frozenset({"ChatCompletion", "Response"})


def fail_with_response(observation: Observation, error: BaseException) -> None:
    """End the observation of a request that raised, with the response if there was one."""
    response = getattr(error, "completion", None)
    if response is None:
        response = _in_hands(error)
    if response is not None:
        observation.reader.read_response(response, perf_counter_ns())
    observation.fail(error)


def _in_hands(error: BaseException) -> Any:
    """The response that a function of an SDK had when `error` was raised; None where there was none."""
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        for value in frame.f_locals.values():
            kind = type(value)
            if kind.__name__ in _ANSWERS and kind.__module__.startswith(package + _TYPES):
                return value
        step = step.tb_next
    return None
