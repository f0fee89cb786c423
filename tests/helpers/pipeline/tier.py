"""Agent, gateway and Jaeger, connected as in docs/pipeline.md, on free ports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stack import programs
from stack.program import Program
from stack.programs import CollectorPorts, JaegerPorts
from tests.helpers.pipeline.backends import Jaeger

TOKEN = "a-token-of-the-tests"


@dataclass
class Tier:
    """Three running programs and the ports they listen on."""

    agent: Program
    gateway: Program
    jaeger: Program
    agent_ports: CollectorPorts
    gateway_ports: CollectorPorts
    traces: Jaeger


@contextlib.contextmanager
def running_tier(folder: Path, **gateway_variables: str) -> Iterator[Tier]:
    """Start the three; the gateway with ``gateway_variables`` in its environment."""
    tier = new_tier(folder, None, **gateway_variables)
    with tier.jaeger, tier.gateway, tier.agent:
        yield tier


def new_tier(folder: Path, agent: Mapping[str, str] | None = None, **gateway_variables: str) -> Tier:
    """The three programs, not yet started; ``agent`` holds environment variables for the agent."""
    agent_ports, gateway_ports, jaeger_ports = CollectorPorts.free(), CollectorPorts.free(), JaegerPorts.free()
    return Tier(
        agent=programs.collector(
            "agent.yaml",
            agent_ports,
            folder / "agent",
            {
                "GATEWAY_TOKEN": TOKEN,
                "GATEWAY_ENDPOINT": f"http://127.0.0.1:{gateway_ports.http}",
                **(agent or {}),
            },
        ),
        gateway=programs.collector(
            "gateway.yaml",
            gateway_ports,
            folder / "gateway",
            {
                "GATEWAY_TOKEN": TOKEN,
                "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{jaeger_ports.otlp}",
                **gateway_variables,
            },
        ),
        jaeger=programs.jaeger(jaeger_ports, folder / "jaeger"),
        agent_ports=agent_ports,
        gateway_ports=gateway_ports,
        traces=Jaeger(jaeger_ports.query),
    )
