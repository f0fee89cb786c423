"""What can be wrong with what a response says, with its thoughts, and with what it reports of itself."""

from __future__ import annotations

from otel_llm.diagnosis.explanations.model import Explanation, Sample, Seen, chunk, ends, one_call

_GROUP = "The text"

_CALL = '<tool_call>\n{"name": "add_task", "arguments": {"title": "buy milk"}}\n</tool_call>'


TEXT: tuple[Explanation, ...] = (
    Explanation(
        "token_leak",
        _GROUP,
        "The text holds a control token of a chat template (`<|im_end|>`, `<end_of_turn>`), or a lone tag of a call syntax"
        " that is no whole call, or a part of one at its end; or a string in the arguments of a call ends with one. Not"
        " reported: a token in code, in quotes, in a sentence, or one that the request holds too; nor a"
        " chat template in a text about templates, or a token that the next line explains; nor any in a text completion,"
        " whose prompt the application writes with such tokens.",
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
        " (`reasoning_format`), nor for models whose provider documents this form (MiniMax, Sonar); nor in a"
        " text completion, whose prompt the application writes with such marks.",
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
    Explanation(
        "empty_response",
        _GROUP,
        "The server ended a choice that has no answer: no text, refusal, speech, image, call or item that the server made"
        " itself. White space, and thoughts in marks with nothing behind them, are no answer either. The detail says whether"
        " there were thoughts, and the finish reason. A choice that the content filter or an error ended is not meant, nor one"
        " that `length` ended before the call that was asked for; nor a text completion whose request has `stop`, `suffix` or"
        " `max_tokens=0`, since it may be complete at once.",
        (
            Seen("vllm-project/vllm#49717", "the parser of the reasoning keeps the whole answer"),
            Seen("earendil-works/pi#8462", "through OpenRouter: `stop` and nothing else after a tool's result"),
            Seen("getkimchi/kimchi#64", "kimi-k2.5 ends its turn after the results"),
            Seen("MoonshotAI/kimi-code#3429", "Kimi ends its turn after its thoughts"),
        ),
        "An agent that takes it for the end stops in the middle of its work: ask once more. With thoughts only, look into"
        " them: the server's parser may have put the answer or the call there, or the limit of tokens may be too low.",
        Sample((chunk({"role": "assistant", "content": ""}), ends("stop"))),
    ),
    Explanation(
        "duplicated_text",
        _GROUP,
        "The text or the thoughts came twice: each delta repeats all that came before it, or the last delta is the whole once"
        " more. Texts of less than 16 characters are not judged.",
        (
            Seen("QwenLM/qwen-code#3896", "DashScope sends all text so far in each delta"),
            Seen("CherryHQ/cherry-studio#833", "the same with QwenLM's endpoint"),
            Seen("NVIDIA/TensorRT-LLM#3280", "trtllm-serve: the whole response in place of a delta"),
        ),
        "Whoever joins the deltas shows the text several times. Ask the server for increments (DashScope has an option for"
        " that), or take from each delta only what is new.",
        Sample(
            (
                *(chunk({"content": text}) for text in ("The tasks", "The tasks are ready.")),
                chunk({"content": "The tasks are ready. Three are due."}),
                ends("stop"),
            )
        ),
    ),
    Explanation(
        "repetition",
        _GROUP,
        "The end of the text, of the thoughts or of a call's arguments is one unit over and over, at least 8 times: over 400"
        " characters if `length` ended the choice or the caller stopped it, else over 2,000. White space without end counts"
        " too. The last 4,096 characters are searched. It does not matter whether the repetition was asked for.",
        (
            Seen("QwenLM/qwen-code#1403", "one sentence until the limit of tokens"),
            Seen("PrimeIntellect-ai/prime-agent#1029", "79,000 characters of it in the thoughts, through OpenRouter"),
            Seen("waybarrios/vllm-mlx#188", "minutes of it with a large model"),
        ),
        "The model does not stop by itself. Set a limit of tokens, raise the temperature or the repetition penalty, and check"
        " that the server uses the model's own chat template and end tokens. A grammar that allows white space anywhere lets"
        " a model write it for ever.",
        Sample((chunk({"content": "No, wait. " * 50}), ends("length"))),
    ),
    Explanation(
        "replacement_character",
        _GROUP,
        "U+FFFD, the sign for a character that could not be decoded, is in the text, in a name or in arguments (there as an"
        " escape too), and nothing in the request holds it. Not judged: thoughts, a sign that stands alone between spaces or"
        " quotes, and text with control characters, which a model writes at random.",
        (
            Seen("Luce-Org/lucebox#641", "each token is decoded by itself, so an emoji becomes two signs"),
            Seen("antonellof/ferrox#124", "the same, streamed or not"),
            Seen("mlc-ai/mlc-llm#1142", "an emoji of several tokens"),
            Seen("ggml-org/llama.cpp#4446", "characters of several tokens, in old versions"),
        ),
        "The server decodes tokens one at a time, and a character of several tokens is lost: it cannot be restored. Update the"
        " server. If it happens only at `length`, the limit of tokens cut the character.",
        one_call('{"title": "Caf\ufffd\ufffd"}'),
    ),
    Explanation(
        "missing_usage",
        _GROUP,
        "The request asked for usage (`stream_options.include_usage`), the stream completed, and no usage came, or all of its"
        " numbers are null or zero.",
        (
            Seen("mudler/LocalAI#9927", "zeros as soon as tools are declared"),
            Seen("BerriAI/litellm#8349", "zeros in streams of the proxy"),
            Seen("BerriAI/litellm#11915", "no usage though it was asked for"),
        ),
        "Costs and limits that are computed from this stream are wrong. A gateway may drop the last chunk, which has no"
        " choices: read the stream to its end, and compare with the server behind it.",
        Sample((chunk({"content": "Hello."}), ends("stop")), {"stream_options": {"include_usage": True}}),
    ),
)
