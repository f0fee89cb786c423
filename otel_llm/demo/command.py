"""The command that runs a program with instrumentation."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def opentelemetry_instrument() -> list[str]:
    """`opentelemetry-instrument` of this interpreter's environment, whatever is on the PATH."""
    script = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    if script:
        return [script]
    return [sys.executable, "-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()"]
