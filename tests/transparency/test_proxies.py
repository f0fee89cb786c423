"""What this package knows of wrapt's private parts."""

from __future__ import annotations

from typing import Any

import wrapt

from otel_llm.transparency.proxies import wrapper_of


def test_the_wrapper_of_a_function() -> None:
    def wrapper(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    class Owner:
        def method(self) -> None: ...

    wrapped = wrapt.FunctionWrapper(Owner.method, wrapper)
    assert wrapper_of(wrapped) is wrapper, (
        "wrapt's function wrappers have no `_self_wrapper`: uninstrumenting leaves wrappers behind, and other"
        " instrumentations of the same calls are not reported"
    )
    Owner.method = wrapped  # type: ignore[method-assign]
    assert wrapper_of(Owner().method) is wrapper, "a bound method does not have the wrapper of its function"
    assert wrapper_of(test_the_wrapper_of_a_function) is None
