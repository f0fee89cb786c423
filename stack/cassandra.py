"""Cassandra, one node on this machine: Jaeger's store in the distributed tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stack import java, tools
from stack.ports import free_ports
from stack.program import Program, accepts

if TYPE_CHECKING:
    from pathlib import Path

_ARTIFACT: Final = ("org.apache.cassandra", "cassandra-all", "5.0.4")
_CONFIGURATION: Final = """\
cluster_name: otel-llm
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: {port}
storage_port: {storage_port}
start_native_transport: true
commitlog_sync: periodic
commitlog_sync_period: 10000ms
endpoint_snitch: SimpleSnitch
data_file_directories: [{folder}/data]
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/saved_caches
hints_directory: {folder}/hints
cdc_raw_directory: {folder}/cdc
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "127.0.0.1:{storage_port}"}}]
auto_bootstrap: false
"""
# The Java modules that Cassandra's own start script exports and opens.
_EXPORTED: Final = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
)
_OPENED: Final = (
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.nio",
)


def downloaded() -> Path:
    """Return the folder of Cassandra's jars, which the first call downloads.

    Raises MissingToolError without Java or Maven, BuildError if they cannot be downloaded.
    """
    return java.jars("cassandra", _ARTIFACT)


class Cassandra(Program):
    """One node with its data in ``folder``. ``port`` is the port for CQL.

    Raises MissingToolError and BuildError if it cannot be downloaded.
    """

    def __init__(self, folder: Path) -> None:
        jars = downloaded()
        self.port, storage_port, jmx_port = free_ports(3)
        folder.mkdir(parents=True, exist_ok=True)
        configuration = folder / "cassandra.yaml"
        configuration.write_text(_CONFIGURATION.format(port=self.port, storage_port=storage_port, folder=folder))
        super().__init__(
            "cassandra",
            [
                tools.find("java"),
                *(f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTED),
                *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENED),
                "-Xmx1g",
                f"-Dcassandra.config={configuration.as_uri()}",
                f"-Dcassandra.storagedir={folder}",
                f"-Dcassandra.jmx.local.port={jmx_port}",
                "-Dcassandra-foreground=yes",
                *("-cp", f"{jars}/*"),
                "org.apache.cassandra.service.CassandraDaemon",
            ],
            folder=folder,
            is_ready=accepts(self.port),
            timeout=120.0,
        )

    @property
    def for_jaeger(self) -> dict[str, str]:
        """The variables that collector-config/jaeger-cassandra.yaml needs."""
        return {
            "CASSANDRA_PORT": str(self.port),
            "CASSANDRA_USERNAME": "unused",
            "CASSANDRA_PASSWORD": "unused",
            "CASSANDRA_WITHOUT_TLS": "true",
        }
