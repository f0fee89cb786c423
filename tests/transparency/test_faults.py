"""Whichever function of the package raises: the application sees what it sees without the package."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from otel_llm.diagnosis.judges import (
    ANSWER_JUDGES,
    CALL_JUDGES,
    CALLING_CHOICE_JUDGES,
    CHOICE_JUDGES,
    OUTPUT_JUDGES,
    STREAM_JUDGES,
    TEXT_JUDGES,
)
from tests.helpers.breaking.casting import Cast
from tests.helpers.breaking.faithful import nothing_lost, same
from tests.helpers.breaking.functions import Broken, Function, broken, functions
from tests.helpers.sdk_versions import HAS_RESPONSES
from tests.helpers.swallowed_faults import SwallowedFault

FUNCTIONS = {function.name: function for function in functions()}

# Functions that no scenario calls, by the reason. The names are patterns, as everywhere below.
NEVER_CALLED = {
    "it runs when the interpreter exits": ["observation._end_open"],
    "it runs in a forked child": ["observation.Observation.drop", "observation._leave_to_parent", "*.forks._renew"],
    "it runs when its module is imported, mostly to build the table of syntaxes": [
        "tags.dsml.dsml",
        "tags.grammars.known_tools",
        "tags.grammars.name_before",
        "tags.grammars.not_indented",
        "tags.json_calls.json_array_of_calls",
        "tags.json_calls.json_calls",
        "tags.json_calls.keyed_array",
        "tags.json_calls.named_json",
        "tags.messages.message_*",
        "tags.named_markup.after_marker",
        "tags.nested_tags.nested_tags",
        "tags.openings._by_first",
        "tags.openings._openers",
        "tags.python_calls._call_in_print_begins",
        "tags.python_calls.python_*",
        "tags.quoted_calls.quoted_call",
        "tags.reasoning.KnownBeginnings.__init__",
        "tags.xml_markup.invoke",
        "tags.xtml_calls.xtml_calls",
        "telemetry.genai_request._number",
    ],
    "it reads an option, before the first request": [
        "tags.custom_tags.ToolCallTags.__post_init__",
        "tags.custom_tags._closing_of",
        "tags.custom_tags.read_tags",
        "tags.declared.declared_tools",
        "tags.declared.name_of",
    ],
    "it reads recorded bodies, for commands": [
        "diagnosis.framing._*",
        "diagnosis.judges.diagnose_bytes",
        "protocol.apis.*",
        "protocol.body.ResponseBody.take_strays",
        "protocol.content_encoding.*.is_complete",
        # botocore raises these events.
        "protocol.converse_events._is_exception",
        "protocol.content_encoding.Expander.finish",
        "protocol.content_encoding.expanded",
        "protocol.errors.message_*",
        "protocol.event_stream.MessageReader.take_strays",
        "protocol.framing.*",
        "protocol.json_values.parse_json",
        "telemetry.provider.provider_at",
        "protocol.request.api_of_request",
        "protocol.sse.EventReader.take_strays",
        "protocol.sse.Stray.*",
    ],
    "the application calls it, on a tracker or on a rewriter of its own": [
        "protocol.call_snapshot.*",
        "protocol.recording.Recording.delta_count",
        "tags.raw_values.RawValue.held",
        "tags.scanner.Scanner.held",
        "tags.writers.TagWriter.held",
    ],
    "it runs after another fault, and makes the best of that": [
        "protocol.dialects.EitherEvents.read_response",
        "tags.response_items.ItemEvents.give_back",
        "tags.response_messages.Messages.forget",
        "tags.response_places.OutputIndexes.keep",
        "tags.response_stage.ResponseStage.*give_back*",
        "tags.response_stage._Saved.restore",
        "tags.rewritten_text.RewrittenText.held",
        "tags.stage.Stage.give_back*",
        "tags.stage.Stage._plain_chunk",
        "tags.*_stage.*Stage._plain_chunk",
        "tags.event_stage.EventStage.give_back*",
        "tags.huggingface_stage.HuggingFaceStage.give_back*",
        "tags.ollama_stage.OllamaStage.give_back*",
        "wrappers.rewritten_body.RewrittenBody._as_it_came",
        "wrappers.rewritten_stream.Rewriting.give_back_rest",
    ],
    "the OpenTelemetry SDK calls it, and logs what it raises": ["telemetry.counters._Sum.observe"],
    "the SDK raises the error, and whoever takes bytes looks for it first": [
        "protocol.anthropic_messages.MessageEvents._error",
    ],
    "it is called after a judge has raised": ["diagnosis.judges._anomalies_despite_faults*"],
    "it takes an event of more than 16 MB": ["protocol.sse.EventReader._give_up"],
    "the first SDKs with `parse()` need it": ["wrappers.sdk_internals._prepare*"],
    "it is abstract": [f"tags.keyed_arguments.KeyedArguments.{name}" for name in ("_key", "_value", "_rest")],
    "LiteLLM needs it, which has tests of its own in tests/frameworks": ["wrappers.litellm.*"],
    "the application switched the spans of its SDK on": ["wrappers.other_instrumentations.warn_of_own_spans"],
    "it makes mappings of what is no plain one": ["protocol.ollama_chat._plain_mapping"],
    "the proxy asks it": [
        "wrappers.rewritten_body.RewrittenBody.has_failed",
        "wrappers.rewritten_body.RewrittenBody.is_at_work",
        "wrappers.rewritten_stream.Rewriting.works",
    ],
    "it does nothing": [
        "tags.rewritten_text.Observer.*",
        "telemetry.request_span.CurrentSpan.enter",
        "telemetry.request_span.CurrentSpan.release",
    ],
    "it reads escapes, which no scenario's request has": ["protocol.request_text._character"],
    "tests compare requests": [
        "protocol.conversation._EarlierResults.__eq__",
        "protocol.request_text.RequestText.__eq__",
    ],
    "Python's copy and pickle call it": ["transparency.proxies.*__", "transparency.proxies._name"],
}
# Functions whose raising is the application's raising: they stand between the application and what it calls, and each
# step that they take is broken by itself.
IN_THE_WAY = {
    "it starts or ends the observation of an SDK or a client, which whoever asked for that is told": [
        "instrumentor.*",
        "intercept.*",
        "protocol.tools_found.FoundTools.__init__",
        "tags.custom_tags.as_name",
        "tags.target.read_target",
        "telemetry.call_links.RecentCalls.__init__",
        "telemetry.counted_responses.CountedResponses.__init__",
        "telemetry.counters.Counters.*",
        "telemetry.counters._Sum.__init__",
        "telemetry.counters.counters_of",
        "telemetry.handler.Telemetry.__init__",
        "telemetry.handler.reject_other_objects",
        "telemetry.instruments.Instruments.__init__",
        "telemetry.past_turns.PastTurns.__init__",
        "testing.unobserved._unsent",
        "testing.unobserved.listening",
        "transparency.forks.renew_lock_in_children",
        "wrappers.client_kinds.*",
        "wrappers.method.MethodWrapper.__init__",
        "wrappers.method.MethodWrapper.switch_*",
        "wrappers.method.MethodWrapper.wrapper_for",
        "wrappers.other_instrumentations.forget",
        "wrappers.patch.RequestMethods.__init__",
        "wrappers.patch.RequestMethods._imported",
        "wrappers.patch.RequestMethods.*wrap",
        "wrappers.patch.wrapper_for",
        "wrappers.sdk_internals.beta_completions_of",
        "wrappers.sdk_internals.forget_raw_methods",
        "wrappers.sdk_internals.generating_models_of",
        "wrappers.sdk_internals.has_method",
        "wrappers.sdk_internals.is_of_ollama",
        "wrappers.sdk_internals.resource_of",
    ],
    "it is a wrapped method, or the last line of defence in one": [
        "testing.unobserved._UnobservedMethodWrapper._begin",
        "testing.unobserved._UnobservedMethodWrapper._call*",
        "transparency.faults.*",
        "wrappers.method.MethodWrapper._await*",
        "wrappers.method.MethodWrapper._begin",
        "wrappers.method.MethodWrapper._call*",
        "wrappers.method.MethodWrapper._fail",
        "wrappers.method.MethodWrapper._observed_call",
        "wrappers.method.MethodWrapper._observed_coroutine",
        "wrappers.method.MethodWrapper._release",
        "wrappers.method.MethodWrapper._requested",
        "wrappers.method.MethodWrapper._tracked",
        "wrappers.method._is_awaitable",
        "wrappers.method._Request.__init__",
        "wrappers.method._Unawaited.__init__",
    ],
    "the application makes a tracker by itself": [
        "protocol.dialects.EitherEvents.__init__",
        "telemetry.request_span.CurrentSpan.__init__",
        "telemetry.request_span.CurrentSpan.event_limit",
    ],
    "it makes the items of a chunk of Hugging Face say what its attributes say": ["tags.huggingface_stage._agree*"],
    "the application reads or closes a stream by it": [
        "tags.response_items.ItemEvents.delta",
        "wrappers.rewritten_stream.Rewriting.finish",
        "wrappers.rewritten_stream.Rewriting.take",
        "wrappers.rewritten_stream.RewrittenStream.__*iter__",
        "wrappers.rewritten_stream._*Chunks._*",
        "wrappers.method._requesting",
        "wrappers.stream.*",
        "wrappers.stream_ends.*",
        "wrappers.stream_reading.*",
    ],
    "the application takes a raw response or its bytes by it": [
        "wrappers.forwarded_body.ForwardedBody.fail",
        "wrappers.forwarded_body.ForwardedBody.feed",
        "wrappers.forwarded_body.ForwardedBody.finish",
        "wrappers.raw_response.RawResponse.__getattr__",
        "wrappers.raw_response.RawResponse._fail",
        "wrappers.raw_response.RawResponse._read*",
        "wrappers.raw_response.RawResponse._tracked",
        "wrappers.raw_response.RawResponse.parse",
        "wrappers.raw_response.UnreadRawResponse._recorded",
        "wrappers.raw_response.UnreadRawResponse.[a-z]*",
        "wrappers.response_body._*Body.__*iter__",
        "wrappers.response_body._*Body.*close",
        "wrappers.response_body._*Pieces.*",
        "wrappers.response_body._Passing.*",
        "wrappers.rewritten_body.RewrittenBody.feed",
        "wrappers.rewritten_body.RewrittenBody.finish",
        "wrappers.rewritten_body.RewrittenBody._written",
        "wrappers.response_body._closed",
    ],
    "the application sends and receives by it": [
        "wrappers.response_socket._*Socket.[a-z]*",
        "wrappers.response_socket._Responses.[a-z]*",
        "wrappers.response_socket._Responses._attempt",
        "wrappers.response_socket.observed_socket",
        "wrappers.sdk_internals._ObservedOpening.__call__",
        "wrappers.sdk_internals._ObservedOpening._opened_later",
    ],
    "the application runs its tool by it": [
        "tool_spans._Steps.*",
        "tool_spans._finish",
        "tool_spans._name_of",
        "tool_spans._traced_*",
        "tool_spans.tool_execution.__*__",
        "tool_spans.tool_execution._active",
        "tool_spans.tool_execution._suspend",
        "tool_spans.traced_tool",
    ],
}
# Functions whose fault is no fault that is reported.
SILENT = {
    "every judge is asked again by itself": ["diagnosis.judges._anomalies"],
    "whoever calls it takes any exception for its answer": [
        "diagnosis.schemas._refuse",
        "protocol.content_encoding._*.feed",
        "protocol.fields.is_mapping",
        "protocol.gemini_responses.GeminiResponses._whole_call",
        "protocol.gemini_responses.ReportedUsage.[_cp]*[!_]",
        "protocol.huggingface_chat._has_no_more",
        "protocol.item_kinds._plain",
        "protocol.request_text.RequestText._given",
        "protocol.request_text.RequestText._texts",
        "tags.call_deltas._copying_putter",
        "tags.call_deltas._setter",
    ],
    "Python itself reports it": ["*.__del__"],
}


def named_in(reasons: dict[str, list[str]]) -> set[str]:
    patterns = [pattern for listed in reasons.values() for pattern in listed]
    return {name for name in FUNCTIONS if any(fnmatchcase(name, pattern) for pattern in patterns)}


EXEMPT = named_in(NEVER_CALLED) | named_in(IN_THE_WAY) | named_in(SILENT)
BROKEN = [function for name, function in FUNCTIONS.items() if name not in EXEMPT]
BROKEN_IN_SILENCE = [FUNCTIONS[name] for name in sorted(named_in(SILENT))]


@pytest.fixture(scope="module")
def cast() -> Iterator[Cast]:
    cast = Cast()
    yield cast
    cast.close()


@pytest.mark.parametrize("function", BROKEN, ids=[function.name for function in BROKEN])
def test_each_function(function: Function, cast: Cast, swallowed_faults: list[SwallowedFault]) -> None:
    play_broken(function, cast)
    assert any(is_broken(one.fault) for one in swallowed_faults)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("function", BROKEN_IN_SILENCE, ids=[function.name for function in BROKEN_IN_SILENCE])
def test_each_function_whose_fault_is_not_reported(function: Function, cast: Cast) -> None:
    play_broken(function, cast)


def play_broken(function: Function, cast: Cast) -> None:
    __tracebackhide__ = True
    part = cast.part_for(function)
    if part is None and not HAS_RESPONSES:
        pytest.skip("this SDK has no Responses API, and no other scenario calls it")
    assert part is not None, "no scenario calls it: add one, or say in NEVER_CALLED why there is none"
    where = f"in the scenario {part.scenario.name!r}"
    try:
        saw = cast.world.play(part.scenario, broken(function))
    except BaseException as error:
        report = "".join(traceback.format_exception(error, limit=-6))
        pytest.fail(f"the application meets the fault {where}:\n{report}", pytrace=False)
    if saw != part.bare:
        rewritten = part.scenario.rewrites and (same(saw, part.observed) or nothing_lost(saw, part.bare, part.observed))
        assert rewritten, f"the application sees something else {where}"


def is_broken(fault: BaseException | None) -> bool:
    while fault is not None and not isinstance(fault, Broken):
        fault = fault.__cause__ or fault.__context__
    return fault is not None


def test_the_application_sees_the_same_in_all_scenarios(cast: Cast) -> None:
    differing = [part.scenario.name for part in cast.parts if part.observed != part.bare and not part.scenario.rewrites]
    assert not differing
    assert [part.scenario.name for part in cast.parts if part.scenario.rewrites and part.observed != part.bare]
    assert {part.scenario.name: part.faults for part in cast.parts if part.faults} == {}


@pytest.mark.parametrize("reasons", [NEVER_CALLED, IN_THE_WAY, SILENT], ids=["never called", "in the way", "silent"])
def test_the_lists_name_functions_that_there_are(reasons: dict[str, list[str]]) -> None:
    patterns = [pattern for listed in reasons.values() for pattern in listed]
    idle = [one for one in patterns if not any(fnmatchcase(name, one) for name in FUNCTIONS)]
    assert not idle, f"there is no such function: {', '.join(idle)}"


def test_what_is_listed_as_never_called_is_not_called(cast: Cast) -> None:
    called = [name for name in sorted(named_in(NEVER_CALLED)) if cast.part_for(FUNCTIONS[name]) is not None]
    assert not called, f"some scenario calls {', '.join(called)}"


def test_the_functions_that_matter_are_broken() -> None:
    names = {function.name for function in BROKEN}
    assert len(names) > 550
    for room in ("protocol.responses_api", "tags.stage", "telemetry.genai_content", "tool_spans", "testing.unobserved"):
        assert len([name for name in names if name.startswith(f"{room}.")]) > 4, room
    of_choices = (*CHOICE_JUDGES, *TEXT_JUDGES, *ANSWER_JUDGES, *OUTPUT_JUDGES, *CALLING_CHOICE_JUDGES)
    judges = {judge.__name__ for judge in (*STREAM_JUDGES, *of_choices, *CALL_JUDGES)}
    assert judges <= {name.rpartition(".")[2] for name in names if name.startswith("diagnosis.")}
