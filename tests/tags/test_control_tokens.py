"""Control tokens and lone tags are found in a text, and those that are only mentioned are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.tags.control_tokens import may_hold_tokens, token_at_end, tokens_in
from otel_llm.tags.thoughts import read_layout


def found(text: str, *, ended: bool = True) -> list[str]:
    tokens = tokens_in(read_layout(text).plain, ended=ended)
    assert not tokens or may_hold_tokens(text)
    return [token.text for token in tokens]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Done.<|im_end|>", ["<|im_end|>"]),
        ("Done.<|im_end|>[EOS]", ["<|im_end|>[EOS]"]),
        ("Done.<|eot_id|>\n", ["<|eot_id|>"]),
        ("Done. <end_of_turn>", ["<end_of_turn>"]),
        ("Done.<｜end▁of▁sentence｜>", ["<｜end▁of▁sentence｜>"]),
        ("Done.<|some_new_token|>", ["<|some_new_token|>"]),
        ("Done.</s>", ["</s>"]),
        ("<s> Done.", ["<s>"]),
        ("Done.\n<|im_end|>\nMore.", ["<|im_end|>"]),
        ("<|im_start|>assistant\nHello", ["<|im_start|>assistant"]),
        ("<|channel|>final<|message|>Hello there", ["<|channel|>final", "<|message|>"]),
        ("A.<|im_end|>\n<|im_start|>user\nB<|im_end|>", ["<|im_end|>", "<|im_start|>user"]),
        ("Hi<|im_end|><|im_start|>assistant", ["<|im_end|>", "<|im_start|>assistant"]),
        ("Done.</tool_call>\n\n", ["</tool_call>"]),
        ("<tool_call>\n", ["<tool_call>"]),
        ("<function=add>\n", ["<function=add>"]),
        ("</function>", ["</function>"]),
        ('<invoke name="add">', ['<invoke name="add">']),
        ("</|DSML|tool_calls>", ["</|DSML|tool_calls>"]),
        ("<‖DSML‖tool_calls>", ["<‖DSML‖tool_calls>"]),
        ("[TOOL_CALLS]", ["[TOOL_CALLS]"]),
        ("- a thing<|im_end|>", ["<|im_end|>"]),
        ("| a | b |<|im_end|>", ["<|im_end|>"]),
        ("| a | b |\n<|im_end|>", ["<|im_end|>"]),
        ("<|im_end|>\nThe meeting ends at five.", ["<|im_end|>"]),
        ("<|im_end|>\n是的，好的。", ["<|im_end|>"]),
        ("I will call it:\n<tool_call>\n", ["<tool_call>"]),
        ("Let me check<tool_call>\n", ["<tool_call>"]),
        ("Name: x\nAge: 5 <|im_end|>", ["<|im_end|>"]),
        ("B. <|im_end|>", ["<|im_end|>"]),
        ("```\nx\n```<|im_end|>", ["<|im_end|>"]),
        ("Done.<|im_", ["<|im_"]),
        ("Done.\n<tool_c", ["<tool_c"]),
        ("Done.</think", ["</think"]),
        ("Assistant: <|im_end|>", ["<|im_end|>"]),
        ("It goes on ... <|im_end|>", ["<|im_end|>"]),
        ("<|im_end|>\nThis is the answer: 4.", ["<|im_end|>"]),
        ("So:\n<|im_end|>\n<|im_start|>user\nAnd now?", ["<|im_end|>", "<|im_start|>user"]),
        ("im_end|>Hello", ["im_end|>"]),
        ("/tool_call>\nHello", ["/tool_call>"]),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert found(text) == tokens


@pytest.mark.parametrize(
    "text",
    [
        "The <|im_end|> token ends a turn.",
        "A turn ends with <|im_end|>.",
        'It is "<|im_end|>".',
        "It is **<|im_end|>** there",
        "- <|im_end|>: a turn ends",
        "- <|im_end|>",
        "1. <|im_start|> - a turn begins",
        "| <|im_end|> | a turn ends |",
        "`<|im_end|>`",
        "```\n<|im_end|>\n```",
        "So:\n\n    <|im_end|>\n",
        "`a` <|im_end|> `b`",
        "<tool_call>anything</tool_call>",
        "<function=f><parameter=a>1</parameter></function>",
        "I call <tool_call> a tag.",
        "<s>old</s> new",
        "<s>old</s>",
        "a < b",
        "a <|> b",
        "std::vector<int> x;",
        "<div></div>",
        "<function>",
        "</",
        "a <",
        "see [1]",
        "std::vector<tool_call>",
        "a std::vector<tool_call>\nis made",
        "List<tool_call>",
        "Promise<function_call>",
        "let calls: Vec<tool_call>",
        "Map<string, List<tool_call>>",
        "ToolBox<tool_call>",
        "<|im_end|> | a turn ends\n",
        "end | <|im_end|>\n",
        "<|im_end|>\tend",
        "<|im_end|>\nEnds a turn.",
        "<|im_end|>\n: the end of a turn",
        "<|im_end|>\n  The end of a turn.",
        "</tool_call>\nThe closing tag of a call.",
        "<|im_end|> marks the end.",
        "<|im_end|>是结束标记。",
        "The end token: <|im_end|>",
        "Qwen: <|im_end|>\nGemma: <end_of_turn>\n",
        "<td><|im_end|></td>",
        "<bos>/<eos>",
        "EOS is </s>",
        "<http://example.com>",
        "A: <|im_end|>",
        "Q: Which token is it?\n**Answer:** <|im_end|>",
        "<|eot_id|>\nIt is the stop token of Llama 3.",
        "<tool_call>\nis the tag that opens a call.",
        "1 ... <|im_start|>\n2 ... <|im_end|>\n3 ... <|endoftext|>",
        "im_start … <|im_start|>\nend … <|endoftext|>",
        "<|im_start|>...\n<|endoftext|>...",
        "A chat in this template:\n\n<|im_start|>system\nHi.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n",
        "So it is.\n\n<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n\nThese tokens mark turns.",
    ],
)
def test_text_without_tokens(text: str) -> None:
    assert found(text) == []


def test_what_more_text_could_mend() -> None:
    for text in ("Hi <|im_end|>", "Hi.\n<tool_call>\n", "Hi <|im_", "<tool_call>\nx"):
        assert found(text)
        assert found(text, ended=False) == []
    assert found("Hi.<|im_end|>\nYes.", ended=False) == ["<|im_end|>"]


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Paris</parameter>", "</parameter>"),
        ("Paris</parameter>\n", "</parameter>"),
        ("Paris</para", "</para"),
        ("Paris</｜DSML｜parameter", "</｜DSML｜parameter"),
        ("Paris<|im_end|>", "<|im_end|>"),
        ("Paris<|i", "<|i"),
        ("Paris</s>", "</s>"),
        ("Paris", None),
        ("Paris</pa", None),
        ("<p>Paris</p>", None),
        ("<function=f>x</function>", None),
        ("<|im_start|>user\nx<|im_end|>", None),
        ("</parameter> Paris", None),
        ("a[0]", None),
        ("std::vector<tool_call>", None),
        ("list<str>", None),
        ("<", None),
        ("", None),
    ],
)
def test_the_end_of_a_value(value: str, token: str | None) -> None:
    assert token_at_end(value) == token


@given(st.text(alphabet=st.sampled_from("<|>/[]simendtoolcallthink_ \n`a.｜"), max_size=60), st.booleans())
def test_any_text(text: str, ended: bool) -> None:
    for token in tokens_in(read_layout(text).plain, ended=ended):
        assert text[token.start : token.end] == token.text
    value = token_at_end(text)
    assert value is None or text.rstrip().endswith(value)


@pytest.mark.parametrize(
    "text",
    [
        "Usage: tool [OPTIONS] FILE [ARGS]",
        "Usage:\n  tool run [ARGS]\n",
        "Press <escape>",
        "<function>x</function>",
        '<function id="a">x</function>\n<parameter>y</parameter>',
        "<function>\n <name>f</name>\n</function>\n",
    ],
)
def test_words_and_tags_of_others(text: str) -> None:
    assert tokens_in(text) == []
    assert token_at_end(text) is None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("完成<|im_end|>是的", ["<|im_end|>"]),
        ("はい<|im_end|>そうです", ["<|im_end|>"]),
        ("Да<|im_end|>нет", ["<|im_end|>"]),
        ("Yes<|im_end|>No", ["<|im_end|>"]),
        ("assistant<|message|>Hi", ["<|message|>"]),
        ("assistantfinal<|message|>Hi", ["<|message|>"]),
        ("Ok.\n<function=", ["<function="]),
        ("Ok.\n<parameter=", ["<parameter="]),
        ("Ok.\n<invoke name=", ["<invoke name="]),
        ("42 <|im_end|>", ["<|im_end|>"]),
        ("Done <|im_end|>", ["<|im_end|>"]),
        ("I will call it </tool_call>", ["</tool_call>"]),
        ("Result: </tool_call>", ["</tool_call>"]),
        ("Assistant: <|im_end|>\nUser: hello", ["<|im_end|>"]),
        ('I call<tool_call> {\n"name": "x', ["<tool_call>"]),
    ],
)
def test_texts_that_a_token_joins_or_ends(text: str, tokens: list[str]) -> None:
    assert found(text) == tokens


@pytest.mark.parametrize(
    "text",
    [
        # The text is about tokens, or a word beside it takes the token into its sentence.
        "The string Hello<|im_end|>World is split into three tokens.",
        "例如：你好<|im_end|>再见 会被分成三个词元。",
        "当模型遇到<|im_end|>时停止",
        "删除<|im_end|>即可。",
        "文中的<|im_end|>表示一轮结束",
        "モデルが<|im_end|>を見たら",
        # Tables of ids, dots that lead to a token or from it.
        "151645 <|im_end|>",
        "151644 <|im_start|>\n151645 <|im_end|>\n",
        "[151645] <|im_end|>",
        "<|im_end|> 151645\n<|im_start|> 151644",
        "<|im_start|> ........ begin of turn\n<|im_end|> ........ end of turn",
        "<|im_end|> …… 151645",
        "End of turn ...... <|im_end|>",
        # Labels.
        "Missing: </tool_call>",
        "Unexpected: </parameter>",
        "Not found: <|im_end|>",
        "**Closing tag:** </tool_call>\n**Opening tag:** <tool_call>",
        "term: <|im_end|>\nmeaning: end of a turn",
        "Name: im_end\nValue: <|im_end|>\nId: 151645",
        # Words that a sentence does not end with.
        "Find </tool_call>",
        "Find </tool_call>\nThen cut the text there.",
        "Error: expected </tool_call>",
        "ERROR parser.py:31 Unclosed <tool_call>",
        "ValueError: no </tool_call>",
        "Then press Enter after </tool_call>",
        "You wrote <tool_cal> instead of <tool_call>",
        "TODO: handle </tool_call>",
        "Suche </tool_call>",
        "grep -c </tool_call>",
        # Arrows, patches, templates, check marks.
        "id 151645 -> <|im_end|>",
        "A --> B: <tool_call>\nB --> A: <tool_response>",
        "diff:\n-<tool_call>\n+<function_call>",
        "The template: {user}<｜Assistant｜>",
        "✅ <tool_call>\n❌ <toolcall>",
        # Types.
        "class Bar : Foo<tool_call> {",
        "class Bar : public Foo<tool_call> {\npublic:\n  void run();\n};",
        "interface Props extends Base<tool_call> {\n  calls: Array<tool_call>\n}",
        "class Bar : Foo<tool_call>, IBar",
    ],
)
def test_tokens_that_are_the_object_of_a_word(text: str) -> None:
    assert found(text) == []
