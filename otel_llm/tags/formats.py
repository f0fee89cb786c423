"""The table of tool-call syntaxes: a family of models, its opening markers, and the grammar for what follows.  Pure.

Families may share a marker. Its rows are tried in the order of the table, and the first grammar that reads a call wins.
`reference` names the file that defines the syntax: in vLLM (`vllm/tool_parsers/`), SGLang (`sgl:`,
`python/sglang/srt/function_call/`), llama.cpp (`lcpp:`, `models/templates/`), AbstractCore (`ac:`), OpenAI's harmony
(`oai:`), SMG (`smg:`, `crates/`) or mlx-lm (`mlx-lm:`, `mlx_lm/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from otel_llm.tags.dsml import DSML, DSML_MARKS, DSML_SPACED, dsml_damaged
from otel_llm.tags.grammars import Grammar, first_of, known_tools, name_before
from otel_llm.tags.json_calls import (
    NamedCall,
    json_array,
    json_array_of_calls,
    json_calls,
    json_objects,
    keyed_array,
    named_json,
)
from otel_llm.tags.named_markup import (
    DEEPSEEK_BEGIN,
    DEEPSEEK_CALL,
    DEEPSEEK_END,
    DEEPSEEK_V3,
    DEEPSEEK_V31,
    HARMONY,
    HARMONY_OPENERS,
    KIMI_K2,
    PLAMO,
    after_marker,
)
from otel_llm.tags.nested_tags import nested_tags
from otel_llm.tags.python_calls import python_calls, python_dicts, python_program
from otel_llm.tags.quoted_calls import quoted_call
from otel_llm.tags.xml_calls import xml_parameters
from otel_llm.tags.xml_markup import (
    ARG_TAGS,
    BEAM,
    BEAM_HEADS,
    FUNCTION,
    GLM,
    K2_HORIZON,
    LONE_INVOKE,
    LONGCAT,
    MINICPM,
    MUSE,
    MUSE_ANSWER,
    MUSE_MESSAGE,
    NAMED_TAG,
    OWN_LINES,
    QWEN3_CODER,
    SOLAR,
    STEP3,
    STEP3_INVOKE,
    hunyuan,
    hunyuan_suffixed,
    invoke,
)
from otel_llm.tags.xtml_calls import OPENERS as OPENERS_OF_XTML
from otel_llm.tags.xtml_calls import xtml_calls


@dataclass(frozen=True)
class Format:
    """`openers`: the markers that begin a call; empty for a syntax without one (see `unmarked.py`).

    `at`: where a marker counts: anywhere, at the start of a line, or at the start of the whole text.
    """

    name: str
    models: str
    openers: Sequence[str]
    grammar: Grammar | None
    reference: str
    at: str = "anywhere"
    first: str = ""
    """The first character behind the marker and white space, any of these; `a` stands for one of a name. Empty if it
    may be any."""

    def may_begin(self, character: str) -> bool:
        """Whether a call may begin with this character behind the marker and white space."""
        is_of_name = character.isalpha() or character == "_"
        return ("a" if is_of_name else character) in self.first if character else False


_NS = "]<]minimax[>["
_GEMMA_QUOTES = ('<|"|>', '<|"|>')
_ESCAPES = ("<escape>", "<escape>")

# Markers around calls in another syntax than JSON, in which some models write JSON all the same.
_BLOCKS = {
    DEEPSEEK_BEGIN: DEEPSEEK_END,
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
    "<|tool_call_begin|>": "<|tool_call_end|>",
    "<|plamo:begin_tool_requests:plamo|>": "<|plamo:end_tool_requests:plamo|>",
    "<｜tool_calls_begin｜>": "<｜tool_calls_end｜>",
    "<|tool_call>": "<tool_call|>",
    "<start_function_call>": "<end_function_call>",
    "<|tool_call:start|>": "<|tool_call:end|>",
    "<|tools_prefix|>": "<|tools_suffix|>",
    "<|python_start|>": "<|python_end|>",
    f"{_NS}<tool_call>": f"{_NS}</tool_call>",
    **{
        f"<{name}>": f"</{name}>"
        for name in (
            "function_calls",
            "minimax:tool_call",
            "seed:tool_call",
            "dots_function_call",
            "atem:function_calls",
            "ifm|tool_calls",
            "｜DSML｜function_calls",
            "｜DSML｜tool_calls",
            "｜GCML｜tool_calls",
        )
    },
}

_HERMES = json_objects("</tool_call>", several=True)
_TOOL_CALLS = json_array("</tool_calls>")

FORMATS: tuple[Format, ...] = (
    # <tool_call>
    Format("hermes", "Qwen2.5, Qwen3, Hermes 2 Pro, Hermes 3", ("<tool_call>",),
           _HERMES, "hermes_tool_parser.py", first="{"),
    Format("granite4", "Granite 4.0", ("<tool_call>",),
           _HERMES, "granite4_tool_parser.py", first="{"),
    Format("ernie45", "ERNIE 4.5 Thinking", ("<tool_call>",),
           _HERMES, "ernie45_tool_parser.py", first="{"),
    Format("granite31", "Granite 3.1 to 3.3", ("<tool_call>",),
           json_array("</tool_call>"), "granite_tool_parser.py", first="["),
    Format("qwen3_coder", "Qwen3-Coder, Qwen3.5, Nemotron 3", ("<tool_call>",),
           QWEN3_CODER, "qwen3coder_tool_parser.py", first="<"),
    Format("step3p5", "Step-3.5-Flash", ("<tool_call>",),
           QWEN3_CODER, "step3p5_tool_parser.py", first="<"),
    Format("qwen3_coder", "Nemotron 3, the tool's name in place of its tag", ("<tool_call>",),
           xml_parameters(NAMED_TAG), "ac:abstractcore/tools/parser.py", first="<"),
    Format("mimo", "MiMo-V2-Flash", ("<tool_call>",),
           QWEN3_CODER, "sgl:mimo_detector.py", first="<"),
    Format("step_audio_2", "Step-Audio 2", ("<tool_call>function\n",),
           named_json(NamedCall(closers=("</tool_call>",))), "step_audio_2_tool_parser.py"),
    Format("poolside_v1", "Poolside's Laguna, its body in JSON", ("<tool_call>",),
           named_json(NamedCall(closers=("</tool_call>",), needs_arguments=True)), "poolside_v1_tool_parser.py",
           first="a"),
    Format("glm45", "GLM-4.5, GLM-4.6", ("<tool_call>",), GLM, "glm4_moe_tool_parser.py", first="a"),
    Format("glm47", "GLM-4.7, GLM-5", ("<tool_call>",), GLM, "glm47_moe_tool_parser.py", first="a"),
    Format("poolside_v1", "Poolside", ("<tool_call>",), GLM, "poolside_v1_tool_parser.py", first="a"),
    # <tool_calls>
    Format("jamba", "Jamba 1.5 to 1.7", ("<tool_calls>",), _TOOL_CALLS, "jamba_tool_parser.py", first="["),
    Format("hunyuan_a13b", "Hunyuan-A13B", ("<tool_calls>",),
           _TOOL_CALLS, "hunyuan_a13b_tool_parser.py", first="["),
    Format("apriel", "Apriel 1.5", ("<tool_calls>",), _TOOL_CALLS, "lcpp:unsloth-Apriel-1.5.jinja", first="["),
    Format("minimax_m1", "MiniMax-M1", ("<tool_calls>",),
           json_objects("</tool_calls>", several=True), "minimax_tool_parser.py", first="{"),
    Format("hy_v3", "Hunyuan V3", ("<tool_calls>",), hunyuan(), "hy_v3_tool_parser.py", first="<"),
    Format("hy_v4", "Hunyuan V4", ("<tool_calls:",), hunyuan_suffixed, "hy_v4_tool_parser.py"),
    # <|tool_call|> and its near misses
    Format("abstractcore_qwen", "Qwen under AbstractCore", ("<|tool_call|>",),
           json_objects("</|tool_call|>", "<|/tool_call|>", several=True), "ac:abstractcore/tools/parser.py"),
    Format("phi", "Phi-4-mini, llama.cpp's template", ("<|tool_call|>",),
           json_objects("</|tool_call|>", "<|/tool_call|>"), "lcpp:llama-cpp-microsoft-Phi-4-mini-instruct.jinja"),
    Format("granite3", "Granite 3.0", ("<|tool_call|>",),
           json_array("</|tool_call|>", "<|/tool_call|>"), "granite_tool_parser.py"),
    Format("gemma4", "Gemma 4", ("<|tool_call>",),
           quoted_call(_GEMMA_QUOTES, "<tool_call|>"), "gemma4_tool_parser.py"),
    Format("solar_open2", "Solar Open 2", ("<|tool_call:start|>",),
           xml_parameters(SOLAR), "solar_open2_tool_parser.py"),
    Format("openpangu", "openPangu v2", ("<|tool_call_start|>",),
           json_array_of_calls("<|tool_call_end|>"), "openpangu_v2_tool_parser.py"),
    Format("lfm2", "LFM2, LFM2.5", ("<|tool_call_start|>",),
           python_calls("<|tool_call_end|>"), "lfm2_tool_parser.py"),
    Format("sarashina", "Sarashina", ("<|tool_calls|>",), python_dicts(), "smg:tool_parser/src/parsers/sarashina.rs"),
    Format("kimi_k2", "Kimi K2, K2 Thinking, K2.5", ("<|tool_calls_section_begin|>",),
           named_json(KIMI_K2), "kimi_k2_tool_parser.py"),
    Format("kimi_k2", "Kimi K2, its section marker lost", ("<|tool_call_begin|>",),
           named_json(replace(KIMI_K2, before=("<|tool_call_begin|>", ""))), "kimi_k2_tool_parser.py"),
    Format("kimi_k3", "Kimi K3", OPENERS_OF_XTML, xtml_calls(), "kimi_k3_tool_parser.py"),
    # <function_call>, <function=, <function name=
    Format("llama_function_call", "Llama under AbstractCore", ("<function_call>",),
           json_calls("</function_call>"), "ac:abstractcore/tools/parser.py"),
    Format("granite_20b_fc", "Granite-20B-FunctionCalling", ("<function_call>",),
           json_objects("</function_call>"), "granite_20b_fc_tool_parser.py"),
    Format("olmo3", "OLMo 3", ("<function_calls>",), python_calls("</function_calls>"), "olmo3_tool_parser.py"),
    Format("deepseek_v32", "DeepSeek V3.2, its prefix lost", ("<function_calls>",),
           invoke("", "</function_calls>"), "deepseekv32_tool_parser.py", first="<"),
    Format("llama_function_name", "Llama 3.1 user tools, Functionary v3.1", ("<function=",),
           named_json(NamedCall(after=(">",), closers=("</function>",))),
           "examples/tool_chat_template_llama3.1_usr_def_tool_call.jinja", first="a"),
    Format("qwen3_coder", "Qwen3-Coder, its outer tag lost", ("<function=",),
           xml_parameters(replace(OWN_LINES, marker_opens_call=True)), "qwen3coder_tool_parser.py", first="a\"'"),
    Format("minicpm5", "MiniCPM 5", ("<function name=",), xml_parameters(MINICPM), "sgl:minicpm5_detector.py",
           first="a\"'"),
    Format("functiongemma", "FunctionGemma", ("<start_function_call>",),
           quoted_call(_ESCAPES, "<end_function_call>"), "functiongemma_tool_parser.py"),
    Format("gigachat3", "GigaChat 3, 3.1", ("<|message_sep|>\n\nfunction call<|role_sep|>", "<|function_call|>"),
           json_calls(), "gigachat3_tool_parser.py"),
    # Invokes and parameters
    Format("deepseek_v32", "DeepSeek V3.2", ("<｜DSML｜function_calls>",),
           DSML, "deepseekv32_tool_parser.py", first="<"),
    Format("deepseek_v4", "DeepSeek V4", ("<｜DSML｜tool_calls>",),
           DSML, "deepseekv4_tool_parser.py", first="<"),
    Format("deepseek_v41", "DeepSeek V4.1", ("<｜DSML｜ calls>",),
           DSML_SPACED, "sgl:deepseekv41_detector.py", first="<"),
    Format("deepseek_v4", "DeepSeek V3.2 to V4.1, their wrapper lost or damaged", DSML_MARKS,
           dsml_damaged, "deepseekv4_tool_parser.py", first="a<>"),
    Format("gigachat35", "GigaChat 3.5", ("<｜GCML｜tool_calls>",),
           invoke("｜GCML｜", "</｜GCML｜tool_calls>"), "gigachat35_tool_parser.py", first="<"),
    Format("minimax_m2", "MiniMax-M2, M2.1, M2.5", ("<minimax:tool_call>",),
           invoke("", "</minimax:tool_call>"), "sgl:minimax_m2.py", first="<"),
    Format("minimax_m2", "MiniMax-M2, its wrapper lost", ("<invoke name=",),
           known_tools(LONE_INVOKE), "sgl:minimax_m2.py", first="a\"'"),
    Format("minimax_m2", "MiniMax-M2, its wrapper lost", ("<invoke name=",),
           LONE_INVOKE, "sgl:minimax_m2.py", at="line", first="a\"'"),
    Format("minimax_m3", "MiniMax-M3", (f"{_NS}<tool_call>",),
           nested_tags(_NS, f"{_NS}</tool_call>"), "minimax_m3_tool_parser.py"),
    Format("dots", "rednote dots", ("<dots_function_call>",),
           invoke("", "</dots_function_call>"), "dots_tool_parser.py", first="<"),
    Format("step3", "Step-3", ("<｜tool_calls_begin｜>", "<｜tool_call_begin｜>"),
           xml_parameters(STEP3), "step3_tool_parser.py"),
    Format("step3", "Step-3, its outer tags lost", (STEP3_INVOKE,),
           xml_parameters(replace(STEP3, marker_opens_call=True)), "step3_tool_parser.py"),
    Format("muse_glimmer", "Muse Glimmer", ("<|start|>assistant to=",), MUSE_MESSAGE, "sgl:muse_glimmer_detector.py"),
    Format("muse_glimmer", "Muse Glimmer", (" to=",), MUSE_MESSAGE, "sgl:muse_glimmer_detector.py", at="start"),
    Format("muse_glimmer", "Muse Glimmer, its calls addressed to the user", ("<|start|>assistant to=user<|message|>",),
           MUSE_ANSWER, "sgl:muse_glimmer_detector.py"),
    Format("muse_glimmer", "Muse Glimmer, its calls addressed to the user", (" to=user<|message|>",),
           MUSE_ANSWER, "sgl:muse_glimmer_detector.py", at="start"),
    Format("muse_glimmer", "Muse Glimmer, its message marker lost", ("<atem:function_calls>",),
           MUSE, "sgl:muse_glimmer_detector.py"),
    Format("seed_oss", "Seed-OSS", ("<seed:tool_call>",),
           xml_parameters(replace(FUNCTION, block_closers=("</seed:tool_call>",))), "seed_oss_tool_parser.py"),
    Format("k2_horizon", "K2 Horizon", ("<ifm|tool_calls>",), xml_parameters(K2_HORIZON), "k2_horizon_tool_parser.py"),
    # The name apart
    Format("deepseek_v3", "DeepSeek V3, R1-0528", (DEEPSEEK_BEGIN,),
           named_json(DEEPSEEK_V3), "deepseekv3_tool_parser.py"),
    Format("deepseek_v31", "DeepSeek V3.1", (DEEPSEEK_BEGIN,),
           named_json(DEEPSEEK_V31), "deepseekv31_tool_parser.py"),
    Format("deepseek_v3", "DeepSeek V3, its section marker lost", (DEEPSEEK_CALL,),
           named_json(after_marker(DEEPSEEK_V3)), "deepseekv3_tool_parser.py"),
    Format("deepseek_v31", "DeepSeek V3.1, its section marker lost", (DEEPSEEK_CALL,),
           named_json(after_marker(DEEPSEEK_V31)), "deepseekv31_tool_parser.py"),
    Format("harmony", "gpt-oss", HARMONY_OPENERS,
           named_json(HARMONY), "oai:docs/format.md"),
    Format("harmony", "gpt-oss, its recipient at the head of the message", (" to=",),
           named_json(HARMONY), "oai:docs/format.md", at="start"),
    Format("beam", "Beam", ("<|start|>assistant to=", "<|start|>assistant<|channel|>analysis to="),
           xml_parameters(replace(BEAM, name_end=BEAM_HEADS)), "smg:response_template_parser"),
    Format("beam", "Beam, its recipient at the head of the message", (" to=", "to="),
           xml_parameters(replace(BEAM, name_end=BEAM_HEADS)), "smg:response_template_parser", at="start"),
    Format("plamo3", "PLaMo 3", ("<|plamo:begin_tool_requests:plamo|>",), named_json(PLAMO), "plamo3_tool_parser.py"),
    Format("inkling", "Inkling", ("<|message_model|>",),
           name_before("<|content_invoke_tool_json|>", json_objects("<|end_message|>", verbatim=False)),
           "sgl:inkling_detector.py"),
    Format("inkling", "Inkling, without a name before the body", ("<|content_invoke_tool_json|>",),
           json_objects("<|end_message|>", declared=True, verbatim=False), "sgl:inkling_detector.py"),
    # Square brackets
    Format("mistral_json", "Mistral before tokenizer v11", ("[TOOL_CALLS]",),
           json_array_of_calls("[/TOOL_CALLS]"), "mistral_tool_parser.py", first="{["),
    Format("mistral_v13", "Magistral, Ministral 3, Devstral 2, Small 3.2", ("[TOOL_CALLS]",),
           named_json(NamedCall(after=("[ARGS]",), id_marker="[CALL_ID]", may_lack_arguments=True)),
           "sgl:mistral_detector.py", first="a"),
    Format("mistral_v11", "Mistral with tokenizer v11 or later, as vLLM reads it", ("[TOOL_CALLS]",),
           named_json(NamedCall()), "mistral_tool_parser.py", first="a"),
    Format("phi4mini", "Phi-4-mini", ("functools[",), json_array(opened=True), "phi4mini_tool_parser.py", at="line"),
    Format("firefunction_v2", "FireFunction v2", ("functools[",),
           json_array(opened=True), "lcpp:fireworks-ai-llama-3-firefunction-v2.jinja", at="line"),
    Format("bracket_prefix", "any model prompted by AbstractCore", ("tool: [",),
           named_json(NamedCall(after=("]:", "] :"))), "ac:abstractcore/tools/parser.py", at="line"),
    # Tags of their own around what others have
    Format("longcat", "LongCat-Flash", ("<longcat_tool_call>",),
           json_calls("</longcat_tool_call>"), "longcat_tool_parser.py"),
    Format("longcat_xml", "LongCat-Flash-Lite", ("<longcat_tool_call>",),
           xml_parameters(LONGCAT), "mlx-lm:tool_parsers/longcat.py"),
    Format("iquest_q1", "IQuest-Q1", ("<iquest_tool_call>",),
           xml_parameters(replace(ARG_TAGS, closers=("</iquest_tool_call>",))), "sgl:iquest_q1_detector.py"),
    Format("nemotron", "Nemotron Nano v2", ("<TOOLCALL>",),
           json_array_of_calls("</TOOLCALL>"), "nemotron_nano_v2_tool_parser.py"),
    Format("cohere_command", "Command A, R7B", ("<|START_ACTION|>",),
           json_array_of_calls("<|END_ACTION|>"), "cohere_command_tool_parser.py"),
    Format("apertus", "Apertus", ("<|tools_prefix|>",), keyed_array("<|tools_suffix|>"), "apertus_tool_parser.py"),
    Format("internlm2", "InternLM2, 2.5, 3", ("<|action_start|><|plugin|>", "<|action_start|> <|plugin|>"),
           json_calls("<|action_end|>"), "internlm2_tool_parser.py"),
    Format("llama3_python_tag", "Llama 3.1 to 3.3", ("<|python_tag|>",),
           json_calls("<|eom_id|>", "<|eot_id|>", separators=(";",)), "llama_tool_parser.py"),
    Format("llama4_pythonic", "Llama 4", ("<|python_start|>",),
           python_calls("<|python_end|>"), "llama4_pythonic_tool_parser.py"),
    # Fences: see `code_blocks.py`
    Format("gemma_tool_code", "Gemma 2, 3 (prompted)", ("```tool_code",),
           first_of(json_calls(stops=("```",)), python_program()),
           "ac:abstractcore/tools/parser.py"),
    # In the block of another syntax
    Format("bare_json", "any prompted model", tuple(_BLOCKS),
           json_array_of_calls(*_BLOCKS.values()), "ac:abstractcore/tools/parser.py", first="{["),
    # Without a marker: see the scanner
    Format("llama3_json", "Llama 3.1 to 3.3", (), None, "llama_tool_parser.py"),
    Format("bare_json", "any prompted model", (), None, "ac:abstractcore/tools/parser.py"),
    Format("xlam", "xLAM-2", (), None, "xlam_tool_parser.py"),
    Format("pythonic", "Llama 3.2, ToolACE, Llama 4", (), None, "pythonic_tool_parser.py"),
)  # fmt: skip
