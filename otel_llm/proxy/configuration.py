"""The configuration: from flags, from a YAML file, or both, checked as a whole before anything listens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from otel_llm.proxy.checked_yaml import ConfigurationError, Node, read_file
from otel_llm.proxy.limits import Limits
from otel_llm.proxy.upstreams import CREDENTIALS, Upstream, Upstreams
from otel_llm.serving.loopback import is_loopback
from otel_llm.tags.target import read_target

__all__ = ["Configuration", "ConfigurationError", "Given", "configured"]

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_RESERVED_NAMES = frozenset({"healthz", "readyz", ".", ".."})
DEFAULT_LISTEN = "127.0.0.1:4321"


@dataclass(frozen=True)
class Configuration:
    """All that the proxy needs to know. Values are checked, secrets are read, and neither is ever shown."""

    upstreams: Upstreams
    listen: str = DEFAULT_LISTEN
    tags: Any = None
    token: str | None = field(default=None, repr=False)
    span_headers: Sequence[str] = ()
    """Names, in lower case, of request headers that are put on spans."""
    record: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    workers: int = 1
    observes: bool = True
    limits: Limits = field(default_factory=Limits)

    @property
    def replaces_credentials(self) -> bool:
        """Whether every server gets a key of the proxy's instead of the client's."""
        return all(server.credentials is not None for server in self.upstreams.servers)


@dataclass(frozen=True)
class Given:
    """What the command line says. None, or nothing, where it says nothing."""

    upstreams: Sequence[str] = ()
    listen: str | None = None
    public: bool = False
    tags: str | None = None
    record: Path | None = None
    token_env: str | None = None
    key_envs: Sequence[str] = ()
    span_headers: Sequence[str] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    workers: int | None = None
    observes: bool | None = None


def configured(given: Given, file: Path | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    """The configuration that flags and a file make; a flag goes before the file. Raises ConfigurationError."""
    environ = os.environ if environ is None else environ
    node = None if file is None else read_file(file)
    names = {
        "listen", "public", "upstreams", "tags", "record", "token_env", "span_headers", "tls", "workers", "observe",
        "limits",
    }  # fmt: skip
    if node is not None:
        node.only(names)
    keys = _key_variables(given.key_envs)
    servers = [
        *_given_upstreams(given.upstreams, keys, environ),
        *([] if node is None or given.upstreams else _upstreams_in(node, keys, environ)),
    ]
    _check_servers(servers, keys)
    listen = given.listen or _text(node, "listen") or DEFAULT_LISTEN
    host, port = _address(listen, node)
    token_env = given.token_env or _text(node, "token_env")
    token = None if token_env is None else _secret(token_env, environ, "the token")
    public = given.public or bool(node is not None and (at := node.get("public")) is not None and at.boolean())
    if not is_loopback(host.lower()):
        if not public:
            raise ConfigurationError(f"{listen} can be reached from other machines: that needs --public")
        if token is None:
            raise ConfigurationError(f"{listen} can be reached from other machines: that needs a token (--token-env)")
    tags = _tags(given.tags, "--tags") if given.tags is not None else None
    if tags is None and node is not None and (at := node.get("tags")) is not None:
        tags = at.checked(lambda value: _tags(value, "tags"), at.text())
    tls = None if node is None else node.get("tls")
    if tls is not None:
        tls.only({"cert", "key"})
    tls_cert = given.tls_cert or _path(tls, "cert")
    tls_key = given.tls_key or _path(tls, "key")
    if (tls_cert is None) != (tls_key is None):
        raise ConfigurationError("TLS needs both a certificate and its key")
    for path in (tls_cert, tls_key):
        if path is not None and not path.is_file():
            raise ConfigurationError(f"{path}: there is no such file")
    headers = [name.lower() for name in given.span_headers]
    if not headers and node is not None and (at := node.get("span_headers")) is not None:
        headers = [one.text().lower() for one in at.items()]
    for name in headers:
        if not name or not set(name) <= _NAME_CHARACTERS or name in _SECRET_HEADERS:
            raise ConfigurationError(f"the header {name!r} is not put on spans: it may hold a secret, or is no header")
    workers = given.workers or (at.whole(1, 256) if node is not None and (at := node.get("workers")) else 1)
    observes = given.observes
    if observes is None:
        observes = at.boolean() if node is not None and (at := node.get("observe")) is not None else True
    return Configuration(
        upstreams=Upstreams(servers),
        listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        tags=tags,
        token=token,
        span_headers=headers,
        record=given.record or _path(node, "record"),
        tls_cert=tls_cert,
        tls_key=tls_key,
        workers=workers,
        observes=observes,
        limits=_limits(node),
    )


_SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-otel-llm-token", *(one.decode() for one in CREDENTIALS)}
)


def _given_upstreams(upstreams: Sequence[str], keys: Mapping[str, str], environ: Mapping[str, str]) -> list[Upstream]:
    servers = []
    for one in upstreams:
        name, equals, url = one.partition("=")
        if not equals or "/" in name:
            name, url = "", one
        servers.append(_upstream(name, url, keys.get(name), environ))
    return servers


def _upstreams_in(node: Node, keys: Mapping[str, str], environ: Mapping[str, str]) -> list[Upstream]:
    listed = node.get("upstreams")
    if listed is None:
        raise node.error("upstreams is missing: a list of servers, each with a url")
    servers = []
    for one in listed.items():
        one.only({"name", "url", "key_env", "key_header", "tags", "models"})
        url = one.get("url")
        if url is None:
            raise one.error("a server needs a url")
        name = _text(one, "name") or ""
        key_env = keys.get(name) or _text(one, "key_env")
        key_header = (_text(one, "key_header") or "").lower()
        if not set(key_header) <= _NAME_CHARACTERS:
            raise one.error("key_header is no name of a header")
        tags = one.get("tags")
        models = one.get("models")
        try:
            servers.append(
                _upstream(
                    name,
                    url.text(),
                    key_env,
                    environ,
                    key_field=key_header,
                    tags=None if tags is None else _tags(tags.text(), "tags"),
                    models=() if models is None else tuple(model.text() for model in models.items()),
                )
            )
        except ConfigurationError as error:
            if error.has_place:
                raise
            raise one.error(str(error)) from None
    return servers


def _upstream(name: str, url: str, key_env: str | None, environ: Mapping[str, str], **more: Any) -> Upstream:
    if name and (not set(name) <= _NAME_CHARACTERS or name in _RESERVED_NAMES):
        raise ConfigurationError(f"{name!r} is no name of a server: letters, digits, '.', '_' and '-' are")
    key = "" if key_env is None else _secret(key_env, environ, f"the key of {name or url}")
    try:
        return Upstream(name or "the server", url, name, key=key, **more)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _check_servers(servers: Sequence[Upstream], keys: Mapping[str, str]) -> None:
    if not servers:
        raise ConfigurationError("no server is named: --upstream URL, or upstreams in the configuration file")
    prefixes = [server.prefix for server in servers]
    for prefix in prefixes:
        if prefixes.count(prefix) > 1:
            said = f"the name {prefix!r}" if prefix else "no name"
            raise ConfigurationError(f"two servers have {said}: NAME=URL tells them apart")
    if unknown := set(keys) - set(prefixes):
        raise ConfigurationError(f"there is no server named {min(unknown)!r} for its key")


def _key_variables(key_envs: Sequence[str]) -> dict[str, str]:
    """The variable of each server's key, by the server's name; the one without a name is the server without one."""
    variables = {}
    for one in key_envs:
        name, equals, variable = one.partition("=")
        variables[name if equals else ""] = variable if equals else one
    return variables


def _secret(variable: str, environ: Mapping[str, str], what: str) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(f"the environment variable {variable} for {what} is not set")
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError(f"the environment variable {variable} has a character that no header can have")
    return value


def _tags(value: str, source: str) -> Any:
    try:
        return read_target(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{source}: {error}") from None


def _address(listen: str, node: Node | None) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        message = f"{listen!r} is not HOST:PORT"
        at = None if node is None else node.get("listen")
        raise ConfigurationError(message) if at is None else at.error(message)
    return host.strip("[]") or "127.0.0.1", int(port)


def _text(node: Node | None, name: str) -> str | None:
    at = None if node is None else node.get(name)
    return None if at is None else at.text()


def _path(node: Node | None, name: str) -> Path | None:
    text = _text(node, name)
    return None if text is None else Path(text)


def _limits(node: Node | None) -> Limits:
    at = None if node is None else node.get("limits")
    if at is None:
        return Limits()
    names = {entry.name: entry for entry in fields(Limits)}
    at.only(set(names))
    chosen: dict[str, Any] = {}
    for name in names:
        if (value := at.get(name)) is not None:
            whole = name in {"body_bytes", "header_bytes", "observed_bytes", "connections"}
            chosen[name] = value.whole(1, 2**40) if whole else value.number()
    return Limits(**chosen)
