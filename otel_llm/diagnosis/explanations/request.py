"""How a response can contradict its request."""

from __future__ import annotations

from otel_llm.diagnosis.explanations.model import OTHER, WHOLE, Explanation, Sample, Seen, calls, chunk, ends, one_call

_GROUP = "Conflicts with the request"


REQUEST: tuple[Explanation, ...] = (
    Explanation(
        "unknown_tool",
        _GROUP,
        "The call names a tool that the request does not declare, in its `tools` or in an item of its input. Not reported if"
        " the request has tools that the server runs itself.",
        (
            Seen("mastra-ai/mastra#9688", "Groq rejects calls to tools that are not in the request"),
            Seen("BerriAI/litellm#11001", "tools that the conversation mentions but the request no longer declares"),
        ),
        "The model invented the tool or remembers it from an earlier turn, or a parser cut or extended the name. Answer the"
        " call with the list of available tools.",
        one_call("{}", "delete_all_tasks"),
    ),
    Explanation(
        "tool_choice_violated",
        _GROUP,
        "`tool_choice` is `none`, but the response has a call; or it is `required` or a named tool, and the response has no"
        " call or a call to another tool. `required` raises no anomaly if the choice ended with `length` before any call, or"
        " if the server ran a tool of its own.",
        (
            Seen("vllm-project/vllm#53363", "`required` not enforced with the gemma4 parser"),
            Seen("vllm-project/vllm#24509", "`required` fails when streaming"),
            Seen("JustVugg/colibri#118", "`tool_choice` ignored"),
        ),
        "The server ignores `tool_choice`, or cannot enforce it with this parser or while streaming: check whether guided"
        " decoding has to be turned on.",
        one_call("{}", "list_tasks", tool_choice="none"),
    ),
    Explanation(
        "parallel_violated",
        _GROUP,
        "`parallel_tool_calls` is false, but the choice has several calls.",
        (Seen("sgl-project/sglang#9696", "not enforced"),),
        "Execute the first call and remove the others from the conversation, or answer all of them.",
        Sample((WHOLE, calls(OTHER), ends()), {"parallel_tool_calls": False}),
    ),
    Explanation(
        "text_leak",
        _GROUP,
        "The text contains a complete call to a declared tool, in one of the syntaxes that models use: with markup, or as a"
        " JSON object, a list in Python syntax or a `tool_code` fence on lines of its own. Forms that no model is trained"
        " on count too, which `tool_call_tags` does not rewrite: DeepSeek's tags with other bars or without the outer one,"
        " a bare `<invoke>`, `<function name=…>` around JSON, `<tool_use>` with JSON or elements in it, a `tool_call` fence,"
        " `[Called function …]`, Gemma 4's `call:name{…}`, Kimi's `functions.name:0{…}` and gpt-oss's `to=functions.name{…}`"
        ' without their tokens, `{"action": …, "action_input": …}` unless the request asks for it, and a whole text that'
        " is a call as the API has it. Not reported: calls in reasoning, in backticks or in any other code fence, indented"
        " examples with words before and after them, calls that `tool_call_tags` rewrote, and objects where the request's"
        " `response_format` asks for JSON.",
        (
            Seen("vllm-project/vllm#21571", "Qwen3-Coder with the hermes parser"),
            Seen("vllm-project/vllm#25560", "gpt-oss"),
            Seen("ggml-org/llama.cpp#14697", "calls as JSON in the content"),
            Seen("sgl-project/sglang#17593", "DeepSeek V3.2"),
            Seen("sgl-project/sglang#40236", "DeepSeek V4: calls without the tag around them"),
            Seen("lsdefine/GenericAgent#804", "DeepSeek: tags with other bars"),
            Seen("unslothai/unsloth#8437", "Gemma 4: calls without their special tokens"),
        ),
        "Start the server with the tool-call parser and the chat template for this model. Or let otel-llm rewrite the calls:"
        " `OTEL_LLM_TOOL_CALL_TAGS=openai`, see [tool-call-tags.md](tool-call-tags.md).",
        Sample(
            (
                chunk({"content": "Sure.\n<tool_call>\n"}),
                chunk({"content": '{"name": "add_task", "arguments": {"title": "buy milk"}}'}),
                chunk({"content": "\n</tool_call>"}),
                ends("stop"),
            )
        ),
    ),
)
