"""Which call an output item of the Responses API is."""

from __future__ import annotations

from otel_llm.protocol.choice import Limits
from otel_llm.protocol.output_items import ItemCall, ItemCalls


def calls(limit: int = 8) -> ItemCalls:
    return ItemCalls(Limits(calls=limit, id=20))


def test_a_call_is_found_by_its_index_its_item_or_its_id() -> None:
    known = calls()
    call = known.begin(0, "item_1", "call_1")
    assert known.of_delta(0, None) is known.of_delta(None, "item_1") is call
    assert known.of_item(0, None, None, at_end=False) is call
    assert known.of_item(None, "item_1", "call_1", at_end=False) is call
    assert known.of_item(None, None, "call_1", at_end=False) is call
    assert known.of_delta(1, "item_2") is known.of_item(1, "item_2", "call_2", at_end=False) is None


def test_an_id_that_comes_late_identifies_its_call() -> None:
    known = calls()
    call = known.begin(0, "item_1", None)
    known.identify(call, "call_1", "add_task")
    known.identify(call, "call_2", "list_tasks")
    assert (call.id, call.name) == ("call_1", "add_task")
    assert known.of_item(None, None, "call_1", at_end=False) is call


def test_calls_at_different_indexes_may_share_an_id() -> None:
    known = calls()
    known.begin(0, "item_1", "call_1")
    assert known.of_item(1, "item_2", "call_1", at_end=False) is None
    # At the end, an index is only a position among the items.
    assert known.of_item(1, "item_2", "call_1", at_end=True) is not None


def test_calls_at_one_index_differ_in_their_ids() -> None:
    known = calls()
    known.begin(0, "item_1", "call_1")
    assert known.of_item(0, "item_2", "call_2", at_end=False) is None


def test_only_new_arguments_are_returned() -> None:
    call = ItemCall(0, "call_1")
    assert call.new_arguments('{"a"') == '{"a"'
    assert call.new_arguments('{"a": 1}') == ": 1}"
    assert call.new_arguments('{"a": 1}') is None
    assert call.new_arguments(None) is None


def test_arguments_that_are_no_string_are_returned_once() -> None:
    call = ItemCall(0, "call_1")
    assert call.new_arguments({"a": 1}) == {"a": 1}
    assert call.new_arguments({"a": 1}) is None


def test_the_calls_of_a_hostile_server_are_not_all_kept() -> None:
    known = calls(limit=3)
    for number in range(5000):
        known.begin(None, None, f"call_{number}")
    kept = [number for number in range(5000) if known.of_item(None, None, f"call_{number}", at_end=False)]
    assert kept == list(range(9))


def test_an_id_that_is_too_long_is_not_kept() -> None:
    known = calls()
    known.begin(None, "i" * 21, "c" * 21)
    assert known.of_delta(None, "i" * 21) is known.of_item(None, None, "c" * 21, at_end=False) is None
