"""What can be wrong with the text of an answer, and with its thoughts."""

from __future__ import annotations

from otel_llm.diagnosis.explanations.model import Explanation, Sample, Seen, chunk, ends

_GROUP = "The text"

_CALL = '<tool_call>\n{"name": "add_task", "arguments": {"title": "buy milk"}}\n</tool_call>'


TEXT: tuple[Explanation, ...] = (
    Explanation(
        "token_leak",
        _GROUP,
        "The text holds a control token of a chat template (`<|im_end|>`, `<end_of_turn>`), or a lone tag of a call syntax"
        " that is no whole call, or a part of one at its end; or a string in the arguments of a call ends with one. Not"
        " reported: a token in code, in quotes, in a sentence, or one that the request holds too.",
        (
            Seen("Rose22/openlumara#92", "vLLM with `qwen3_coder`: closing tags behind a parsed call"),
            Seen("vllm-project/vllm#45877", "DeepSeek V4: a closing tag at the end of an argument"),
            Seen("vllm-project/vllm-ascend#9767", "DeepSeek V4 with speculative decoding: tokens around sentences"),
            Seen("lsdefine/GenericAgent#804", "DeepSeek: tags with other bars"),
            Seen("jundot/omlx#1698", "Gemma's tokens were not taken out"),
        ),
        "The server ended the turn at another token than the model, or its parser lost a piece. Check the server's chat"
        " template and its tool-call parser, and add the token to `stop`. Take it out before you show the text or send it"
        " back.",
        Sample((chunk({"content": "It is done.<|im_end|>\n"}), ends("stop"))),
    ),
    Explanation(
        "reasoning_leak",
        _GROUP,
        "The text holds the model's thoughts with their marks (`<think>…</think>`), or only their closing mark, because the"
        " chat template wrote the opening one. Not reported where the request holds the marks or asks for them"
        " (`reasoning_format`), nor for models whose provider documents this form (MiniMax, Sonar).",
        (
            Seen("vllm-project/vllm#46042", "MiniMax M3: all thoughts in the content of streams"),
            Seen("vllm-project/vllm-ascend#12398", "GLM-5.1: marks in front of calls"),
            Seen("vllm-project/vllm#27703", "GLM-4.5: marks in the content from the third turn on"),
            Seen("waybarrios/vllm-mlx#161", "Nemotron: thoughts in the content where tools are declared"),
        ),
        "Switch on the server's reasoning parser, or the one for this model. Until then, cut the text behind the closing"
        " mark, and do not send the thoughts back as an answer.",
        Sample(
            (
                chunk({"content": "<think>\nA short answer will do.\n</think>\n\n"}),
                chunk({"content": "4"}),
                ends("stop"),
            )
        ),
    ),
    Explanation(
        "call_in_reasoning",
        _GROUP,
        "The model's thoughts hold a complete call to a declared tool, and the choice has neither a call nor an answer. The"
        " detail names the tool and the syntax.",
        (
            Seen("vllm-project/vllm#39056", "Qwen3.5: only the content is searched for calls"),
            Seen("vllm-project/vllm#53246", "the call stays in the reasoning"),
            Seen("vllm-project/vllm#32216", "the call stays in the reasoning"),
            Seen("sgl-project/sglang#30533", "the call stays in the reasoning"),
            Seen("waybarrios/vllm-mlx#253", "the call stays in the reasoning"),
        ),
        "The model never closed its thoughts, or the server's reasoning parser ran before its tool-call parser and took the"
        " call with it. Ask again, switch thinking off for this request, or update the server. Do not take the empty answer"
        " for the end of the task.",
        Sample((chunk({"reasoning_content": f"I add it.\n{_CALL}"}), ends("stop"))),
    ),
)
