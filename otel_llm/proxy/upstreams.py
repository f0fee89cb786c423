"""The servers that requests go to: which one takes a request, and the target that it gets there.  Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from otel_llm.exchanges.server_url import check_url
from otel_llm.telemetry.provider import provider_at

# The field in which a provider wants its key, and what stands before the key.
_KEY_FIELDS: Mapping[str, tuple[bytes, bytes]] = {
    "anthropic": (b"x-api-key", b""),
    "azure.ai.openai": (b"api-key", b""),
    "gcp.gemini": (b"x-goog-api-key", b""),
}
_BEARER = (b"authorization", b"Bearer ")
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})


@dataclass(frozen=True)
class Upstream:
    """A server. Raises ValueError if `url` is not that of one, or has a query. A user in it is sent as Basic.

    `prefix`: the first segment of the paths that come here; empty for the server that takes all others. `own_path`:
    what an SDK puts before its paths, if the path of the URL takes its place. `models`: patterns of names of models
    whose requests come here. `key`: is sent instead of the client's credentials, empty for none. `tags`: what calls in
    text are rewritten to, None for the option that all servers share.
    """

    name: str
    url: str
    prefix: str = ""
    own_path: str = ""
    models: Sequence[str] = ()
    key: str = field(default="", repr=False)
    key_field: str = ""
    tags: Any = None

    def __post_init__(self) -> None:
        check_url(self.url)
        parts = urlsplit(self.url)
        if parts.query or parts.fragment:
            raise ValueError(f"the URL of {self.name} has a query or a fragment")
        if not self.url.isascii():
            raise ValueError(f"the URL of {self.name} is not ASCII")
        if any(not one.isprintable() or one in " \\" for one in self.url):
            raise ValueError(f"the URL of {self.name} has a character that no URL has")
        if any(not one.isprintable() or ord(one) > 255 for one in self.key):
            raise ValueError(f"the key of {self.name} has a character that no header can have")

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.is_tls else 80)

    @property
    def authority(self) -> bytes:
        """What its `Host` field says."""
        return urlsplit(self.url).netloc.rpartition("@")[2].encode("ascii")

    @property
    def base_path(self) -> bytes:
        return urlsplit(self.url).path.rstrip("/").encode("ascii")

    @property
    def credentials(self) -> tuple[bytes, bytes] | None:
        """The field that is sent instead of the client's credentials, and its value; None if the client's are sent."""
        if not self.key:
            user, at, _ = urlsplit(self.url).netloc.rpartition("@")
            return (b"authorization", b"Basic " + b64encode(unquote_to_bytes(user))) if at else None
        if self.key_field:
            name, lead = self.key_field.encode("ascii"), b"Bearer " if self.key_field == "authorization" else b""
        else:
            name, lead = _KEY_FIELDS.get(provider_at(self.url) or "", _BEARER)
        return name, lead + self.key.encode("latin-1")

    def path_for(self, path: bytes) -> bytes | None:
        """The path of a request there, None if its path does not lead here.

        The path of the URL comes first, unless the request's path has it already.
        """
        if self.prefix:
            lead = b"/" + self.prefix.encode("ascii")
            if path != lead and not path.startswith(lead + b"/"):
                return None
            path = path[len(lead) :] or b"/"
        base = self.base_path
        own = self.own_path.encode("ascii")
        if base and own and path.startswith(own + b"/"):
            return base + path[len(own) :]
        return path if not base or path == base or path.startswith(base + b"/") else base + path

    def serves(self, model: str) -> bool:
        """Whether requests for this model come here by its name."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True)
class Upstreams:
    """All servers. The one without a prefix takes what no prefix and no model leads elsewhere."""

    servers: Sequence[Upstream]

    @property
    def by_model(self) -> bool:
        """Whether the model of a request may choose its server."""
        return any(server.models for server in self.servers)

    def of_path(self, path: bytes) -> tuple[Upstream, bytes] | None:
        """The server that a path names, with the path there; None if none does."""
        for server in self.servers:
            if server.prefix and (there := server.path_for(path)) is not None:
                return server, there
        return None

    def of_model(self, path: bytes, model: str | None) -> tuple[Upstream, bytes] | None:
        """The server for a path that names none: by the request's model, or else the one without a prefix."""
        chosen = None if model is None else next((one for one in self.servers if one.serves(model)), None)
        chosen = chosen or next((one for one in self.servers if not one.prefix and not one.models), None)
        if chosen is None:
            return None
        there = Upstream(chosen.name, chosen.url).path_for(path) if chosen.prefix else chosen.path_for(path)
        return None if there is None else (chosen, there)
