"""The programs of the stack, with their ports and their configurations from collector-config/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stack import build, tools
from stack.ports import free_ports
from stack.program import Program, answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class CollectorPorts:
    """The ports of a collector, all on 127.0.0.1."""

    grpc: int
    http: int
    prometheus: int
    own_metrics: int
    health: int

    @classmethod
    def free(cls) -> CollectorPorts:
        """Return five free ports."""
        return cls(*free_ports(5))


@dataclass(frozen=True)
class JaegerPorts:
    """The ports of Jaeger, all on 127.0.0.1."""

    otlp: int
    query: int
    query_grpc: int
    health: int

    @classmethod
    def free(cls) -> JaegerPorts:
        """Return four free ports."""
        return cls(*free_ports(4))


def collector(
    configuration: str, ports: CollectorPorts, folder: Path, environment: Mapping[str, str] | None = None
) -> Program:
    """Return a collector with ``configuration`` (a file in collector-config/), not yet started.

    ``folder`` gets its output and its queue. Raises MissingToolError and BuildError if it cannot be built.
    """
    name = configuration.removesuffix(".yaml")
    variables = {
        "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{ports.grpc}",
        "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{ports.http}",
        "PROMETHEUS_ENDPOINT": f"127.0.0.1:{ports.prometheus}",
        "OWN_METRICS_PORT": str(ports.own_metrics),
        "HEALTH_ENDPOINT": f"127.0.0.1:{ports.health}",
        "QUEUE_DIRECTORY": str(folder / "queue"),
        "LOG_FILE": str(folder / "logs" / "logs.jsonl"),
    }
    return Program(
        name,
        [str(build.collector()), "--config", str(build.CONFIGURATIONS / configuration)],
        folder=folder,
        environment={**variables, **(environment or {})},
        is_ready=answers(f"http://127.0.0.1:{ports.health}/"),
    )


def jaeger(
    ports: JaegerPorts,
    folder: Path,
    configuration: str = "jaeger.yaml",
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Return Jaeger with ``configuration`` (a file in collector-config/), not yet started.

    Raises MissingToolError and BuildError if it cannot be built.
    """
    variables = {
        "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{ports.otlp}",
        "JAEGER_QUERY_ENDPOINT": f"127.0.0.1:{ports.query}",
        "JAEGER_QUERY_GRPC_ENDPOINT": f"127.0.0.1:{ports.query_grpc}",
        "JAEGER_HEALTH_ENDPOINT": f"127.0.0.1:{ports.health}",
    }
    return Program(
        "jaeger",
        [str(build.jaeger()), "--config", str(build.CONFIGURATIONS / configuration)],
        folder=folder,
        environment={**variables, **(environment or {})},
        is_ready=answers(f"http://127.0.0.1:{ports.health}/status"),
    )


def prometheus(port: int, scraped: Mapping[str, Sequence[int]], folder: Path, *, every: str = "5s") -> Program:
    """Return Prometheus, not yet started, with the rules and the jobs of grafana/prometheus/.

    ``scraped`` maps job names to ports on 127.0.0.1; other jobs are omitted.
    Raises MissingToolError without Prometheus.
    """
    import yaml

    settings: dict[str, Any] = yaml.safe_load(PROMETHEUS_CONFIGURATION.read_text())
    settings["global"] = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    settings["rule_files"] = [str(PROMETHEUS_CONFIGURATION.parent / name) for name in settings["rule_files"]]
    settings["scrape_configs"] = [job for job in settings["scrape_configs"] if job["job_name"] in scraped]
    for job in settings["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{one}" for one in scraped[job["job_name"]]]}]
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "prometheus.yaml"
    configuration.write_text(yaml.safe_dump(settings, sort_keys=False))
    return Program(
        "prometheus",
        [
            tools.find("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            "--storage.tsdb.retention.time=7d",
        ],
        folder=folder,
        is_ready=answers(f"http://127.0.0.1:{port}/-/ready"),
    )


PROMETHEUS_CONFIGURATION = build.CONFIGURATIONS.parent / "grafana" / "prometheus" / "prometheus.yaml"
