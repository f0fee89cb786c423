"""The calls of AWS clients that are requests to Bedrock's Converse API.

botocore makes the class of a client when the client is created, so all calls of all services are seen in one method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_llm.telemetry.provider import Server, server_at
from otel_llm.transparency.proxies import object_of
from otel_llm.wrappers.method import Method
from otel_llm.wrappers.sdk_internals import AWS_CALL, aws_service_of

SERVICE: Final = "bedrock-runtime"
_STREAMS: Final[Mapping[str, bool]] = {"Converse": False, "ConverseStream": True}


def converse_arguments(
    wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Mapping[str, Any] | None:
    """The arguments of `converse` and `converse_stream`, with `stream`; None for a call of anything else."""
    operation = args[0] if args else kwargs.get("operation_name")
    streams = _STREAMS.get(operation) if type(operation) is str else None
    if streams is None or aws_service_of(object_of(wrapped)) != SERVICE:
        return None
    params = args[1] if len(args) > 1 else kwargs.get("api_params")
    return {**params, "stream": streams} if isinstance(params, Mapping) else None


def _server_of(client: Any, _arguments: Mapping[str, Any]) -> Server:
    return server_at(client.meta.endpoint_url, "aws.bedrock")


CONVERSE: Final = (Method(AWS_CALL, arguments=converse_arguments, stream_key="stream", server=_server_of),)
