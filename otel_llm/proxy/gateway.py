"""What all connections of one process share: the configuration in force, the servers, the counts, the threads."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from otel_llm.protocol.apis import kind_of_path
from otel_llm.proxy.access import TOKEN_FIELD, refusal
from otel_llm.proxy.answers import Answer, error_answer, plain_answer
from otel_llm.proxy.background import Background
from otel_llm.proxy.following import Following
from otel_llm.proxy.metrics import Metrics
from otel_llm.proxy.upstream_connection import Pool
from otel_llm.proxy.upstreams import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from otel_llm.protocol.request import Api
    from otel_llm.proxy.client_connection import ClientConnection
    from otel_llm.proxy.configuration import Configuration
    from otel_llm.proxy.exchange import Request
    from otel_llm.proxy.limits import Limits
    from otel_llm.proxy.observed import Observing
    from otel_llm.proxy.recording import Recorder
    from otel_llm.proxy.upstreams import Upstream

_SECONDS_TO_END = 10.0


class Gateway:
    """`observing` is None if nothing is observed; `recorder` is None if nothing is recorded."""

    def __init__(
        self, configuration: Configuration, observing: Observing | None, recorder: Recorder | None = None
    ) -> None:
        self.configuration = configuration
        self.observing = observing
        self.recorder = recorder
        self.worker = Background("otel-llm-proxy-requests")
        self.background = Background("otel-llm-proxy-spans")
        self.metrics = Metrics(None if observing is None else observing.meter_provider, self._count_upstreams)
        self.is_draining = False
        self._pools: dict[tuple[str, str], Pool] = {}
        self._clients: set[ClientConnection] = set()

    @property
    def limits(self) -> Limits:
        return self.configuration.limits

    def _count_upstreams(self) -> int:
        return sum(pool.open_count for pool in list(self._pools.values()))

    # -- for exchanges --

    def follow(self, request: Request) -> Following | Answer:
        """What follows an exchange, or the answer to a request that goes to no server."""
        path = request.path
        if request.method in {b"GET", b"HEAD"} and path in {b"/healthz", b"/readyz"}:
            if path == b"/readyz" and self.is_draining:
                return plain_answer(503, "draining")
            return plain_answer(200, "ok")
        text = path.decode("latin-1")
        kind = kind_of_path(text) if request.method == b"POST" else None
        api: Api | None = None if kind is None else kind.api
        configuration = self.configuration
        refused = refusal(
            request.fields, configuration.token, replaces_credentials=configuration.replaces_credentials, api=api
        )
        if refused is not None:
            return refused
        return Following(self, request, kind)

    def choose(self, request: Request, model: str | None) -> tuple[Upstream, bytes] | Answer:
        """The server for a request, and the path there."""
        upstreams = self.configuration.upstreams
        chosen = upstreams.of_path(request.path) or upstreams.of_model(request.path, model)
        if chosen is not None:
            return chosen
        prefixes = ", ".join(f"/{server.prefix}/" for server in upstreams.servers if server.prefix)
        return error_answer(404, f"no server has this path; there are {prefixes}", "no_such_server")

    def pool(self, upstream: Upstream) -> Pool:
        key = (upstream.name, upstream.url)
        if key not in self._pools:
            self._pools[key] = Pool(upstream, self.limits.header_bytes)
        return self._pools[key]

    def stripped_fields(self, upstream: Upstream) -> Collection[bytes]:
        """Names of fields that are for the proxy, or that it sets itself."""
        if upstream.credentials is None:
            return {TOKEN_FIELD}
        return {TOKEN_FIELD, upstream.credentials[0].lower(), *CREDENTIALS}

    # -- for clients' connections --

    def opened(self, client: ClientConnection) -> bool:
        """False if there are too many."""
        self._clients.add(client)
        self.metrics.connections = len(self._clients)
        return len(self._clients) <= self.limits.connections

    def closed(self, client: ClientConnection) -> None:
        self._clients.discard(client)
        self.metrics.connections = len(self._clients)

    # -- for the server --

    def sweep(self) -> None:
        """End what takes too long. Called about once a second."""
        now = perf_counter()
        for client in list(self._clients):
            client.sweep(now)
        for pool in self._pools.values():
            pool.sweep()

    def reload(self, configuration: Configuration) -> None:
        """New requests follow another configuration; those under way go on."""
        self.configuration = configuration
        servers = {(server.name, server.url) for server in configuration.upstreams.servers}
        for key in [key for key in self._pools if key not in servers]:
            self._pools.pop(key).retire()
        if self.observing is not None:
            self.observing.reload(configuration)

    def drain(self) -> None:
        """From now on each connection is closed with its response."""
        self.is_draining = True
        for client in list(self._clients):
            client.close_if_idle()

    @property
    def is_idle(self) -> bool:
        return not self._clients

    def close(self) -> None:
        """End what is left, and send what was observed."""
        for client in list(self._clients):
            client.reset()
        for pool in self._pools.values():
            pool.close()
        if self.recorder is not None:
            self.recorder.close()
        self.worker.close(_SECONDS_TO_END)
        self.background.close(_SECONDS_TO_END)

    def when_done(self, function: Callable[[], object]) -> None:
        """Call a function after the work that was given to the background so far."""
        self.background.post(function)
