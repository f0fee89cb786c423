"""Loops, ids given again, and what a provider refuses: a response against the conversation before it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage

from otel_llm.diagnosis.case import Anomaly, Case
from otel_llm.diagnosis.judges import diagnose
from otel_llm.protocol.past_calls import Conversation, MadeCall, past_turns, remember
from otel_llm.protocol.request import read_request
from tests.helpers.streams import anomalies_of, call, calls, custom_call, ends, feed, record, says, types_of

A, B = '{"page": 1}', '{"city": "Bonn"}'
USER = {"role": "user", "content": "What is there to do?"}
Message = Mapping[str, Any]
Made = tuple[str, str, Any]
"""Name, arguments and result of a call."""


def turn(number: int, *made: Made) -> list[Any]:
    """A turn of chat messages; its calls have the ids `c{number}_{place}`."""
    ids = [f"c{number}_{place}" for place in range(len(made))]
    tool_calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, (name, arguments, _) in zip(ids, made, strict=True)
    ]
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": result}
        for call_id, (_, _, result) in zip(ids, made, strict=True)
        if result is not None
    ]
    return [{"role": "assistant", "content": None, "tool_calls": tool_calls}, *results]


def conversation(*turns: Sequence[Made]) -> list[Any]:
    return [USER, *(message for number, made in enumerate(turns) for message in turn(number, *made))]


def declaring(*declared: str) -> list[Any]:
    return [{"type": "function", "function": {"name": name}} for name in declared]


def judged(
    messages: Iterable[Any], *made: tuple[str, str], loop_turns: int = 3, **asked: Any
) -> tuple[list[Anomaly], int]:
    """The anomalies of a response with these calls (name, arguments), and in how many turns it repeats them."""
    # Each tool is declared, with parameters of any kind.
    tools = declaring(*sorted({name for name, _ in made}))
    request = read_request({"messages": messages, "tools": tools, **asked})
    deltas = [call(place, f"new_{place}", name, arguments) for place, (name, arguments) in enumerate(made)]
    case = Case(record([calls(*deltas), ends()], request), request, loop_turns=loop_turns)
    return [one for one in diagnose(case) if one.type != "arguments_not_object"], case.repeated_turns


def loops(messages: Iterable[Any], *made: tuple[str, str], **options: Any) -> bool:
    return "repeated_call" in types_of(judged(messages, *made, **options)[0])


LIST = ("list_tasks", A, "[]")
RAIN = ("get_weather", B, "rain")
AGAIN = ("list_tasks", A)


# -- loops --


@pytest.mark.parametrize(
    ("turns", "made", "repeated"),
    [
        ([[LIST], [LIST]], [AGAIN], 3),
        ([[LIST]] * 9, [AGAIN], 10),
        ([[RAIN], [LIST], [LIST]], [AGAIN], 3),
        ([[("list_tasks", '{"page":1.0}', '{"a": 1, "b": []}')], [("list_tasks", A, ' {"b":[],"a":1}\n')]], [AGAIN], 3),
        ([[("list_tasks", "", "x")], [("list_tasks", "{}", "x")]], [("list_tasks", "{ }")], 3),
        ([[("list_tasks", {"page": 1}, "[]")], [LIST]], [AGAIN], 3),
        ([[LIST, RAIN], [RAIN, LIST]], [AGAIN, ("get_weather", B)], 3),
        ([[LIST, RAIN], [LIST]], [AGAIN], 3),
        ([[("list_tasks", A, "")], [("list_tasks", A, "")]], [AGAIN], 3),
        ([[("list_tasks", A, [{"type": "text", "text": "[]"}])], [LIST]], [AGAIN], 3),
        ([[("run", "[1, 2]", "error")], [("run", "[1,2]", "error")]], [("run", "[1,2]")], 3),
        ([[RAIN], [LIST], [RAIN], [LIST], [RAIN]], [AGAIN], 6),
        ([[LIST], [LIST], [RAIN], [LIST], [RAIN], [LIST], [RAIN]], [AGAIN], 7),
        ([[RAIN, LIST], [("other", "{}", "x")]] * 3, [("get_weather", B), AGAIN], 7),
    ],
)
def test_a_loop(turns: list[list[Made]], made: list[tuple[str, str]], repeated: int) -> None:
    found, turns_in_a_row = judged(conversation(*turns), *made)
    assert types_of(found) == ["repeated_call"]
    assert turns_in_a_row == repeated


@pytest.mark.parametrize(
    ("turns", "made", "repeated"),
    [
        ([], [AGAIN], 0),
        ([[LIST]], [AGAIN], 2),
        ([[LIST], [("list_tasks", A, "[1]")]], [AGAIN], 2),
        ([[LIST], [("list_tasks", '{"page": 2}', "[]")]], [("list_tasks", '{"page": 3}')], 0),
        ([[LIST], [RAIN], [LIST]], [AGAIN], 2),
        ([[LIST], [LIST]], [AGAIN, ("get_weather", B)], 0),
        ([[LIST], [LIST]], [("list_tasks", '{"page": "1"}')], 0),
        ([[LIST], [("list_tasks", A, None)]], [AGAIN], 0),
        ([[RAIN], [LIST], [RAIN]], [AGAIN], 4),
        ([[RAIN], [LIST], [("get_weather", B, "sun")], [LIST], [RAIN]], [AGAIN], 0),
        ([[LIST, LIST], [LIST]], [AGAIN], 3),
        ([[LIST, ("list_tasks", A, "[1]")], [LIST]], [AGAIN], 2),
    ],
)
def test_no_loop_yet(turns: list[list[Made]], made: list[tuple[str, str]], repeated: int) -> None:
    found, turns_in_a_row = judged(conversation(*turns), *made, loop_turns=4)
    assert types_of(found) == []
    assert turns_in_a_row == repeated


def test_the_details() -> None:
    messages = conversation(*[[LIST]] * 40)
    (found,), _ = judged(messages[:5], AGAIN)
    assert found.detail == "list_tasks in 3 turns in a row, with the same arguments and the same result"
    assert (found.choice_index, found.tool_call_index) == (0, None)
    (found,), repeated = judged(messages, AGAIN)
    assert repeated == 33
    assert found.detail.endswith("same result; of the messages, the last 64 were read")
    (found,), _ = judged(conversation(*[[LIST], [RAIN]] * 3), AGAIN)
    assert found.detail == "list_tasks and get_weather by turns, 7 times, with the same arguments and the same results"


@pytest.mark.parametrize("turns", [2, 3, 5, 9])
def test_the_option_says_how_many_turns(turns: int) -> None:
    assert loops(conversation(*[[LIST]] * (turns - 1)), AGAIN, loop_turns=turns)
    assert not loops(conversation(*[[LIST]] * (turns - 2)), AGAIN, loop_turns=turns)
    by_turns = conversation(*([[LIST], [RAIN]] * turns)[1:])
    assert loops(by_turns, AGAIN, loop_turns=turns)
    assert not loops(by_turns[:1] + by_turns[3:], AGAIN, loop_turns=turns) or turns == 2


@pytest.mark.parametrize(
    "between",
    [
        {"role": "user", "content": "Go on."},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ],
)
def test_the_user_breaks_a_loop(between: Message) -> None:
    first, second = turn(1, LIST), turn(2, LIST)
    assert loops([USER, *first, *second], AGAIN)
    assert not loops([USER, *first, between, *second], AGAIN)
    assert not loops([USER, *first, *second, between], AGAIN)


@pytest.mark.parametrize(
    "between",
    [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "Let me see."},
    ],
)
def test_other_messages_do_not(between: Message) -> None:
    first, second = turn(1, LIST), turn(2, LIST)
    assert loops([USER, *first, between, *second, between], AGAIN)


def test_ids_that_each_turn_uses_again_belong_to_their_turn() -> None:
    first, second = turn(1, LIST), turn(1, ("list_tasks", A, "[1]"))
    assert not loops([USER, *first, *second], AGAIN)
    assert loops([USER, *first, *turn(1, LIST)], AGAIN)


def test_messages_of_other_kinds() -> None:
    old = [
        {"role": "assistant", "function_call": {"name": "list_tasks", "arguments": A}},
        {"role": "function", "name": "list_tasks", "content": "[]"},
    ]
    assert loops([USER, *old, *old], AGAIN)
    made = ChatCompletionMessage.model_validate({**turn(1, LIST)[0], "role": "assistant"})
    assert loops([USER, made, turn(1, LIST)[1], made, turn(1, LIST)[1]], AGAIN)
    custom = {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "note", "input": "x"}}],
    }
    messages = [USER, *[custom, {"role": "tool", "tool_call_id": "a", "content": "ok"}] * 2]
    chunks = [calls(custom_call(0, "new", "note", "x")), ends()]
    asked = {"messages": messages, "tools": [{"type": "custom", "custom": {"name": "note"}}]}
    assert types_of(anomalies_of(chunks, asked)) == ["repeated_call"]


@pytest.mark.parametrize(
    "result",
    [object(), [object()], [{"type": "image_url", "image_url": object()}]],
)
def test_results_that_cannot_be_compared(result: Any) -> None:
    assert not loops(conversation(*[[("list_tasks", A, result)]] * 5), AGAIN)


def test_images_are_compared() -> None:
    images = [[{"type": "image_url", "image_url": {"url": f"data:{number}"}}] for number in (1, 1, 2)]
    assert loops(conversation(*[[("list_tasks", A, image)] for image in images[:2]]), AGAIN)
    assert not loops(conversation(*[[("list_tasks", A, image)] for image in images[1:]]), AGAIN)


def test_a_conversation_that_is_an_iterator_is_not_read() -> None:
    messages = iter(conversation([LIST], [LIST]))
    assert not loops(messages, AGAIN)
    assert len(list(messages)) == 5


def test_messages_that_are_appended_while_the_response_streams_do_not_count() -> None:
    messages = conversation([LIST])
    request = read_request({"messages": messages})
    messages += turn(2, LIST)
    recording = record([calls(call(0, "new", *AGAIN)), ends()])
    assert diagnose(Case(recording, request)) == []


def test_calls_that_are_not_complete_are_no_loop() -> None:
    messages = conversation([LIST], [LIST])
    chunks = [calls(call(0, "a", "list_tasks", '{"page": 1')), ends("length")]
    assert types_of(anomalies_of(chunks, {"messages": messages, "tools": declaring("list_tasks")})) == ["truncated"]
    stopped = [calls(call(0, "a", *AGAIN))]
    assert anomalies_of(stopped, {"messages": messages, "tools": declaring("list_tasks")}, "closed") == []


NONSENSE = [None, 1, "x", [], {}, {"role": 1}, {"role": "tool"}, {"type": "function_call"}, object()]


@pytest.mark.parametrize("nonsense", [*NONSENSE, {"role": "assistant", "tool_calls": NONSENSE}])
def test_nonsense_in_a_conversation(nonsense: Any) -> None:
    messages = [nonsense, *conversation([LIST], [LIST])]
    found, repeated = judged(messages, AGAIN)
    assert (types_of(found), repeated) == (["repeated_call"], 3)
    judged([*messages, nonsense], AGAIN)


# -- properties --

names = st.sampled_from(["list_tasks", "get_weather", "run"])
arguments = st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(0, 3), st.text(max_size=3)), max_size=2)
results = st.one_of(st.text(max_size=8), st.lists(st.integers(), max_size=3).map(json.dumps))
made_calls = st.tuples(names, arguments)


def meaning(made: tuple[str, Any]) -> str:
    return json.dumps(made, sort_keys=True)


def spelled(draw: st.DrawFn, value: dict[str, Any]) -> str:
    """JSON of a value in one of many spellings."""
    items = draw(st.permutations(list(value.items())))
    return json.dumps(dict(items), indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))


@given(st.data(), st.lists(made_calls, min_size=1, max_size=3), st.integers(2, 12), results)
def test_each_constructed_loop_is_named(data: st.DataObject, repeated: list[Any], turns: int, result: str) -> None:
    different = [*{meaning(one): one for one in repeated}.values()]
    messages = [USER]
    for number in range(turns):
        order = data.draw(st.permutations(different))
        made = [(name, data.draw(st.composite(spelled)(value)), result) for name, value in order]
        messages += turn(number, *made)
    now = [(name, json.dumps(value)) for name, value in different]
    found, in_a_row = judged(messages, *now)
    assert types_of(found) == ["repeated_call"]
    assert in_a_row == turns + 1


@given(st.data(), made_calls, made_calls, st.integers(3, 7), results, results)
def test_each_constructed_alternation_is_named(
    data: st.DataObject, one: Any, other: Any, rounds: int, result: str, other_result: str
) -> None:
    if one == other:
        return
    messages = [USER]
    for number in range(rounds * 2 - 1):
        (name, value), said = (other, other_result) if number % 2 == 0 else (one, result)
        messages += turn(number, (name, data.draw(st.composite(spelled)(value)), said))
    found, in_a_row = judged(messages, (one[0], json.dumps(one[1])))
    assert types_of(found) == ["repeated_call"]
    assert in_a_row == rounds * 2


@st.composite
def healthy_conversations(draw: st.DrawFn) -> tuple[list[Any], list[tuple[str, str]]]:
    """Messages and the calls of the next turn, healthy by the way in which they are made."""
    kind = draw(st.sampled_from(["polling", "paging", "retries", "besides", "different"]))
    name, value = draw(made_calls)
    text, result = json.dumps(value), draw(results)
    count = draw(st.integers(1, 20))
    if kind == "polling":
        # The result is another one each time.
        turns = [turn(n, (name, text, json.dumps({"seen": n, "as": result}))) for n in range(count)]
        now = [(name, text)] if count > 1 else [("other", text)]
    elif kind == "paging":
        turns = [turn(n, (name, json.dumps({**value, "page": n}), result)) for n in range(count)]
        now = [(name, json.dumps({**value, "page": count}))]
    elif kind == "retries":
        turns = [[*turn(n, (name, text, result)), USER] for n in range(count)]
        now = [(name, text)]
    elif kind == "besides":
        turns = [turn(n, (name, text, result), ("add_task", json.dumps({"title": n}), "ok")) for n in range(count)]
        now = [(name, text), ("add_task", json.dumps({"title": count}))]
    else:
        different = draw(
            st.lists(made_calls, min_size=2, max_size=20, unique_by=lambda one: json.dumps(one, sort_keys=True))
        )
        turns = [turn(n, (of, json.dumps(with_), result)) for n, (of, with_) in enumerate(different[:-1])]
        now = [(different[-1][0], json.dumps(different[-1][1]))]
    return [USER, *(message for one in turns for message in one)], now


@given(healthy_conversations())
def test_no_healthy_conversation_is_accused_of_a_loop(made: tuple[list[Any], list[tuple[str, str]]]) -> None:
    messages, now = made
    assert not loops(messages, *now)


# -- the Responses API --


def items(number: int, name: str, text: str, output: Any) -> list[Any]:
    return [
        {"type": "reasoning", "id": f"rs_{number}", "summary": []},
        {"type": "function_call", "id": f"fc_{number}", "call_id": f"c{number}", "name": name, "arguments": text},
        {"type": "function_call_output", "call_id": f"c{number}", "output": output},
    ]


def responds(asked: Mapping[str, Any], name: str, text: str, call_id: str = "new") -> tuple[list[str], int]:
    request = read_request(asked, "responses")
    case = Case(record([calls(call(0, call_id, name, text)), ends()]), request)
    return types_of(diagnose(case)), case.repeated_turns


def test_input_items() -> None:
    asked = [USER, *items(1, *LIST), *items(2, "list_tasks", '{"page":1}', [{"type": "input_text", "text": "[]"}])]
    assert responds({"input": asked}, *AGAIN) == (["repeated_call"], 3)
    assert responds({"input": asked[:4]}, *AGAIN) == ([], 2)
    assert responds({"input": [*asked, USER]}, *AGAIN) == ([], 0)
    assert responds({"input": [*asked[:4], {"type": "item_reference", "id": "x"}, *asked[4:]]}, *AGAIN) == ([], 2)
    assert responds({"input": "List them."}, *AGAIN) == ([], 0)
    assert responds({"input": asked}, "list_tasks", A, "c2")[0] == ["id_reused", "repeated_call"]


def test_items_of_other_kinds() -> None:
    """A call of the computer between two others is a turn of its own."""
    computer = [
        {"type": "computer_call", "id": "cu_1", "call_id": "cu", "action": {"type": "screenshot"}},
        {"type": "computer_call_output", "call_id": "cu", "output": {"type": "computer_screenshot"}},
    ]
    asked = [USER, *items(1, *LIST), *computer, *items(2, *LIST)]
    assert responds({"input": asked}, *AGAIN) == ([], 2)
    assert responds({"input": [USER, *items(1, *LIST), *items(2, *LIST), *computer]}, *AGAIN) == ([], 0)
    request = read_request({"input": [USER, *computer, *computer]}, "responses")
    assert [len(one.calls) for one in past_turns(request.conversation)] == [1, 1]
    shell = [
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "c", "action": {"command": ["ls"]}},
        {"type": "local_shell_call_output", "id": "lsh_1", "output": "a.py"},
    ]
    request = read_request({"input": [USER, *shell, *shell]}, "responses")
    assert [turn.results for turn in past_turns(request.conversation)] == [(("c", "a.py"),)] * 2
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    asked = [USER, *items(1, *LIST), search, *items(2, *LIST)]
    assert responds({"input": asked}, *AGAIN)[1] == 3


def continued(conversation: Conversation, number: int, made: Made, **fields: Any) -> Conversation:
    """The conversation of the request that brings the result of `made`, after a response that made it."""
    name, text, result = made
    remembered = remember(conversation, [MadeCall(f"c{number}", f"c{number}", name, text)])
    output = {"type": "function_call_output", "call_id": f"c{number}", "output": result}
    return Conversation((output, *fields.get("also", ())), 0, (), f"r{number}", remembered)


def repeats(conversation: Conversation, name: str = "list_tasks", text: str = A, call_id: str = "new") -> list[str]:
    request = read_request({}, "responses")._replace(conversation=conversation)
    return types_of(diagnose(Case(record([calls(call(0, call_id, name, text)), ends()]), request)))


def test_turns_that_are_remembered() -> None:
    long = "x" * 5000
    so_far = Conversation((USER,))
    for number in range(2):
        so_far = continued(so_far, number, ("list_tasks", A, long))
    assert repeats(so_far) == ["repeated_call"]
    assert repeats(so_far, call_id="c0") == ["id_reused", "repeated_call"]
    assert repeats(so_far, "list_tasks", '{"page": 2}') == []
    changed = continued(continued(Conversation((USER,)), 1, LIST), 2, ("list_tasks", A, long + "y"))
    assert repeats(changed) == []
    spoken = continued(continued(Conversation((USER,)), 1, LIST), 2, LIST, also=(USER,))
    assert repeats(spoken) == []
    assert repeats(spoken, call_id="c1") == ["id_reused"]


def test_what_is_remembered_is_bounded_and_small() -> None:
    so_far = Conversation((USER,))
    for number in range(600):
        so_far = continued(so_far, number, ("list_tasks", json.dumps({"text": "x" * 10_000}), "y" * 10_000))
    assert len(so_far.remembered.turns) <= 33
    assert len(so_far.remembered.ids) <= 257
    assert max(len(call.arguments) for one in so_far.remembered.turns for call in one.calls) <= 128
    assert max(len(result) for one in so_far.remembered.turns for _, result in one.results) <= 128
    assert len(list(past_turns(so_far))) == len(so_far.remembered.turns)


# -- ids --


def ids(messages: list[Any], *new: str | None) -> list[str]:
    deltas = [call(place, call_id, "run", f'{{"n": {place}}}') for place, call_id in enumerate(new)]
    return [
        one.detail for one in anomalies_of([calls(*deltas), ends()], {"messages": messages}) if one.type == "id_reused"
    ]


def test_an_id_that_was_given_before() -> None:
    messages = conversation([LIST], [RAIN])
    assert ids(messages, "c0_0") == ["c0_0 is the id of an earlier call of the conversation"]
    assert len(ids([*messages, USER], "c1_0", "x", "c0_0")) == 2
    assert ids(messages, "c2_0") == []
    assert ids(messages, None) == []
    assert ids([USER], "c0_0") == []
    # The ids that the request itself gives twice are the business of the turn that did it.
    assert ids([USER, *turn(1, LIST), *turn(1, RAIN)], "new") == []


def test_only_the_last_messages_are_read_for_ids() -> None:
    messages = [*conversation([LIST]), *[USER] * 63]
    assert ids(messages, "c0_0") == []
    assert ids(messages[:64], "c0_0") != []


# -- what a provider refuses --


def refused(provider: str | None, **asked: Any) -> list[str]:
    return [f"{one.type}: {one.detail}" for one in anomalies_of([says("Hi"), ends("stop")], asked, provider=provider)]


@pytest.mark.parametrize(
    ("provider", "good", "bad"),
    [
        ("openai", ["add_task", "a-b", "9", "a" * 64], ["a.b", "a:b", "a b", "a" * 65, "é"]),
        ("azure.ai.openai", ["add_task"], ["a.b"]),
        ("mistral_ai", ["add_task", "9"], ["a.b", "a" * 65]),
        ("anthropic", ["add_task", "9", "a" * 128], ["a.b", "a b", "a" * 129]),
        ("gcp.gemini", ["add_task", "a.b:c-d", "_a"], ["9a", "a b", "-a", "a/b", "a" * 129]),
        ("ollama", ["a.b", "a b"], []),
        (None, ["a.b", "a" * 100], []),
    ],
)
def test_names_of_tools(provider: str | None, good: list[str], bad: list[str]) -> None:
    assert refused(provider, tools=declaring(*good)) == []
    for name in bad:
        (found,) = refused(provider, tools=declaring("ok", name))
        assert found.startswith(f"unacceptable_name: {provider} takes ")
        assert name[:80] in found
    if bad:
        assert len(refused(provider, tools=declaring(*bad))) == 1
        assert len(refused(provider, functions=[{"name": bad[0]}])) == 1


def test_ids_that_a_provider_refuses() -> None:
    def sent(*ids: str) -> list[Any]:
        return [
            message
            for call_id in ids
            for message in (
                {"role": "assistant", "tool_calls": [{"id": call_id, "function": {"name": "run", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": call_id, "content": "ok"},
            )
        ]

    assert refused("mistral_ai", messages=sent("a1B2c3D4e", "000000000")) == []
    assert refused("mistral_ai", messages=sent("call_1", "a1B2c3D4e", "12345678")) == [
        "unacceptable_id: mistral_ai takes 9 of a-z, A-Z and 0-9, not call_1, 12345678"
    ]
    assert refused("anthropic", messages=sent("toolu_1", "call-2")) == []
    assert refused("anthropic", messages=sent("toolu_1", "functions.run:0", "a b")) == [
        "unacceptable_id: anthropic takes a-z, A-Z, 0-9, _ and -, not functions.run:0, a b"
    ]
    for provider in ("openai", "azure.ai.openai", "aws.bedrock", "gcp.gemini", "ollama", None):
        assert refused(provider, messages=sent("call_1", "functions.run:0")) == []


def test_a_request_without_a_conversation_is_judged_quickly() -> None:
    # Nothing of the messages is looked at unless there is a call or a rule.
    class Untouchable:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    request = read_request({"messages": [*[Untouchable()] * 100, USER]})
    recording = feed(record([says("Hi"), ends("stop")]), [])
    assert diagnose(Case(recording, request)) == []
