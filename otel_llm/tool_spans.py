"""Spans for the execution of an application's own tools, if no framework creates them: `execute_tool {name}`.

They follow the GenAI semantic conventions for tool execution, through opentelemetry-util-genai.
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
from otel_llm.config import Config, read_config
from otel_llm.protocol.choice import Limits
from otel_llm.protocol.unicode_text import exportable
from otel_llm.telemetry.plain_values import plain_value
from otel_llm.telemetry.redaction import Redaction
from otel_llm.telemetry.semconv import GEN_AI_TOOL_CALL_ID, OPERATION_EXECUTE_TOOL, SCOPE
from otel_llm.telemetry.span_errors import error_of
from otel_llm.transparency.faults import attempt

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext
    from typing_extensions import ParamSpec, Self

    from otel_llm.telemetry.handler import Telemetry

    _Params = ParamSpec("_Params")
_Result = TypeVar("_Result")

telemetries: list[Telemetry] = []
"""Those of the active instrumentors."""
client_telemetries: WeakKeyDictionary[Telemetry, Any] = WeakKeyDictionary()
"""Those of intercepted clients that are still alive, newest last, with the tracer provider that each was given."""
_global: TelemetryHandler | None = None
_global_config: Config | None = None
"""The options of tools whose spans go to the global providers: those of the environment."""
# Characters of the arguments and of the result, as many as are kept of a response's text.
_LONGEST_CONTENT = Limits().text


class tool_execution:  # noqa: N801  it reads as a function
    """The span of one execution of a tool: the body of the `with` block, synchronous or asynchronous.

    `call_id` is the id of the tool call that is executed; the span then has a link to the span of the request that made
    the call. `arguments`, and what is assigned to `result`, are recorded only if message content is captured (see the
    README). An exception of the body is the span's error, and passes through. The block may be entered again while it
    runs, as in a recursion.

    If the current span is a framework's `execute_tool` of the same tool, that one gets the link, and there is no other.

    >>> with tool_execution("add_task", call_id=call.id, arguments=call.function.arguments) as execution:
    ...     execution.result = add_task(**json.loads(call.function.arguments))
    """

    def __init__(self, name: str, *, call_id: str | None = None, arguments: Any = None) -> None:
        self._name = name
        self._call_id = call_id
        self._arguments = arguments
        # One for each time that the block was entered and not left yet.
        self._invocations: list[ToolInvocation | None] = []
        self.result: Any = None
        """The tool's result, for telemetry only."""

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
        """Stop being the current span, except in blocks of `_active`."""
        if self._invocations[-1] is not None:
            attempt("a tool's span", self._invocations[-1].suspend)

    def _active(self) -> AbstractContextManager[None]:
        """A block in which the span is current."""
        invocation = self._invocations[-1]
        return nullcontext() if invocation is None else invocation.activate()

    def _start(self) -> ToolInvocation | None:
        if not is_instrumentation_enabled():
            return None
        call_id = None if self._call_id is None else attempt("a tool's call", str, self._call_id)
        around = attempt("a tool's span", _framework_span, str(self._name))
        if around is not None:
            if call_id is not None:
                attempt("a tool's call", _link, around, call_id)
            return None
        invocation = _handler(call_id).tool(exportable(str(self._name)), tool_type="function")
        if call_id is not None:
            attempt("a tool's call", _tell_call, invocation, call_id)
        return invocation

    def _end(self, invocation: ToolInvocation, error: BaseException | None) -> None:
        redaction = _redaction_of(invocation)
        if attempt("a tool's arguments", _captures_content):
            attempt("a tool's arguments", self._describe, invocation, redaction)
        # Closing a generator early is no error.
        failure = None if error is None or isinstance(error, GeneratorExit) else error_of(error, redaction)
        if redaction is not None:
            redaction.count_on(invocation)
        if failure is None:
            invocation.stop()
        else:
            invocation.fail(failure)

    def _describe(self, invocation: ToolInvocation, redaction: Redaction | None) -> None:
        if self._arguments is not None:
            invocation.arguments = _content(self._arguments, redaction)
        if self.result is not None:
            invocation.tool_result = _content(self.result, redaction)


def _telemetry(call_id: str | None = None) -> Telemetry | None:
    """Where a tool's span goes: to the providers of an instrumentor, else of the client that made the call, else of all
    intercepted clients if they share a tracer provider. None: to the global providers.
    """
    if telemetries:
        return telemetries[-1]
    clients = _clients()
    if call_id is not None:
        trace_id = trace.get_current_span().get_span_context().trace_id
        callers = [client for client in clients if client.recent_calls.span_of(call_id, trace_id) is not None]
        clients = callers or clients
    if clients and len({id(client_telemetries.get(client)) for client in clients}) == 1:
        return clients[-1]
    return None


def _config(call_id: str | None = None) -> Config:
    telemetry = _telemetry(call_id)
    if telemetry is not None:
        return telemetry.config
    global _global_config  # noqa: PLW0603
    if _global_config is None:
        _global_config = read_config()
    return _global_config


def _redaction_of(invocation: ToolInvocation) -> Redaction | None:
    redact = _config(invocation.tool_call_id).redact
    return None if redact is None else Redaction(redact)


def _handler(call_id: str | None = None) -> TelemetryHandler:
    telemetry = _telemetry(call_id)
    if telemetry is not None:
        return telemetry.handler
    global _global  # noqa: PLW0603
    if _global is None:
        _global = TelemetryHandler(instrumentation_scope_name=SCOPE, instrumentation_scope_version=__version__)
    return _global


def _clients() -> list[Telemetry]:
    # `keyrefs` copies: another thread may intercept a client meanwhile.
    return [client for reference in client_telemetries.keyrefs() if (client := reference()) is not None]


def _framework_span(name: str) -> Span | None:
    """The current span, if a framework made it for this execution of the tool. It then has no span of ours as well."""
    span = trace.get_current_span()
    scope = getattr(span, "instrumentation_scope", None)
    if scope is None or scope.name == SCOPE:
        return None
    # Some frameworks set the attributes when the tool has run. The name is there from the beginning.
    operation, _, tool = str(getattr(span, "name", "")).partition(" ")
    # Semantic Kernel names the plugin before the tool.
    is_same = operation == OPERATION_EXECUTE_TOOL and (tool == name or tool.endswith(f"-{name}"))
    return span if is_same else None


def _tell_call(invocation: ToolInvocation, call_id: str) -> None:
    invocation.tool_call_id = exportable(call_id)
    _link(invocation.span, call_id)


def _link(span: Span, call_id: str) -> None:
    """Link a tool's span to the request that made the call."""
    trace_id = span.get_span_context().trace_id
    requests = _spans_of(call_id, trace_id, telemetries) or _spans_of(call_id, trace_id, _clients())
    if len(requests) > 1:
        # Several servers use the same id; only the trace can tell which call is meant.
        requests = [request for request in requests if request.trace_id == trace_id]
    for request in requests:
        span.add_link(request, {GEN_AI_TOOL_CALL_ID: exportable(call_id)})


def _spans_of(call_id: str, trace_id: int, among: Iterable[Telemetry]) -> list[SpanContext]:
    """The spans of the requests that made this call."""
    found = [telemetry.recent_calls.span_of(call_id, trace_id) for telemetry in among]
    return [span for span in found if span is not None]


def _captures_content() -> bool:
    return _handler().should_capture_content()


def _content(value: Any, redaction: Redaction | None) -> str | None:
    """A value as a span's attribute, cut: opentelemetry-util-genai would write all of it, however long."""
    if not isinstance(value, str):
        value = plain_value(value)
        if value is not None and not isinstance(value, str):
            value = gen_ai_json_dumps(value)
    if value is None:
        return None
    if redaction is not None:
        value = redaction.text(value)
    return exportable(value[:_LONGEST_CONTENT])


# -- the decorator --

_Start = Callable[[tuple[Any, ...], Mapping[str, Any]], tool_execution]
"""Prepares the span of one call of a function from the call's positional and keyword arguments."""


@overload
def traced_tool(function: Callable[_Params, _Result], /, *, name: str | None = None) -> Callable[_Params, _Result]: ...
@overload
def traced_tool(
    function: None = None, /, *, name: str | None = None
) -> Callable[[Callable[_Params, _Result]], Callable[_Params, _Result]]: ...
def traced_tool(function: Any = None, /, *, name: str | None = None) -> Any:
    """Decorate a tool's function, synchronous or asynchronous: each call of it is a span `execute_tool {name}`.

    `name` defaults to the function's. The function keeps its signature, which frameworks read. The span of a generator
    lasts until the generator is exhausted or closed; it is current while the generator runs, not while its caller does.

    >>> @traced_tool
    ... def add_task(title: str) -> str:
    ...     return "added"
    """
    if function is None:
        return partial(traced_tool, name=name)
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(traced_tool(function.__func__, name=name))
    tool = str(name or _name_of(function))

    def start(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tool_execution:
        captures = attempt("a tool's arguments", _captures_content)
        arguments = attempt("a tool's arguments", _bound, function, args, kwargs) if captures else None
        return tool_execution(tool, arguments=arguments)

    if inspect.isgeneratorfunction(function):
        return _traced_generator(function, start)
    if inspect.isasyncgenfunction(function):
        return _traced_async_generator(function, start)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return _traced_coroutine(function, start)
    return _traced_function(function, start)


def _traced_function(function: Callable[..., Any], start: _Start) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            execution = stack.enter_context(start(args, kwargs))
            result = function(*args, **kwargs)
            if inspect.iscoroutine(result):
                execution._suspend()
                return _finish(result, execution, stack.pop_all())
            execution.result = result
        return result

    return call


async def _finish(coroutine: Coroutine[Any, Any, Any], execution: tool_execution, stack: ExitStack) -> Any:
    """Await the coroutine that a plain function returned. `stack` holds the span, which ends with it."""
    with stack, execution._active():
        execution.result = result = await coroutine
    return result


def _traced_coroutine(function: Callable[..., Any], start: _Start) -> Callable[..., Any]:
    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with start(args, kwargs) as execution:
            execution.result = result = await function(*args, **kwargs)
        return result

    return call


def _traced_generator(function: Callable[..., Any], start: _Start) -> Callable[..., Any]:
    @wraps(function)
    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with start(args, kwargs) as execution:
            execution._suspend()
            execution.result = result = yield from _Steps(function(*args, **kwargs), execution)
        return result

    return generate


class _Steps(Generator[Any, Any, Any]):
    """A generator whose span is current in each of its steps."""

    def __init__(self, generator: Generator[Any, Any, Any], execution: tool_execution) -> None:
        self._generator = generator
        self._execution = execution

    def send(self, value: Any) -> Any:
        with self._execution._active():
            return self._generator.send(value)

    def throw(self, *error: Any) -> Any:
        with self._execution._active():
            return self._generator.throw(*error)


def _traced_async_generator(function: Callable[..., Any], start: _Start) -> Callable[..., Any]:
    @wraps(function)
    async def generate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with start(args, kwargs) as execution:
            execution._suspend()
            generator = function(*args, **kwargs)
            step, value = generator.asend, None
            try:
                while True:
                    with execution._active():
                        chunk = await step(value)
                    step, value = generator.asend, None
                    try:
                        value = yield chunk
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001  the generator's to handle
                        step, value = generator.athrow, error
            except StopAsyncIteration:
                return
            finally:
                with execution._active():
                    await generator.aclose()

    return generate


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Arguments by name; None if they do not fit, in which case the call itself raises TypeError."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    return {name: value for name, value in bound.arguments.items() if name not in {"self", "cls"}}
