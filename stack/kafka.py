"""A Kafka cluster of three brokers on this machine. Each is also a controller, and all three keep each record."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from stack import java, tools
from stack.ports import free_ports
from stack.program import Program, ProgramError, accepts

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

BROKERS: Final = 3

_ARTIFACTS: Final = (("org.apache.kafka", "kafka_2.13", "3.9.1"), ("org.apache.kafka", "kafka-tools", "3.9.1"))
_CLUSTER_ID: Final = "b3RlbC1sbG0tc3RhY2stMQ"
_PROPERTIES: Final = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
group.initial.rebalance.delay.ms=0
"""
_COMMAND_TIMEOUT: Final = 60.0  # seconds


def downloaded() -> Path:
    """Return the folder of Kafka's jars, which the first call downloads.

    Raises MissingToolError without Java or Maven, BuildError if they cannot be downloaded.
    """
    return java.jars("kafka", *_ARTIFACTS)


class KafkaCluster:
    """Three brokers with their data in ``folder``. As a context manager, it starts and stops them.

    Raises MissingToolError and BuildError if Kafka cannot be downloaded, ProgramError if it does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._jars = downloaded()
        self._folder = folder
        ports = free_ports(2 * BROKERS)
        self._ports, self._controller_ports = ports[:BROKERS], ports[BROKERS:]
        self.brokers = [self._broker(number) for number in range(BROKERS)]

    @property
    def addresses(self) -> list[str]:
        """``host:port`` of each broker."""
        return [f"127.0.0.1:{port}" for port in self._ports]

    def __enter__(self) -> Self:
        for number in range(BROKERS):
            self._format(number)
        try:
            # Start all before waiting for one: none is ready without a quorum.
            for broker in self.brokers:
                broker.begin()
            for broker in self.brokers:
                broker.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all brokers. Killed: their data is not needed any more, and an orderly end waits for a quorum."""
        for broker in self.brokers:
            broker.kill()

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic that every broker replicates. Raises ProgramError if that fails."""
        self.tool(
            "org.apache.kafka.tools.TopicCommand",
            *("--create", "--topic", name, "--partitions", str(partitions), "--replication-factor", str(BROKERS)),
        )

    def tool(self, main_class: str, *arguments: str) -> str:
        """Run one of Kafka's command-line tools against the cluster and return its output.

        Raises ProgramError if it fails.
        """
        return self._java("-Xmx128m", main_class, "--bootstrap-server", ",".join(self.addresses), *arguments)

    def _format(self, number: int) -> None:
        folder = self._broker_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(self._controller_ports))
        properties = folder / "server.properties"
        properties.write_text(
            _PROPERTIES.format(
                node=number,
                voters=voters,
                port=self._ports[number],
                controller_port=self._controller_ports[number],
                data=folder / "data",
            )
        )
        self._java(
            "-Xmx128m",
            "kafka.tools.StorageTool",
            *("format", "--cluster-id", _CLUSTER_ID, "--config", str(properties), "--ignore-formatted"),
        )

    def _broker(self, number: int) -> Program:
        folder = self._broker_folder(number)
        return Program(
            f"kafka-{number}",
            [
                tools.find("java"),
                *("-Xmx512m", "-Xms256m", "-cp", f"{self._jars}/*"),
                *("kafka.Kafka", str(folder / "server.properties")),
            ],
            folder=folder,
            is_ready=accepts(self._ports[number]),
        )

    def _broker_folder(self, number: int) -> Path:
        return self._folder / f"broker-{number}"

    def _java(self, *arguments: str) -> str:
        ended = subprocess.run(  # noqa: S603 - our own command
            [tools.find("java"), "-cp", f"{self._jars}/*", *arguments],
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT,
            check=False,
        )
        if ended.returncode != 0:
            raise ProgramError(f"Kafka's tool failed:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        return ended.stdout
