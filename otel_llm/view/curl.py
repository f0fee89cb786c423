"""A request as a command for a POSIX shell.  Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from otel_llm.telemetry import semconv
from otel_llm.view.spans import number_of


def server_of(attributes: Mapping[str, Any], path: str = "") -> str | None:
    """The URL of the server that got the request, quoted, None if it is not known. `path` is added to it."""
    host, port = attributes.get(semconv.SERVER_ADDRESS), number_of(attributes, semconv.SERVER_PORT)
    if not host:
        return None
    # The port is left out of the attributes where it is the one of the scheme.
    is_secure = port in {None, 443}
    return shlex.quote(f"https://{host}{path}" if is_secure else f"http://{host}:{port}{path}")


def curl_command(url: str, headers: list[str], body: Mapping[str, Any]) -> str:
    """`url` and `headers`, which are options of curl, are quoted."""
    content = shlex.quote(json.dumps(body, ensure_ascii=False, indent=1))
    return " \\\n  ".join((f"curl -N {url}", *headers, f"-d {content}"))
