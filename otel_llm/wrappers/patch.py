"""Wraps the methods of SDKs that make requests, when their module is imported, and restores them.

An SDK loads the classes that make requests only when an application first asks for them, and many processes never do.
So nothing is imported here: a hook wraps a class whenever its module is imported, before the importer sees it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import wrapt

from otel_llm.protocol.fetched_response import fetch_arguments
from otel_llm.protocol.request import Api
from otel_llm.telemetry.provider import Server, server_at, server_of
from otel_llm.transparency.faults import attempt
from otel_llm.transparency.forks import renew_lock_in_children
from otel_llm.transparency.proxies import FunctionWrapper
from otel_llm.wrappers.embeddings import EmbeddingsWrapper
from otel_llm.wrappers.method import Method, MethodWrapper, method_wrapper_of, without_inactive
from otel_llm.wrappers.sdk_internals import GENERATE, GENERATE_STREAM, client_of, socket_url

if TYPE_CHECKING:
    from otel_llm.telemetry.handler import Telemetry


def _socket_server(resource: Any, _requested: Mapping[str, Any]) -> Server:
    client = client_of(resource)
    server, url = server_of(client), socket_url(client)
    return server if url is None else server_at(str(url), server.provider)


# In OpenAI's SDK, `stream()` and the raw-response variants call `create`; `parse()` does not.
METHODS = (Method("create"), Method("parse"))
CREATE = (Method("create"),)
RESPONSE_METHODS = (
    *METHODS,
    Method("retrieve", arguments=fetch_arguments, fetches=True),
    Method("cancel", streams=False, arguments=fetch_arguments, fetches=True),
    Method("compact", streams=False),
    Method("connect", server=_socket_server, opens_socket=True),
)
GENERATING_METHODS = (Method(GENERATE, streams=False), Method(GENERATE_STREAM, streams=True, is_lazy=True))
MANAGED_METHODS = (*METHODS, Method("stream", streams=True, is_manager=True))


class Place(NamedTuple):
    """Where an SDK makes requests: classes of one module, as they are named in `vars(module)`, and their API.

    Without classes, the methods are functions of the module.
    """

    module: str
    classes: tuple[str, ...]
    api: Api = "chat"
    methods: tuple[Method, ...] = METHODS


def wrapper_for(telemetry: Telemetry, api: Api, method: Method) -> MethodWrapper:
    """The wrapper around a method of an API."""
    return (EmbeddingsWrapper if api == "embeddings" else MethodWrapper)(telemetry, api, method)


class RequestMethods:
    """The methods at some places, wrapped from `wrap` to `unwrap`. Both may be called repeatedly.

    `make_wrapper` creates the wrapper for one method of one API. `on_wrapped` is called with each class after it was
    wrapped, with no lock held.
    """

    def __init__(
        self,
        places: Sequence[Place],
        make_wrapper: Callable[[Telemetry, Api, Method], MethodWrapper] = wrapper_for,
        on_wrapped: Callable[[type], object] | None = None,
    ) -> None:
        self._places = places
        self._make_wrapper = make_wrapper
        self._on_wrapped = on_wrapped
        # Kept, since a method that was wrapped may stay in use, as in an SDK's cached raw responses.
        self._wrappers: dict[tuple[Api, Method], MethodWrapper] = {}
        self._is_on = False
        self._wrapped: list[tuple[type | ModuleType, str, Any, FunctionWrapper]] = []
        # Modules with a hook. A hook cannot be removed; it stays until its module is imported, on or off.
        self._awaited: set[str] = set()
        # Held while classes are wrapped and unwrapped, never during an import, which calls the hooks.
        self._lock = threading.Lock()
        renew_lock_in_children(self)

    def wrap(self, telemetry: Telemetry) -> None:
        """Observe all requests made at the places, with `telemetry`."""
        for api, method in ((place.api, method) for place in self._places for method in place.methods):
            if (api, method) not in self._wrappers:
                self._wrappers[api, method] = self._make_wrapper(telemetry, api, method)
        for wrapper in self._wrappers.values():
            wrapper.switch_on(telemetry)
        with self._lock:
            self._is_on = True
            places = [place for place in self._places if place.module not in self._awaited]
            self._awaited.update(place.module for place in places)
        for place in places:
            # wrapt calls the hook at once if the module is imported already.
            wrapt.register_post_import_hook(partial(self._imported, place), place.module)

    def unwrap(self) -> None:
        """Stop observing, and restore the methods."""
        for wrapper in self._wrappers.values():
            wrapper.switch_off()
        with self._lock:
            self._is_on = False
            for owner, name, original, wrapped in self._wrapped:
                # If another library wrapped ours, removing ours would remove theirs; a wrapper that is off passes
                # calls through.
                if owner.__dict__.get(name) is wrapped:
                    setattr(owner, name, without_inactive(original))
            self._wrapped.clear()

    def _imported(self, place: Place, _module: ModuleType) -> None:
        # An exception would reach the application's import statement.
        attempt("an import", self._wrap_and_report, place)

    def _wrap_and_report(self, place: Place) -> None:
        with self._lock:
            self._awaited.discard(place.module)
        # Another thread may be importing the module and will not call a hook added this late: wait for it.
        module = import_module(place.module)
        owners = self._wrap_classes(module, place)
        if self._on_wrapped is not None:
            for owner in owners:
                self._on_wrapped(owner)

    def _wrap_classes(self, module: ModuleType, place: Place) -> list[type]:
        """Wrap the classes of a module; returns those that were not wrapped before."""
        with self._lock:
            if not self._is_on:
                return []
            # `vars`, since asking a package that loads its names lazily would load them.
            owners = [vars(module).get(name) for name in place.classes] if place.classes else [module]
            names = {method.name for method in place.methods}
            new = [owner for owner in owners if owner is not None and not self._is_wrapped(owner, names)]
            for owner in new:
                for method in place.methods:
                    if method.name in vars(owner):
                        self._wrap_method(owner, method, self._wrappers[place.api, method])
        return [owner for owner in new if isinstance(owner, type)]

    def _is_wrapped(self, owner: type | ModuleType, names: Collection[str]) -> bool:
        return any(entry[0] is owner and entry[1] in names for entry in self._wrapped)

    def _wrap_method(self, owner: type | ModuleType, method: Method, wrapper: MethodWrapper) -> None:
        original = without_inactive(vars(owner)[method.name])
        if method_wrapper_of(original) is wrapper:
            # A module that has the function from another one, where it is wrapped.
            self._wrapped.append((owner, method.name, original.__wrapped__, original))
            return
        wrapped = FunctionWrapper(original, wrapper.wrapper_for(original))
        setattr(owner, method.name, wrapped)
        self._wrapped.append((owner, method.name, original, wrapped))
