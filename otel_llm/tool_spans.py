"""Spans for the execution of a user's own tools, where no framework makes them: `execute_tool {name}`.

They are what the GenAI semantic conventions call tool execution, and go through opentelemetry-util-genai.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import ToolInvocation
from opentelemetry.util.genai.utils import gen_ai_json_dumps

from otel_llm._version import __version__
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.plain_values import plain_value
from otel_llm.telemetry.semconv import GEN_AI_TOOL_CALL_ID, SCOPE
from otel_llm.telemetry.span_errors import error_of
from otel_llm.transparency.faults import attempt

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext
    from typing_extensions import ParamSpec, Self

    from otel_llm.telemetry.handler import Telemetry

    _Params = ParamSpec("_Params")
_Result = TypeVar("_Result")

# Those of the instrumentations there are. Their providers are the ones that the application wants.
telemetries: list[Telemetry] = []
# Those of single clients that are alive, the last one last, with the provider that each was given.
of_clients: WeakKeyDictionary[Telemetry, Any] = WeakKeyDictionary()
_global: TelemetryHandler | None = None
# Of the arguments and of the result, in characters: as much as is kept of the text of a response.
_LONGEST_CONTENT = Limits().text


def _handler(call_id: str | None = None) -> TelemetryHandler:
    """Where spans of tools go: to an instrumentation's providers, else to a client's where one can tell whose."""
    if telemetries:
        return telemetries[-1].handler
    clients = _clients()
    if call_id is not None:
        trace_id = trace.get_current_span().get_span_context().trace_id
        makers = [client for client in clients if client.recent_calls.span_of(call_id, trace_id) is not None]
        clients = makers or clients
    if clients and len({id(of_clients.get(client)) for client in clients}) == 1:
        return clients[-1].handler
    global _global  # noqa: PLW0603
    if _global is None:
        _global = TelemetryHandler(instrumentation_scope_name=SCOPE, instrumentation_scope_version=__version__)
    return _global


def _clients() -> list[Telemetry]:
    # At once: another thread may intercept a client meanwhile.
    return [client for reference in of_clients.keyrefs() if (client := reference()) is not None]


def _spans_of(call_id: str, trace_id: int, among: Iterable[Telemetry]) -> list[SpanContext]:
    """The spans of the requests that made this call."""
    found = [telemetry.recent_calls.span_of(call_id, trace_id) for telemetry in among]
    return [span for span in found if span is not None]


def _captures() -> bool:
    return _handler().should_capture_content()


def _content(value: Any) -> str | None:
    """A value as its attribute has it. opentelemetry-util-genai would write it whole, however long."""
    if not isinstance(value, str):
        value = plain_value(value)
        if value is not None and not isinstance(value, str):
            value = gen_ai_json_dumps(value)
    return None if value is None else exportable(value[:_LONGEST_CONTENT])


class tool_execution:  # noqa: N801  it reads as a function
    """The span of one execution of a tool: the body of the `with` block, synchronous or asynchronous.

    `call_id`: the id of the call that is carried out; the span is then linked to the one of the request that made it.
    `arguments`, and what is set as `result`, are recorded only where message content is (see the README). What the
    body raises passes through and is the span's error. It may be entered again while it is running, as in a recursion.

    >>> with tool_execution("add_task", call_id=call.id, arguments=call.function.arguments) as execution:
    ...     execution.result = add_task(**json.loads(call.function.arguments))
    """

    def __init__(self, name: str, *, call_id: str | None = None, arguments: Any = None) -> None:
        self._name = name
        self._call_id = call_id
        self._arguments = arguments
        # One for each time that it was entered and not left.
        self._invocations: list[ToolInvocation | None] = []
        self.result: Any = None
        """What the tool gave, for telemetry alone."""

    def __enter__(self) -> Self:
        self._invocations.append(attempt("the start of a tool's span", self._start))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        invocation = self._invocations.pop() if self._invocations else None
        if invocation is not None:
            attempt("the end of a tool's span", self._end, invocation, error)

    def _suspend(self) -> None:
        """No longer the current span, until `_active`."""
        if self._invocations[-1] is not None:
            attempt("a tool's span", self._invocations[-1].suspend)

    def _active(self) -> AbstractContextManager[None]:
        """The span is current in this block."""
        invocation = self._invocations[-1]
        return nullcontext() if invocation is None else invocation.activate()

    def _start(self) -> ToolInvocation | None:
        if not is_instrumentation_enabled():
            return None
        call_id = None if self._call_id is None else attempt("a tool's call", str, self._call_id)
        invocation = _handler(call_id).tool(exportable(str(self._name)), tool_type="function")
        if call_id is not None:
            attempt("a tool's call", self._link, invocation, call_id)
        return invocation

    def _link(self, invocation: ToolInvocation, call_id: str) -> None:
        invocation.tool_call_id = exportable(call_id)
        trace_id = invocation.span.get_span_context().trace_id
        known = _spans_of(call_id, trace_id, telemetries) or _spans_of(call_id, trace_id, _clients())
        if len(known) > 1:
            # Several servers use the same id; which one is meant only the trace can tell.
            known = [made_by for made_by in known if made_by.trace_id == trace_id]
        for made_by in known:
            invocation.span.add_link(made_by, {GEN_AI_TOOL_CALL_ID: exportable(call_id)})

    def _end(self, invocation: ToolInvocation, error: BaseException | None) -> None:
        if attempt("a tool's arguments", _captures):
            attempt("a tool's arguments", self._describe, invocation)
        if error is None or isinstance(error, GeneratorExit):
            # Whoever takes no more of a generator is content.
            invocation.stop()
        else:
            invocation.fail(error_of(error))

    def _describe(self, invocation: ToolInvocation) -> None:
        for field, value in (("arguments", self._arguments), ("tool_result", self.result)):
            if value is not None:
                setattr(invocation, field, _content(value))


@overload
def traced_tool(function: Callable[_Params, _Result], /, *, name: str | None = None) -> Callable[_Params, _Result]: ...
@overload
def traced_tool(
    function: None = None, /, *, name: str | None = None
) -> Callable[[Callable[_Params, _Result]], Callable[_Params, _Result]]: ...
def traced_tool(function: Any = None, /, *, name: str | None = None) -> Any:
    """Decorate a tool's function, synchronous or asynchronous: each of its calls is a span `execute_tool {name}`.

    `name` is that of the function unless given. The function keeps its signature, which frameworks read. The span of a
    generator lasts until it is exhausted or closed, and is current while it runs, not while its reader does.

    >>> @traced_tool
    ... def add_task(title: str) -> str:
    ...     return "added"
    """
    if function is None:
        return partial(traced_tool, name=name)
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(traced_tool(function.__func__, name=name))
    tool = str(name or _name_of(function))

    def execution(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tool_execution:
        captures = attempt("a tool's arguments", _captures)
        return tool_execution(tool, arguments=_bound(function, args, kwargs) if captures else None)

    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with execution(args, kwargs) as running:
                running._suspend()
                running.result = result = yield from _Steps(function(*args, **kwargs), running)
            return result

        return generate

    if inspect.isasyncgenfunction(function):

        @wraps(function)
        async def generate_async(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with execution(args, kwargs) as running:
                running._suspend()
                generator = function(*args, **kwargs)
                step, value = generator.asend, None
                try:
                    while True:
                        with running._active():
                            chunk = await step(value)
                        step, value = generator.asend, None
                        try:
                            value = yield chunk
                        except GeneratorExit:
                            raise
                        except BaseException as error:  # noqa: BLE001  the generator's to judge
                            step, value = generator.athrow, error
                except StopAsyncIteration:
                    return
                finally:
                    with running._active():
                        await generator.aclose()

        return generate_async

    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

        @wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with execution(args, kwargs) as running:
                running.result = result = await function(*args, **kwargs)
            return result

        return call_async

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            running = stack.enter_context(execution(args, kwargs))
            result = function(*args, **kwargs)
            if inspect.iscoroutine(result):
                running._suspend()
                return _awaited(result, running, stack.pop_all())
            running.result = result
        return result

    return call


async def _awaited(coroutine: Coroutine[Any, Any, Any], running: tool_execution, stack: ExitStack) -> Any:
    """What a coroutine gives that a plain function made. `stack` holds the span, which ends with it."""
    with stack, running._active():
        running.result = result = await coroutine
    return result


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


class _Steps(Generator[Any, Any, Any]):
    """A generator whose span is current in each of its steps."""

    def __init__(self, generator: Generator[Any, Any, Any], running: tool_execution) -> None:
        self._generator = generator
        self._running = running

    def send(self, value: Any) -> Any:
        with self._running._active():
            return self._generator.send(value)

    def throw(self, *error: Any) -> Any:
        with self._running._active():
            return self._generator.throw(*error)


def _bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Arguments by name; None where they do not fit, which the function itself will say."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    return {name: value for name, value in bound.arguments.items() if name not in {"self", "cls"}}
