"""One streamed completion with the plain OpenAI SDK, however it ends. It has no telemetry of its own.

usage: python -m otel_llm.demo.broken_stream BASE_URL
"""

from __future__ import annotations

import sys
from typing import Any

import openai

from otel_llm.demo.tools import TOOLS


def main(base_url: str) -> int:
    """Read the stream to its end, or until it breaks, and print what the application sees of it."""
    question: Any = [{"role": "user", "content": "Note that I have to buy milk."}]
    chunks = 0
    ending = "a normal end of the stream"
    with openai.OpenAI(base_url=base_url, api_key="unused", timeout=30, max_retries=0) as client:
        try:
            stream = client.chat.completions.create(model="scripted-model", messages=question, tools=TOOLS, stream=True)
            for _ in stream:
                chunks += 1
        except Exception as error:  # noqa: BLE001 - it is what the application sees
            ending = f"{type(error).__name__}: {error}"
    print(f"the application saw {chunks} chunks and {ending}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
