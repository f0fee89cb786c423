"""Secrets: which values of a request or of an environment are secret, and text without them.  Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from otel_llm.exchanges.covered_stream import CoveredStream, pattern_of
from otel_llm.exchanges.secret_names import (
    SHORTEST,
    is_known_key,
    is_loopback,
    is_placeholder,
    is_plain,
    is_secret_name,
    is_secret_parameter,
    looks_generated,
    names_an_organisation,
    secret_path,
    tells_about,
)
from otel_llm.protocol.errors import UnreadableError
from otel_llm.protocol.json_values import parse_json

# The only headers that are written down. The value of any other may be a secret.
_HARMLESS = frozenset(
    {
        "accept",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "openai-processing-ms",
        "openai-version",
        "retry-after",
        "server",
        "transfer-encoding",
        "user-agent",
        "x-request-id",
    }
)
# The word before a key is not secret.
_SCHEMES = frozenset({"apikey", "basic", "bearer", "digest", "dpop", "key", "negotiate", "token"})
_STRUCTURED_HEADER = re.compile(r"auth|cookie", re.IGNORECASE)
# Of Digest and of signed requests.
_HARMLESS_PARAMETERS = frozenset(
    {"algorithm", "charset", "domain", "expires", "host", "max-age", "nc", "opaque", "path", "qop", "realm"}
    | {"samesite", "signedheaders", "stale", "uri", "user", "username", "version"}
)
# Fields of a request's body with what the model reads, where a name says nothing.
_WHAT_THE_MODEL_READS = frozenset(
    {
        "contents",
        "description",
        "input",
        "instructions",
        "messages",
        "prediction",
        "prompt",
        "prompt_cache_key",
        "response_format",
        "system",
        "systemInstruction",
    }
)
_SCHEMAS = frozenset({"$defs", "definitions", "input_schema", "json_schema", "output_schema", "properties", "schema"})
_MOST_VALUES = 100_000
# In the doctor's sentences.
_SHORTEST_IN_ENVIRONMENT = 4
_SHORTEST_LINE = 16

_HEADERS_VARIABLE = re.compile(r"OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS")
# Without the scheme, whose beginning would be looked for at every letter of a long text.
_URL = re.compile(r"//[^\s\"'<>\\]+")
# URLs may be parameters of others, so deep.
_DEEPEST_URL = 3
_SETTING = re.compile(r"([\w .-]{2,40})=([^;&\s\"']+)")
_USER_OF_URL = re.compile(r"://[^/\s\"']+@")
_QUERY_OF_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{1,15}://[^\s?\"']*)\?[^\s\"']+", re.IGNORECASE)
_MASK = "****"


def harmless_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that may be written down, with names in lower case."""
    return {name.lower(): value for name, value in headers if name.lower() in _HARMLESS}


# -- finding --


def secrets_in_request(
    headers: Iterable[tuple[str, str]], query: str, body: Any = None, upstream: str = ""
) -> list[bytes]:
    """The secrets in a request's headers, query and body (a JSON value), in each spelling, longest first.

    `upstream`: the server's URL, which may hold a user and a password. Towards this machine, a key that looks like
    words is none.
    """
    found: set[str] = set()
    is_local = is_loopback(upstream)
    for name, value in headers:
        if name.lower() in _HARMLESS:
            continue
        if is_secret_name(name) or _is_key(value):
            keys = _in_header(name, value)
            found.update(key for key in keys if not (is_local and is_plain(key)) or "cookie" in name.lower())
        elif names_an_organisation(name):
            found.add(value.strip())
        found.update(_in_json(value))
    found.update(_in_query(query))
    found.update(_in_url(upstream))
    found.update(_in_body(body))
    return _spelled(one for one in found if not is_placeholder(one))


def secrets_in_response(headers: Iterable[tuple[str, str]]) -> list[bytes]:
    """The secrets in a response's headers: cookies, tokens, and who pays."""
    found: set[str] = set()
    for name, value in headers:
        if name.lower() not in _HARMLESS and is_secret_name(name):
            found.update(_in_header(name, value))
        elif names_an_organisation(name):
            found.add(value.strip())
    return _spelled(one for one in found if not is_placeholder(one))


def secrets_in_environment(environ: Mapping[str, str]) -> list[bytes]:
    """The secrets in the variables that configure exporters: headers and passwords, in each spelling, longest first."""
    found: set[str] = set()
    for name, value in environ.items():
        if _HEADERS_VARIABLE.fullmatch(name):
            found.update((value.partition("=")[2], unquote(value.partition("=")[2])))
            for entry in value.split(","):
                # Without a `=` the name cannot be told from the secret.
                written = entry.partition("=")[2] if "=" in entry else entry
                for text in (written.strip(), unquote(written).strip()):
                    found.update(_in_header("authorization", text))
        elif name.upper().endswith("_PROXY") or name.startswith("OTEL_EXPORTER_OTLP_"):
            found.update(_in_url(value, path=True))
    return _spelled(
        one
        for one in found
        if len(one) >= _SHORTEST_IN_ENVIRONMENT and not (len(one) >= SHORTEST and is_placeholder(one))
    )


def _is_key(value: str) -> bool:
    """Whether a header's value is a key, whatever the name."""
    first, *rest = value.split() or [""]
    return is_known_key(first) or (first.lower() in _SCHEMES and len(rest) == 1)


def _in_json(text: str) -> Iterator[str]:
    """The secrets in a text that is a JSON document, such as the configuration that a gateway takes in a header."""
    if text.lstrip().startswith(("{", "[")):
        try:
            yield from _in_body(parse_json(text))
        except UnreadableError:
            return


def _in_header(name: str, value: str) -> Iterator[str]:
    """A header's value, and the keys in it: a key may itself contain a character that separates."""
    value = value.strip()
    first, *rest = value.split() or [""]
    yield value
    yield value.strip("\"'")
    if first.lower() in _SCHEMES and len(rest) == 1:
        yield rest[0]
        yield from _user_and_password(rest[0])
    if not (_STRUCTURED_HEADER.search(name) or first.lower() in _SCHEMES):
        return
    if rest and "=" not in first:
        # A scheme, which a server may name without telling a secret.
        value = value[len(first) :]
    for word in (*value.split(), *re.split(r"[\s,;]+", value)):
        parameter, equals, inner = word.partition("=")
        # A `=` at the end belongs to a key in base64.
        if word.lower() in _SCHEMES:
            continue
        if not equals or not inner.strip("="):
            yield word.strip("\"',;")
            yield word.rstrip("=")
        elif parameter.lower() not in _HARMLESS_PARAMETERS:
            yield word
            for one in (inner, inner.strip("\"',;"), *inner.split("/")[:1]):
                yield one
                yield from _user_and_password(one)


def _user_and_password(word: str) -> Iterator[str]:
    """What base64 hides: `user:password`, and the password."""
    try:
        written = base64.b64decode(word, validate=True).decode()
    except (binascii.Error, ValueError):
        return
    user, colon, password = written.partition(":")
    if colon and user.isprintable() and password.isprintable():
        yield from (written, password)


def _in_query(query: str) -> Iterator[str]:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if is_secret_parameter(unquote_plus(name)) or looks_generated(unquote_plus(value)):
            yield from (value, unquote_plus(value))


def _in_url(url: str, *, path: bool = False, depth: int = 0) -> Iterator[str]:
    """The secrets in a URL. `path`: also in its path. `depth`: so many URLs have this one as their parameter."""
    try:
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))
        plain = f"{unquote(user)}:{unquote(password)}"
        yield from (f"{user}:{password}", plain, base64.b64encode(plain.encode()).decode())
    elif user:
        yield from (user, unquote(user), base64.b64encode(f"{unquote(user)}:".encode()).decode())
    for text in (parts.query, parts.fragment):
        for part in re.split("[&;]", text):
            name, _, value = part.partition("=")
            plain = unquote_plus(value)
            if is_secret_parameter(unquote_plus(name)):
                yield from (value, plain)
            elif "//" in plain and depth < _DEEPEST_URL:
                yield from _in_url(plain, depth=depth + 1)
    for parameter in parts.path.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if is_secret_parameter(name):
            yield value.partition("/")[0]
    if known := secret_path(parts.netloc.rpartition("@")[2] + parts.path):
        yield from (known, *(segment for segment in known.split("/") if looks_generated(segment)))
    for segment in parts.path.split("/") if path else ():
        if looks_generated(segment):
            yield segment


_Area = Literal["fields", "function", "text"]


def _in_body(body: Any) -> Iterator[str]:
    """The secrets in a request's body: some servers take keys there, and URLs may hold one anywhere."""
    pending: list[tuple[Any, bool, _Area]] = [(body, False, "fields")]
    count = 0
    while pending and count < _MOST_VALUES:
        value, is_secret, area = pending.pop()
        count += 1
        if isinstance(value, Mapping):
            pending.extend(_fields(value, is_secret, area))
        elif isinstance(value, list):
            pending.extend((inner, is_secret, area) for inner in value)
        elif isinstance(value, str):
            for url in _URL.finditer(value):
                yield from _in_url(f"x:{url.group()}", path=area != "text")
            if is_secret:
                yield from _in_field(value)
            if area == "text":
                continue
            yield from _settings(value)
            if value.lstrip().startswith(("{", "[")):
                try:
                    pending.append((parse_json(value), False, "fields"))
                except UnreadableError:
                    continue


def _fields(value: Mapping[str, Any], is_secret: bool, area: _Area) -> Iterator[tuple[Any, bool, _Area]]:
    labels = [value.get(name) for name in ("name", "key", "header")] if "value" in value else []
    is_labelled = any(isinstance(label, str) and is_secret_name(label) for label in labels)
    is_function = area == "function" or value.get("type") == "function"
    for name, inner in value.items():
        if (
            area == "text"
            or name in _WHAT_THE_MODEL_READS
            or name in _SCHEMAS
            or (is_function and name == "parameters")
        ):
            yield inner, False, "text"
        elif name == "value" and labels:
            yield inner, is_secret or is_labelled, area
        elif name in {"function", "functions"}:
            yield inner, False, "function"
        else:
            named = is_secret_name(name) and not (name == "key" and labels)
            yield inner, named or (is_secret and not tells_about(name)), area


def _in_field(text: str) -> Iterator[str]:
    yield text
    yield text.strip()
    first, *rest = text.split() or [""]
    if first.lower() in _SCHEMES and rest:
        yield rest[-1]
    yield from _user_and_password(rest[-1] if rest else first)
    lines = text.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("---"))


def _settings(text: str) -> Iterator[str]:
    """The secrets in `Server=a;Password=b`."""
    for setting in _SETTING.finditer(text) if ";" in text or "&" in text else ():
        if is_secret_name(setting.group(1)):
            yield setting.group(2)


def _spelled(secrets: Iterable[str]) -> list[bytes]:
    """Each secret as it is, and as JSON and a URL spell it, longest first."""
    spelled = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
    return sorted((spelling.encode("utf-8", "replace") for spelling in spelled), key=len, reverse=True)


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield escaped
        # JSON allows this escape, and some gateways write it.
        yield escaped.replace("/", "\\/")
        # Others write what HTML could misread as escapes, in lower case (Go) or upper case (.NET).
        for upper in (False, True):
            yield re.sub("[&<>'+=]", lambda found: f"\\u{ord(found[0]):04{'X' if upper else 'x'}}", escaped)  # noqa: B023
    for quoted in (quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


# -- covering --


class Redactor:
    """Covers secrets in a body that arrives in pieces, each byte by an asterisk, so that no offset changes.

    What a secret may begin in is held back: the end of a piece, and events whose texts the next events may go on with.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        secrets = set(secrets)
        self._pattern = pattern_of(secrets)
        self._stream = CoveredStream(secrets)

    def feed(self, data: bytes) -> bytes:
        """What can be written of the body so far."""
        return self._stream.feed(data)

    def finish(self) -> bytes:
        """What was held back."""
        return self._stream.finish()

    def hide(self, text: str) -> str:
        """A whole text, without the secrets."""
        if self._pattern is None:
            return text
        data = text.encode("utf-8", "surrogatepass")
        return self._pattern.sub(_asterisks, data).decode("utf-8", "surrogatepass")

    def hidden(self, value: Any) -> Any:
        """A JSON value, without the secrets in its texts and names."""
        try:
            return self._hidden(value)
        except RecursionError:
            return self.hide(json.dumps(value))

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self._hidden(inner) for inner in value]
        if isinstance(value, dict):
            return {self.hide(name): self._hidden(inner) for name, inner in value.items()}
        return value


def _asterisks(match: re.Match[bytes]) -> bytes:
    return b"*" * len(match.group())


def masked(text: str, secrets: Iterable[bytes]) -> str:
    """A text for a person to read: without the secrets, users and passwords of URLs, and queries of URLs."""
    pattern = pattern_of(secrets)
    if pattern is not None:
        text = pattern.sub(_MASK.encode(), text.encode("utf-8", "replace")).decode("utf-8", "replace")
    return _QUERY_OF_URL.sub(rf"\1?{_MASK}", _USER_OF_URL.sub(f"://{_MASK}@", text))
