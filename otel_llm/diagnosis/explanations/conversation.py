"""What can be wrong with a response in its conversation, and with what a request sends to its provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_llm.diagnosis.explanations.model import Explanation, Sample, Seen, calls, chunk, delta, ends

_GROUP = "The conversation"
_ANSWER = (chunk({"content": "Done."}), ends("stop"))


def _turn(call_id: str, arguments: str = '{"title": "milk"}') -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    call = {"id": call_id, "type": "function", "function": {"name": "add_task", "arguments": arguments}}
    return (
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": "no such list"},
    )


def _call(call_id: str, arguments: str) -> tuple[Mapping[str, Any], ...]:
    return (calls(delta(0, call_id, "add_task", arguments)), ends())


CONVERSATION: tuple[Explanation, ...] = (
    Explanation(
        "repeated_call",
        _GROUP,
        "A loop: the calls of this response were made in each of the last turns too, with the same arguments, and the results"
        " were the same each time: in `loop_turns` turns in a row (3 by default), counting this one. Or the turns alternate"
        " between two such calls, for as many rounds. Arguments and results are compared by meaning. Where a result differs"
        " (polling, paging), where the response makes another call besides, or where the user has spoken since, it is no"
        " loop. The last 64 messages are read; with `previous_response_id`, what was observed of the responses before. The"
        " attribute `otel_llm.conversation.repeated_calls` has the number of turns, from 2 on.",
        (
            Seen("earendil-works/pi#6158", "the same directory listed six times in a row"),
            Seen("earendil-works/pi#9637", "220 calls in 25 minutes, each with the whole context"),
            Seen("ai-forever/langchain-gigachat#69", "an empty list written in each turn"),
            Seen("PrimeIntellect-ai/prime-agent#1326", "one command 52 times, through llama.cpp"),
        ),
        "Nothing new will come of it: end the loop, or tell the model what is wrong with the result (an error without a reason"
        " and an empty list are the usual ones). Check that the results reach the model at all: a chat template without tool"
        " messages, or ids that do not match, hide them.",
        Sample(
            _call("call_3", '{"title":"milk"}'),
            {"messages": [{"role": "user", "content": "Add milk"}, *_turn("call_1"), *_turn("call_2")]},
        ),
    ),
    Explanation(
        "id_reused",
        _GROUP,
        "A call of this response has the id of an earlier call of the conversation. The last 64 messages are read, and with"
        " `previous_response_id` what was observed of the responses before.",
        (
            Seen("NousResearch/hermes-agent#111443", "ids such as `terminal:0`, which the Responses API then rejects"),
            Seen("NVIDIA-NeMo/Switchyard#502", "`call_0` in each turn, which Anthropic's API rejects"),
            Seen("continuedev/continue#12627", "hundreds of results for one id"),
            Seen("QwenLM/qwen-code#5107", "providers that give an id again in a later turn"),
        ),
        "Clients that find results by the id take the old one, and stricter providers reject the conversation: give the call a"
        " new id, in its message and in its result.",
        Sample(
            _call("call_0", '{"title": "bread"}'),
            {"messages": [{"role": "user", "content": "Add milk and bread"}, *_turn("call_0")]},
        ),
    ),
    Explanation(
        "unacceptable_id",
        _GROUP,
        "The request sends the id of a call in a shape that its provider is documented to refuse: Mistral takes nine letters"
        " or digits, Anthropic only `a-zA-Z0-9_-`, and Bedrock's Converse API at most 64 of these, dots and colons. Only where the provider is known by its address or by the client's class.",
        (
            Seen("langchain-ai/langchain#24668", "ids of other providers sent to Mistral"),
            Seen("jackmpcollins/magentic#276", "ids that the client made"),
            Seen("openclaw/openclaw#23740", "ids with a time stamp"),
            Seen("HKUDS/nanobot#1293", "ids as LiteLLM makes them"),
            Seen("maximhq/bifrost#5097", "Kimi's `functions.Bash:0` sent to Anthropic"),
        ),
        "The provider answers 400. Map the ids when a conversation moves from one provider to another, in the calls and in"
        " their results alike.",
        Sample(
            _ANSWER,
            {"messages": [{"role": "user", "content": "Add milk"}, *_turn("call_Vk3bRb1bV5")]},
            provider="mistral_ai",
        ),
    ),
    Explanation(
        "unacceptable_name",
        _GROUP,
        "The request declares a tool whose name its provider is documented to refuse. OpenAI, Azure, Mistral and Bedrock take 1 to 64"
        " of `a-zA-Z0-9_-`, Anthropic 1 to 128; Gemini takes dots and colons as well, and a letter or an underscore at the beginning. Only where"
        " the provider is known by its address or by the client's class.",
        (
            Seen("github/copilot-sdk#743", "dots, which MCP allows"),
            Seen("modelcontextprotocol/csharp-sdk#679", "spaces and dots"),
            Seen("xorbitsai/xagent#1340", "dots in the names of an MCP server"),
            Seen("mogenius/mogenius-operator#840", "dots and spaces"),
            Seen("home-assistant/core#147760", "dots in the names of an MCP server, refused by Anthropic"),
        ),
        "The provider answers 400. Replace the characters when you declare the tool, and map the name back when it is called.",
        Sample(
            _ANSWER,
            {"tools": [{"type": "function", "function": {"name": "tasks.add", "parameters": {"type": "object"}}}]},
            provider="openai",
        ),
    ),
)
