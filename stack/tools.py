"""The programs that must be on the machine already, and what to say where one is not."""

from __future__ import annotations

import shutil
from typing import Final

_HOW_TO_INSTALL: Final = {
    "go": "Go 1.25 or newer builds the collector and Jaeger: install it from https://go.dev/dl/ or with your packages.",
    "prometheus": "Prometheus keeps the metrics: install it (on Debian: apt-get install prometheus).",
    "promtool": "promtool checks the rules: it comes with Prometheus (on Debian: apt-get install prometheus).",
    "java": "Java 17 runs Kafka and Cassandra: install a JDK (on Debian: apt-get install openjdk-17-jdk-headless).",
    "mvn": "Maven fetches Kafka and Cassandra: install it (on Debian: apt-get install maven).",
}


class MissingToolError(Exception):
    """A program is not on the PATH; the text is a sentence that says what to install."""


def find(name: str) -> str:
    """Give the path of the program ``name``.

    Raises MissingToolError where there is none.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingToolError(f"There is no {name} on the PATH. {_HOW_TO_INSTALL[name]}")
    return path
