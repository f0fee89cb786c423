"""The methods of Mistral's SDK that make requests, and where these go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.protocol.fields import text_of
from otel_llm.telemetry.provider import Server, server_at
from otel_llm.wrappers.method import Method
from otel_llm.wrappers.other_instrumentations import warn_of_own_spans
from otel_llm.wrappers.sdk_internals import configured_url, traces_itself


def _server(resource: Any, arguments: Mapping[str, Any]) -> Server:
    if traces_itself(resource):
        warn_of_own_spans("mistralai")
    module = type(resource).__module__
    # The packages of Azure's and Google's clients: `mistralai_azure` before 2.0, `mistralai.azure` since.
    provider = "mistral_ai"
    if module.startswith(("mistralai_azure", "mistralai.azure")):
        provider = "azure.ai.inference"
    elif module.startswith(("mistralai_gcp", "mistralai.gcp")):
        provider = "gcp.vertex_ai"
    return server_at(text_of(arguments.get("server_url")) or configured_url(resource), provider)


# `parse()` and its variants call these.
MISTRAL_METHODS = (
    Method("complete", streams=False, server=_server),
    Method("complete_async", streams=False, server=_server),
    Method("stream", streams=True, server=_server),
    Method("stream_async", streams=True, server=_server),
)
