"""Clients of Bedrock's Converse API for tests."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from otel_llm.demo.scripted_server import ScriptedServer

ADD_TASK = {
    "toolSpec": {
        "name": "add_task",
        "description": "Add a task",
        "inputSchema": {"json": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}},
    }
}
MESSAGES = [{"role": "user", "content": [{"text": "Please add the task."}]}]
MODEL_ID = "amazon.nova-pro-v1:0"
REQUEST: dict[str, Any] = {"modelId": MODEL_ID, "messages": MESSAGES, "toolConfig": {"tools": [ADD_TASK]}}
# One session for all clients: to load the descriptions of the services takes a while.
_session = boto3.Session(aws_access_key_id="unused", aws_secret_access_key="unused", region_name="us-east-1")


def knows(shape: str) -> bool:
    """Whether this version of the SDK has something of the API, by the name of its shape."""
    return shape in client_of("http://127.0.0.1").meta.service_model.shape_names


def client_of(server: ScriptedServer | str, service: str = "bedrock-runtime", *, attempts: int = 1) -> Any:
    """A client of a server. `attempts`: how often it makes a request that fails."""
    url = server if isinstance(server, str) else server.base_url.removesuffix("/v1")
    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=10)
    return _session.client(service, endpoint_url=url, config=config)
