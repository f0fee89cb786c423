"""A model's answer, as it grows, by instructor: the call of a tool. usage: BASE_URL"""

import json
import sys
from typing import Any

import instructor
import openai
from pydantic import BaseModel


class add_task(BaseModel):  # noqa: N801  the tool's name
    """Put a task on the list."""

    title: str


client = instructor.from_openai(
    openai.OpenAI(api_key="unused", base_url=sys.argv[1], max_retries=0), mode=instructor.Mode.TOOLS
)
partial: Any = None
for partial in client.chat.completions.create_partial(
    model="tiny", response_model=add_task, messages=[{"role": "user", "content": "Note that I have to buy milk."}]
):
    print(json.dumps({"title": partial.title}))
print(json.dumps({"tasks": [partial.title]}))
