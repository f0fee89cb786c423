"""An agent of Semantic Kernel. usage: BASE_URL"""

import asyncio
import json
import sys
from typing import Any

import openai
from opentelemetry import trace
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

from otel_llm import traced_tool

TASKS: list[str] = []


class Tasks:
    @kernel_function
    @traced_tool
    def add_task(self, title: str) -> str:
        """Put a task on the list."""
        TASKS.append(title)
        return "added"

    @kernel_function
    def list_tasks(self) -> str:
        """Read the list of tasks."""
        # Both tools run at a time, so what it reads is none of the other's business.
        return json.dumps(["write code"])


async def main(base_url: str) -> None:
    client = openai.AsyncOpenAI(api_key="unused", base_url=base_url, max_retries=0)
    agent = ChatCompletionAgent(
        name="keeper",
        service=OpenAIChatCompletion(ai_model_id="tiny", async_client=client),
        plugins=[Tasks()],
    )

    async def on_message(message: Any) -> None:
        print(json.dumps([type(item).__name__ for item in message.items]))

    answer = ""
    async for response in agent.invoke_stream(
        messages="Note that I have to buy milk.", on_intermediate_message=on_message
    ):
        print(json.dumps({"content": str(response.content)}))
        answer += str(response.content)
    print(json.dumps({"answer": answer, "tasks": TASKS}))
    await client.close()


with trace.get_tracer("app").start_as_current_span("app"):
    asyncio.run(main(*sys.argv[1:]))
