"""Download Kafka and Cassandra, with their dependencies, from Maven into folders of jars, once."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from stack import cache, tools

if TYPE_CHECKING:
    from pathlib import Path

_PROJECT: Final = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>otel-llm</groupId>
  <artifactId>stack</artifactId>
  <version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_DEPENDENCY: Final = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_TIMEOUT: Final = 600.0  # seconds


def jars(name: str, *artifacts: tuple[str, str, str]) -> Path:
    """Return a folder with the jars of ``artifacts`` (group, artifact, version) and of all their dependencies.

    Raises MissingToolError without Java or Maven, BuildError if they cannot be downloaded.
    """
    tools.find("java")
    project = _PROJECT.format(dependencies="".join(_DEPENDENCY.format(*artifact) for artifact in artifacts))

    def fetch(folder: Path) -> None:
        (folder / "pom.xml").write_text(project)
        ended = subprocess.run(  # noqa: S603 - our own command
            [tools.find("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if ended.returncode != 0:
            raise cache.BuildError(f"Maven could not download {name}:\n{ended.stdout[-2000:]}")

    return cache.built(name, project, fetch) / "lib"
