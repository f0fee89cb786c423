"""Executes the calls of a model with the functions that an application gives, and reports their results."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from otel_llm.tags.declared import name_of
from otel_llm.tags.detector import ToolCall

Result = dict[str, Any]
"""`{"call_id": …, "name": …, "output": …, "error": …}`; `error` is None, or says what the function raised."""


class ToolExecutor:
    """Calls functions by the name of the tool. `tools`: functions by name, or in a list; anything else is ignored."""

    def __init__(self, tools: Any) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}
        if isinstance(tools, Mapping):
            self._functions = {str(name): tool for name, tool in tools.items() if callable(tool)}
        else:
            functions = [tool for tool in tools or () if callable(tool) and not isinstance(tool, type)]
            self._functions = {name_of(function): function for function in functions}

    def run(self, calls: Iterable[ToolCall]) -> list[Result]:
        """Execute the calls one after the other. A call without a function of its name has no result."""
        results = []
        for call in calls:
            if (called := self._call(call)) is None:
                continue
            result, output = called
            if inspect.isawaitable(output):
                result["error"] = "it is asynchronous: process the stream with aprocess_stream"
                if inspect.iscoroutine(output):
                    output.close()
            else:
                result["output"] = output
            results.append(result)
        return results

    async def arun(self, calls: Iterable[ToolCall]) -> list[Result]:
        """The same; here functions may be asynchronous."""
        results = []
        for call in calls:
            if (called := self._call(call)) is None:
                continue
            result, output = called
            try:
                result["output"] = await output if inspect.isawaitable(output) else output
            except Exception as error:  # noqa: BLE001  as in _call
                result["error"] = _described(error)
            results.append(result)
        return results

    def _call(self, call: ToolCall) -> tuple[Result, Any] | None:
        """A result without its output, and what the function returned."""
        function = self._functions.get(call.name)
        if function is None:
            return None
        result: Result = {"call_id": call.call_id, "name": call.name, "output": None, "error": None}
        try:
            return result, function(**call.arguments)
        except Exception as error:  # noqa: BLE001  a tool may raise anything; the result says what
            result["error"] = _described(error)
            return result, None


def report(results: Iterable[Result]) -> str:
    """The results as text, a paragraph each."""
    return "".join(
        f"\n[{result['name']}] "
        + (f"failed: {result['error']}" if result["error"] else f"result: {result['output']}")
        + "\n"
        for result in results
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
