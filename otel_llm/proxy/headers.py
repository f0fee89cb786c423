"""Header fields, as a list of names and values in bytes, with the case and order in which they came.  Pure.

What is handed on, and what concerns one connection only: RFC 9110, 7.6.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TypeAlias

Fields: TypeAlias = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)

# What says how a message is framed, routed, authorized and read is of its head: RFC 9110, 6.5.1.
_NEVER_BEHIND = frozenset(
    {
        *(b"api-key", b"authorization", b"cookie", b"set-cookie", b"www-authenticate", b"x-api-key", b"x-goog-api-key"),
        *(b"content-encoding", b"content-length", b"content-range", b"content-type", b"trailer"),
        *(b"cache-control", b"expect", b"forwarded", b"host", b"location", b"max-forwards", b"origin", b"range"),
        *(b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"vary"),
    }
)


def values_of(fields: Fields, name: bytes) -> list[bytes]:
    """The values of all fields of this name, which is in lower case."""
    return [value for key, value in fields if key.lower() == name]


def value_of(fields: Fields, name: bytes) -> bytes | None:
    """The value of the first field of this name, None if there is none."""
    for key, value in fields:
        if key.lower() == name:
            return value
    return None


def text_of_field(fields: Fields, name: bytes) -> str:
    """The same as text, empty if there is none."""
    return (value_of(fields, name) or b"").decode("latin-1")


def tokens_of(fields: Fields, name: bytes) -> Iterator[bytes]:
    """The words of a list, such as `Connection`, in lower case."""
    for value in values_of(fields, name):
        for word in value.split(b","):
            if token := word.strip().lower():
                yield token


def end_to_end(fields: Fields, without: Collection[bytes] = ()) -> Fields:
    """The fields that are handed on. `without`: names, in lower case, that are not, either."""
    dropped = {*_HOP_BY_HOP, *tokens_of(fields, b"connection"), *without}
    return [field for field in fields if field[0].lower() not in dropped]


def trailers(fields: Fields, without: Collection[bytes] = ()) -> Fields:
    """The fields behind a body that are handed on: none that belongs in a head."""
    return end_to_end(fields, {*_NEVER_BEHIND, *without})


def size_of(fields: Fields) -> int:
    """Their bytes on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def set_field(fields: Fields, name: bytes, value: bytes) -> None:
    """Give the field of this name this value, where it stands, or at the end."""
    lower = name.lower()
    for place, (key, _) in enumerate(fields):
        if key.lower() == lower:
            fields[place] = (key, value)
            fields[place + 1 :] = [one for one in fields[place + 1 :] if one[0].lower() != lower]
            return
    fields.append((name, value))


def head(first_line: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a message's head."""
    lines = [b"%b: %b" % field for field in fields]
    return b"\r\n".join([first_line, *lines, b"", b""])


def readable_encodings(accepted: bytes, readable: Collection[bytes]) -> bytes:
    """The part of an `Accept-Encoding` with only these codings, `identity` if nothing is left."""
    kept = [one.strip() for one in accepted.split(b",") if one.partition(b";")[0].strip().lower() in readable]
    return b", ".join(kept) or b"identity"
