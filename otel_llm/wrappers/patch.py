"""The methods of SDKs that make requests: wrapped when somebody imports them, and left as found.

An SDK loads what makes its requests when somebody first asks for it, and many processes never do. So a class is
wrapped when its module is imported, by whoever imports it and before they have it, and nothing is imported here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import wrapt

from otel_llm.protocol.request import Api
from otel_llm.transparency.faults import attempt
from otel_llm.transparency.forks import renew_lock_in_children
from otel_llm.transparency.proxies import FunctionWrapper
from otel_llm.wrappers.method import MethodWrapper, without_idle

if TYPE_CHECKING:
    from otel_llm.telemetry.handler import Telemetry

# `stream()` and the raw-response variants all come through `create`; `parse()` does not.
_METHODS = ("create", "parse")


class Place(NamedTuple):
    """Where an SDK makes requests: classes of one module, as `vars` has them, and the API that these speak."""

    module: str
    classes: tuple[str, ...]
    api: Api = "chat"


class RequestMethods:
    """The methods at some places, wrapped from `wrap` to `unwrap`, as often as one likes.

    `calls` makes what observes them, one for each API. `tell` is called with each class after it was wrapped, and with
    no lock held.
    """

    def __init__(
        self,
        places: Sequence[Place],
        calls: Callable[[Telemetry, Api], MethodWrapper] = MethodWrapper,
        tell: Callable[[type], object] | None = None,
    ) -> None:
        self._places = places
        self._make_calls = calls
        self._tell = tell
        # What was wrapped once, as the SDK's cached raw responses, stays so, and counts again the next time.
        self._calls: dict[Api, MethodWrapper] = {}
        self._is_on = False
        self._wrapped: list[tuple[type, str, Any, FunctionWrapper]] = []
        # A hook cannot be taken back; it stays until its module is imported, whether we are switched on or not.
        self._awaited: set[str] = set()
        # Held while classes are wrapped and unwrapped, never while something is imported: who imports calls us.
        self._lock = threading.Lock()
        renew_lock_in_children(self)

    def wrap(self, telemetry: Telemetry) -> None:
        """Observe all requests that are made there, by means of `telemetry`."""
        for place in self._places:
            if place.api not in self._calls:
                self._calls[place.api] = self._make_calls(telemetry, place.api)
        for calls in self._calls.values():
            calls.switch_on(telemetry)
        with self._lock:
            self._is_on = True
            places = [place for place in self._places if place.module not in self._awaited]
            self._awaited.update(place.module for place in places)
        for place in places:
            # Called at once where it is imported already.
            wrapt.register_post_import_hook(partial(self._imported, place), place.module)

    def unwrap(self) -> None:
        """Observe no more, and put back what was there."""
        for calls in self._calls.values():
            calls.switch_off()
        with self._lock:
            self._is_on = False
            for owner, name, original, wrapper in self._wrapped:
                # Where somebody wrapped ours, taking it out would take theirs out; ours only passes through now.
                if owner.__dict__.get(name) is wrapper:
                    setattr(owner, name, without_idle(original))
            self._wrapped.clear()

    def _imported(self, place: Place, _module: ModuleType) -> None:
        # Whoever imports it would get what we raise.
        attempt("an import", self._wrap_and_tell, place)

    def _wrap_and_tell(self, place: Place) -> None:
        with self._lock:
            self._awaited.discard(place.module)
        # Another thread may be at it still, and will call no hook that came this late: this waits for it.
        module = import_module(place.module)
        owners = self._wrap_classes(module, place)
        if self._tell is not None:
            for owner in owners:
                self._tell(owner)

    def _wrap_classes(self, module: ModuleType, place: Place) -> list[type]:
        """Wrap the classes of a module; gives those that were not wrapped before."""
        owners: list[type] = []
        with self._lock:
            if not self._is_on:
                return owners
            for class_name in place.classes:
                # Of a package that loads its names when they are asked for, none is.
                owner = vars(module).get(class_name)
                if not isinstance(owner, type) or any(entry[0] is owner for entry in self._wrapped):
                    continue
                owners.append(owner)
                for name in _METHODS:
                    if name in owner.__dict__:
                        original = without_idle(owner.__dict__[name])
                        wrapper = FunctionWrapper(original, self._calls[place.api].wrapper_for(original))
                        setattr(owner, name, wrapper)
                        self._wrapped.append((owner, name, original, wrapper))
        return owners
