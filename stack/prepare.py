"""Build or download the programs that the tests of the pipeline need, before they need them.

usage: python -m stack.prepare        (make programs)
"""

from __future__ import annotations

import sys

from stack import build, cassandra, kafka, tools
from stack.cache import BuildError


def main() -> int:
    """Return 0, or 1 if a program cannot be had. What is there already takes no time."""
    try:
        build.collector()
        build.jaeger()
        kafka.downloaded()
        cassandra.downloaded()
    except (tools.MissingToolError, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
