"""The programs that must be installed, and the messages if one is missing."""

from __future__ import annotations

import shutil
from typing import Final

_HOW_TO_INSTALL: Final = {
    "go": "Go 1.25 or newer builds the collector and Jaeger: install it from https://go.dev/dl/ or a package manager.",
    "prometheus": "Prometheus stores the metrics: install it (on Debian: apt-get install prometheus).",
    "promtool": "promtool checks the rules: it comes with Prometheus (on Debian: apt-get install prometheus).",
    "java": "Java 17 runs Kafka and Cassandra: install a JDK (on Debian: apt-get install openjdk-17-jdk-headless).",
    "mvn": "Maven downloads Kafka and Cassandra: install it (on Debian: apt-get install maven).",
    "node": "Node.js 20 or newer runs clients of the proxy: install it (on Debian: apt-get install nodejs).",
    "npm": "npm installs clients of the proxy: install it (on Debian: apt-get install npm).",
}


class MissingToolError(Exception):
    """A program is not on the PATH; the text says what to install."""


def find(name: str) -> str:
    """Return the path of the program ``name``.

    Raises MissingToolError if it is not on the PATH.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingToolError(f"{name} is not on the PATH. {_HOW_TO_INSTALL[name]}")
    return path
