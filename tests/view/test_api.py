"""The API of the page of `otel-llm view`: the list, one request, traces, facets, live events, files."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.demo.scripted_server import DONE, ScriptedServer, chunk, tool_call_chunks, tool_call_delta
from otel_llm.diagnosis.explanations import EXPLANATIONS
from otel_llm.exchanges import otlp as otlp_messages
from otel_llm.view import spans
from otel_llm.view.detail import detail
from otel_llm.view.summary import searched_text, summarize
from tests.helpers.viewing import Viewer, call, id_of, otlp, result_of, span, viewing

WHERE = {"otel_llm.choice.index": 0, "otel_llm.tool_call.index": 0}
HOSTILE = [
    "<script>alert(1)</script>",
    "\x00\x1b[2J",
    "a\nb\r\n",
    "\u202eabc",
    "🥛" * 10,
    "' OR 1=1 --",
    '"}]}',
    "%",
    "_",
]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with viewing(tmp_path_factory.mktemp("view") / "v.db") as viewer:
        yield viewer


@pytest.fixture
def empty(view: Viewer) -> Viewer:
    assert view.client.delete("/api/requests").status_code == 200
    return view


def anomaly(kind: str, at: float = 50, detail: str = "why") -> tuple[str, float, dict[str, Any]]:
    return ("otel_llm.anomaly", at, {**WHERE, "otel_llm.anomaly.type": kind, "otel_llm.anomaly.detail": detail})


# -- the list --


def test_a_summary(empty: Viewer) -> None:
    cause = span()
    made = span(
        *call(0, "add_task", '{"title": "a"}'),
        *call(1, "list_tasks", "{}"),
        anomaly("duplicate_call"),
        anomaly("duplicate_call"),
        started_ms=1_700_000_000_000,
        links=[result_of(cause)],
        parentSpanId="00000000000000aa",
        attributes={
            "gen_ai.request.model": "asked",
            "gen_ai.response.model": "answered",
            "gen_ai.provider.name": "groq",
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
            "otel_llm.stream.outcome": "closed",
            "otel_llm.stream.chunk_count": 7,
            "otel_llm.stream.tool_call_count": 2,
            "otel_llm.stream.text_only": False,
        },
    )
    empty.send(made, resource={"service.name": "agent"})
    assert empty.requests() == [
        {
            "id": id_of(made),
            "trace_id": made["traceId"],
            "span_id": made["spanId"],
            "parent_span_id": "00000000000000aa",
            "service": "agent",
            "model": "asked",
            "provider": "groq",
            "name": "chat m",
            "started": 1_700_000_000_000.0,
            "duration_ms": 1000.0,
            "outcome": "closed",
            "error": None,
            "stream": True,
            "text_only": False,
            "tools": ["add_task", "list_tasks"],
            "tool_call_count": 2,
            "anomalies": ["duplicate_call"],
            "input_tokens": 12,
            "output_tokens": 3,
            "chunk_count": 7,
            "caused_by": [id_of(cause)],
        }
    ]


def test_pages_run_from_the_newest_without_duplicates(empty: Viewer) -> None:
    # Many have the same time, and new ones arrive between two pages.
    made = [span(started_ms=1000 + number // 7) for number in range(100)]
    empty.send(*made)
    page = empty.get("/api/requests", limit=13)
    assert page["total"] == 100
    ids = [one["id"] for one in page["requests"]]
    times = [one["started"] for one in page["requests"]]
    while page["next"]:
        empty.send(span(started_ms=5000))
        page = empty.get("/api/requests", limit=13, after=page["next"])
        ids += [one["id"] for one in page["requests"]]
        times += [one["started"] for one in page["requests"]]
    assert sorted(ids) == sorted(map(id_of, made))
    assert times == sorted(times, reverse=True)
    assert len(ids) == 100


def test_ten_thousand_requests(empty: Viewer) -> None:
    for start in range(0, 10_000, 1000):
        empty.send(*(span(started_ms=number) for number in range(start, start + 1000)))
    page = empty.get("/api/requests", limit=1000)
    seen = len(page["requests"])
    assert page["total"] == 10_000
    while page["next"]:
        page = empty.get("/api/requests", limit=1000, after=page["next"])
        seen += len(page["requests"])
    assert seen == 10_000


def test_filters(empty: Viewer) -> None:
    first = span(*call(0, "add_task", '{"title": "buy milk"}', call_id="call_abc"), anomaly("stalled"))
    second = span(*call(0, "list_tasks", "{}"), attributes={"gen_ai.request.model": "other"}, trace_id=first["traceId"])
    third = span(status={"code": 2, "message": "Straße closed"}, attributes={"error.type": "TimeoutError"})
    empty.send(first, second, resource={"service.name": "one"})
    empty.send(third, resource={"service.name": "two"})
    for filters, found in [
        ({"model": "m"}, [first, third]),
        ({"service": "one"}, [first, second]),
        ({"tool": "add_task"}, [first]),
        ({"anomaly": "stalled"}, [first]),
        ({"outcome": "error"}, [third]),
        ({"trace": first["traceId"]}, [first, second]),
        ({"q": "BUY MILK"}, [first]),
        ({"q": "call_abc"}, [first]),
        ({"q": "timeouterror"}, [third]),
        ({"q": "STRASSE"}, [third]),
        ({"q": "%"}, []),
        ({"q": first["spanId"]}, [first]),
        ({"model": "m", "service": "two"}, [third]),
        ({"model": "m", "tool": "list_tasks"}, []),
        ({"q": "", "model": ""}, [first, second, third]),
    ]:
        assert {one["id"] for one in empty.requests(**filters)} == set(map(id_of, found)), filters
    facets = empty.get("/api/facets")
    assert facets == {
        "models": [["m", 2], ["other", 1]],
        "services": [["one", 2], ["two", 1]],
        "tools": [["add_task", 1], ["list_tasks", 1]],
        "anomalies": [["stalled", 1]],
        "outcomes": [["error", 1]],
    }


@pytest.mark.parametrize("query", [{"after": "nonsense"}, {"limit": "many"}, {"after": "1-" + "9" * 40}])
def test_invalid_queries(view: Viewer, query: dict[str, str]) -> None:
    answer = view.client.get("/api/requests", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_unknown_paths_and_ids(view: Viewer) -> None:
    for path in ("/api/requests/0-0", "/api/requests/0-0/export", "/api/nothing", "/nothing.js", "/api/requests/%00"):
        answer = view.client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]
    assert view.get("/api/traces/0") == {"spans": [], "requests": []}
    assert view.client.put("/api/requests").status_code == 404


# -- one request --


def test_lanes_and_deltas(empty: Viewer) -> None:
    made = span(
        ("otel_llm.reasoning.started", 2, {"otel_llm.choice.index": 0}),
        ("otel_llm.text.started", 5, {"otel_llm.choice.index": 0}),
        *call(0, "add_task", '{"title": ', '"a"}', at=10),
        *call(1, "list_tasks", '{"x": nope}', at=20),
        ("otel_llm.finish_reason", 30, {"otel_llm.choice.index": 0, "otel_llm.finish_reason": "tool_calls"}),
        (
            "otel_llm.tag_rewrite",
            31,
            {
                "otel_llm.tag_rewrite.format": "hermes",
                "otel_llm.tag_rewrite.target": "openai",
                "otel_llm.tag_rewrite.length": 9,
                "gen_ai.tool.name": "add_task",
            },
        ),
        ("exception", 40, {"exception.type": "E"}),
        anomaly("invalid_json"),
    )
    empty.send(made)
    got = empty.detail(id_of(made))
    assert [lane["kind"] for lane in got["lanes"]] == ["reasoning", "text", "tool_call", "tool_call"]
    assert [(lane["first_ms"], lane["last_ms"]) for lane in got["lanes"]] == [(2, 30), (5, 30), (11, 12), (21, 21)]
    good, bad = got["lanes"][2:]
    assert (good["name"], good["call_id"], good["index"], good["choice"]) == ("add_task", "call_0", 0, 0)
    assert (good["detected_ms"], good["named_ms"], good["completed_ms"]) == (10, 10, 12)
    assert (good["arguments"], good["arguments_length"], good["delta_count"]) == ('{"title": "a"}', 14, 2)
    assert (good["arguments_cut"], good["arguments_error"]) == (False, None)
    assert bad["arguments_error"] == {"position": 6, "message": "Expecting value"}
    assert got["deltas"] == [[11, 2, '{"title": ', 10, 1], [12, 2, '"a"}', 14, 1], [21, 3, '{"x": nope}', 11, 1]]
    assert got["finish_reasons"] == [{"choice": 0, "reason": "tool_calls", "at_ms": 30}]
    assert got["rewrites"] == [{"at_ms": 31, "format": "hermes", "target": "openai", "name": "add_task", "length": 9}]
    assert got["events"] == [{"name": "exception", "at_ms": 40, "attributes": {"exception.type": "E"}}]
    (explained,) = got["anomalies_explained"]
    assert (explained["type"], explained["lane"], explained["at_ms"]) == ("invalid_json", 2, 50)
    assert explained["meaning"]
    assert explained["causes"]
    assert explained["advice"]


def test_each_type_of_anomaly_is_explained(empty: Viewer) -> None:
    made = span(*(anomaly(one.type, at) for at, one in enumerate(EXPLANATIONS)))
    empty.send(made)
    shown = empty.detail(id_of(made))["anomalies_explained"]
    assert [(one["type"], one["meaning"], one["advice"], len(one["causes"])) for one in shown] == [
        (one.type, one.means, one.do, len(one.seen)) for one in EXPLANATIONS
    ]


def test_long_arguments_are_joined_from_their_deltas(empty: Viewer) -> None:
    whole = span(*call(0, "write", '{"text": "', "x" * 190, "y" * 190, '"}'))
    cut = span(*call(0, "write", '{"text": "', "x" * 190))
    # A delta of 1000 characters, cut to 200, and one after it.
    for at, text, length in ((20, "z" * 200, 1200), (21, '"}', 1202)):
        told = {**WHERE, "otel_llm.arguments.length": length, "otel_llm.delta.count": 5}
        cut["events"].insert(-1, json.loads(json.dumps(delta(cut, at, told | {"gen_ai.tool.call.arguments": text}))))
    empty.send(whole, cut)
    (lane,) = empty.detail(id_of(whole))["lanes"]
    assert lane["arguments"] == '{"text": "' + "x" * 190 + "y" * 190 + '"}'
    assert not lane["arguments_cut"]
    (lane,) = empty.detail(id_of(cut))["lanes"]
    assert lane["arguments"] == '{"text": "' + "x" * 190 + "z" * 200


def delta(made: dict[str, Any], at: float, told: dict[str, Any]) -> Any:
    helper = span(("otel_llm.tool_call.arguments.delta", at, told), started_ms=int(made["startTimeUnixNano"]) / 1e6)
    return helper["events"][0]


def test_two_calls_at_one_index_have_two_lanes(empty: Viewer) -> None:
    steps = [
        chunk(tool_call_delta(id="call_1", name="add_task", arguments='{"title": "buy milk"}')),
        chunk(tool_call_delta(id="call_2", name="list_tasks", arguments="{}")),
        chunk(finish_reason="tool_calls"),
        DONE,
    ]
    got = through_the_instrumentation(empty, steps)
    assert [(lane["index"], lane["call_id"], lane["name"], lane["arguments"]) for lane in got["lanes"]] == [
        (0, "call_1", "add_task", '{"title": "buy milk"}'),
        (0, "call_2", "list_tasks", "{}"),
    ]
    assert {one["type"]: one["lane"] for one in got["anomalies_explained"]} == {"index_reused": 1, "unknown_tool": 1}


def test_every_delta_of_a_real_stream_is_counted(empty: Viewer) -> None:
    arguments = json.dumps({"title": "t" * 900})
    pieces = [arguments[at : at + 3] for at in range(0, len(arguments), 3)]
    first = tool_call_delta(id="call_1", name="add_task", arguments=pieces[0])
    steps = [chunk(first), *(chunk(tool_call_delta(arguments=piece)) for piece in pieces[1:])]
    got = through_the_instrumentation(empty, [*steps, chunk(finish_reason="tool_calls"), DONE])
    (lane,) = got["lanes"]
    assert lane["delta_count"] == len(pieces) == sum(folded for *_, folded in got["deltas"])
    assert (lane["arguments"], lane["arguments_cut"]) == (arguments, False)
    # The same, from the test case of the request.
    names: dict[str, Any] = {}
    exec(got["copy"]["test"], names)
    names["test_tool_calls"]()


def through_the_instrumentation(view: Viewer, steps: list[Any]) -> dict[str, Any]:
    """The document of a request by the OpenAI SDK, which was instrumented and sent by the real exporter."""
    import openai
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    from otel_llm import OpenAIInstrumentor
    from tests.helpers.callers import REQUEST

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{view.http}/v1/traces", timeout=20)))
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with (
            ScriptedServer(steps) as server,
            openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0) as client,
        ):
            for _ in client.chat.completions.create(**REQUEST, stream=True):
                pass
    finally:
        instrumentor.uninstrument()
        provider.shutdown()
    (summary,) = view.requests()
    return view.detail(summary["id"])


def test_links_lead_both_ways_and_turns_are_found_by_their_trace(empty: Viewer) -> None:
    root = span(name="agent") | {"attributes": []}
    trace = root["traceId"]
    first = span(started_ms=1000, trace_id=trace, parentSpanId=root["spanId"])
    second = span(started_ms=2000, trace_id=trace, links=[result_of(first)])
    empty.send(root, second, first)
    assert empty.detail(id_of(first))["leads_to"] == [id_of(second)]
    got = empty.detail(id_of(second))
    assert got["caused_by"] == [id_of(first)]
    assert [one["id"] for one in got["trace"]] == [id_of(first)]
    told = empty.get(f"/api/traces/{trace}")
    assert [one["request_id"] for one in told["spans"]] == [id_of(first), id_of(second), None]
    assert [one["id"] for one in told["requests"]] == [id_of(first), id_of(second)]
    assert told["spans"][0]["parent_span_id"] == root["spanId"]
    assert empty.get("/api/requests")["total"] == 2


def test_content_and_parameters(empty: Viewer) -> None:
    tools = [{"type": "function", "name": "add_task", "parameters": {"type": "object"}}]
    parts = [{"type": "text", "content": "it's"}]
    asked = [{"role": "user", "parts": parts}]
    made = span(
        attributes={
            "gen_ai.request.temperature": 0.5,
            "gen_ai.tool.definitions": json.dumps(tools),
            "gen_ai.input.messages": json.dumps(asked),
            "server.address": "127.0.0.1",
            "server.port": 8000,
        }
    )
    empty.send(made)
    got = empty.detail(id_of(made))
    assert got["declared_tools"] == tools
    assert got["messages"]["input"] == asked
    assert got["parameters"]["gen_ai.request.temperature"] == 0.5
    words = __import__("shlex").split(got["copy"]["curl"].replace("\\\n", " "))
    assert "http://127.0.0.1:8000/v1/chat/completions" in words
    body = json.loads(words[words.index("-d") + 1])
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "it's"}],
        "tools": [{"type": "function", "function": {"name": "add_task", "parameters": {"type": "object"}}}],
        "temperature": 0.5,
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_kept_unchanged(empty: Viewer, text: str) -> None:
    made = span(
        *call(0, text, text, call_id=text),
        anomaly("invalid_json", detail=text),
        name=text,
        attributes={"gen_ai.request.model": text, text: text},
        status={"code": 2, "message": text},
    )
    empty.send(made, resource={"service.name": text})
    (summary,) = empty.requests(q=text, model=text, service=text, tool=text)
    assert (summary["name"], summary["model"], summary["service"], summary["tools"]) == (text, text, text, [text])
    got = empty.detail(summary["id"])
    assert got["lanes"][0]["arguments"] == text
    assert got["attributes"][text] == text
    assert got["anomalies_explained"][0]["detail"] == text
    assert got["status"]["message"] == text
    names: dict[str, Any] = {}
    exec(compile(got["copy"]["test"], "test_case", "exec"), names)
    names["test_tool_calls"]()


def test_values_that_json_lacks(empty: Viewer) -> None:
    made = span(attributes={"large": 2**60, "list": ["a", 1]})
    made["attributes"].append({"key": "nan", "value": {"doubleValue": "NaN"}})
    empty.send(made)
    attributes = empty.detail(id_of(made))["attributes"]
    assert (attributes["large"], attributes["nan"], attributes["list"]) == (str(2**60), "nan", ["a", 1])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("", None),
        ("{}", None),
        ('"text"', None),
        ("{}{}", 2),
        (' {"a": 1}  {"b": 2}', 11),
        ("1" * 5000 + " {}", 5001),
        ('{"a": 1', 7),
        ('{"a": tru}', 6),
        ("NaN", 0),
        ("[" * 100_000, None),
    ],
)
def test_where_arguments_are_broken(empty: Viewer, arguments: str, error: int | None) -> None:
    made = span(*call(0, "t", *[arguments[at : at + 5000] for at in range(0, len(arguments), 5000)]))
    empty.send(made)
    (lane,) = empty.detail(id_of(made))["lanes"]
    assert (lane["arguments_error"] or {}).get("position") == error


# -- live --


def test_live_events(empty: Viewer) -> None:
    got: list[tuple[str, Any]] = []
    with httpx.stream("GET", f"{empty.page}/api/live", timeout=30) as live:
        assert live.headers["content-type"] == "text/event-stream"
        lines = live.iter_lines()
        next(lines)
        made = span()
        empty.send(made)
        empty.client.delete("/api/requests")
        for line in lines:
            if line.startswith("event: "):
                got.append((line.removeprefix("event: "), json.loads(next(lines).removeprefix("data: "))))
            if len(got) == 2:
                break
    assert [name for name, _ in got] == ["request", "cleared"]
    assert got[0][1]["id"] == id_of(made)


def test_a_client_that_reads_no_events_delays_nothing(empty: Viewer) -> None:
    with httpx.stream("GET", f"{empty.page}/api/live", timeout=30):
        senders = [
            threading.Thread(target=lambda: empty.send(*(span(*call(0, "t" * 500, "{}")) for _ in range(500))))
            for _ in range(6)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(60)
            assert not sender.is_alive()
        assert empty.get("/api/requests")["total"] == 3000


# -- files --


def test_an_exported_request_can_be_imported(empty: Viewer, tmp_path: Path) -> None:
    cause = span()
    made = span(
        *call(0, "add_task", '{"title": "a"}'),
        anomaly("stalled"),
        links=[result_of(cause)],
        attributes={"traceId": "not an id", "spanId": "neither", "n": 2**60},
        status={"code": 2, "message": "broken"},
        parentSpanId="00000000000000aa",
    )
    empty.send(made, resource={"service.name": "exported"})
    before = empty.detail(id_of(made))
    exported = empty.client.get(f"/api/requests/{id_of(made)}/export")
    assert exported.headers["content-disposition"] == f'attachment; filename="{id_of(made)}.json"'
    (written,) = exported.json()["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (written["traceId"], written["spanId"]) == (made["traceId"], made["spanId"])
    assert written["links"][0]["traceId"] == cause["traceId"]
    assert written["status"]["code"] == 2
    empty.client.delete("/api/requests")
    imported = empty.client.post("/api/import", content=exported.content, headers={"content-type": "application/json"})
    assert imported.json() == {"requests": [id_of(made)]}
    assert empty.detail(id_of(made)) == before
    file = tmp_path / "request.json"
    file.write_bytes(exported.content)
    with viewing(tmp_path / "other.db", str(file)) as other:
        assert other.detail(id_of(made)) == before


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"{}", 400), (b'{"resourceSpans": []}', 400)])
def test_a_file_without_a_request(view: Viewer, body: bytes, status: int) -> None:
    answer = view.client.post("/api/import", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]


texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [
        "otel_llm.tool_call.detected",
        "otel_llm.tool_call.name",
        "otel_llm.tool_call.arguments.delta",
        "otel_llm.tool_call.completed",
        "otel_llm.text.started",
        "otel_llm.finish_reason",
        "otel_llm.anomaly",
        "otel_llm.tag_rewrite",
        "other",
    ]
)
keys = st.sampled_from(
    [
        "otel_llm.choice.index",
        "otel_llm.tool_call.index",
        "otel_llm.delta.count",
        "otel_llm.arguments.length",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.id",
        "gen_ai.tool.name",
        "gen_ai.operation.name",
        "otel_llm.anomaly.type",
        "otel_llm.finish_reason",
        "gen_ai.input.messages",
        "gen_ai.tool.definitions",
        "gen_ai.request.model",
        "gen_ai.usage.input_tokens",
        "otel_llm.stream.outcome",
        "server.address",
    ]
)
events = st.tuples(names, st.floats(-10, 1e6), st.dictionaries(keys, values, max_size=5))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(events, max_size=12), st.dictionaries(keys | texts, values, max_size=6))
def test_any_span_can_be_shown(told: Any, attributes: Any) -> None:
    request = otlp_messages.parse_json(json.dumps(otlp(span(*told, attributes=attributes, startTimeUnixNano="7"))))
    for message in spans.single_spans(request):
        read = spans.read(message)
        document = detail(read)
        json.dumps(document, allow_nan=False).encode()
        searched_text(read, summarize(read)).encode()
        again = otlp_messages.parse_json(json.dumps(otlp_messages.to_json(message), allow_nan=False))
        assert [one.SerializeToString(deterministic=True) for one in spans.single_spans(again)] == [
            message.SerializeToString(deterministic=True)
        ]
        assert all(0 <= number < len(document["lanes"]) for _, number, *_ in document["deltas"])


def test_a_stream_of_the_demo(empty: Viewer) -> None:
    got = through_the_instrumentation(
        empty, [*tool_call_chunks("add_task", '{"title": "buy mi'), chunk(finish_reason="tool_calls"), DONE]
    )
    (lane,) = got["lanes"]
    assert lane["arguments_error"]["position"] == len('{"title": ')
    assert [one["type"] for one in got["anomalies_explained"]] == ["invalid_json"]


def test_a_thousand_calls_at_one_index_find_their_lanes(empty: Viewer) -> None:
    began = [call(0, "t", str(number), call_id=f"call_{number}") for number in range(1000)]
    # All are completed at the end, as in a stream with one index for all.
    made = span(*(event for one in began for event in one[:-1]), *(one[-1] for one in reversed(began)))
    empty.send(made)
    lanes = empty.detail(id_of(made))["lanes"]
    assert [(lane["call_id"], lane["arguments"]) for lane in lanes] == [(f"call_{n}", str(n)) for n in range(1000)]


def test_only_links_of_tool_results_are_causes(empty: Viewer) -> None:
    first = span()
    second = span(links=[{"traceId": first["traceId"], "spanId": first["spanId"]}])
    empty.send(first, second)
    assert empty.detail(id_of(second))["caused_by"] == []
    assert empty.detail(id_of(first))["leads_to"] == []


@pytest.mark.parametrize(
    "strange",
    [
        {"gen_ai.input.messages": '[{"role": "user", "parts": 5}]'},
        {"gen_ai.input.messages": '[{"role": "user", "parts": {"type": "text"}}]'},
        {"gen_ai.input.messages": "[1e999, -1e999, NaN]"},
        {"gen_ai.tool.definitions": '[{"parameters": {"maximum": 1e999}}]'},
        {"server.address": "h", "server.port": [1, 2]},
        {"server.address": ["h"], "server.port": "443"},
    ],
)
def test_attributes_of_wrong_types(empty: Viewer, strange: dict[str, Any]) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    made = span(attributes=strange)
    empty.send(made)
    answer = empty.client.get(f"/api/requests/{id_of(made)}")
    assert answer.status_code == 200
    assert json.loads(answer.content, parse_constant=refuse)["id"] == id_of(made)


def test_a_file_of_the_collector_can_be_imported(empty: Viewer) -> None:
    lines = [json.dumps(otlp(span())), '{"resourceMetrics": []}', json.dumps(otlp(span()))]
    answer = empty.client.post("/api/import", content="\n".join(lines), headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["requests"]) == len(empty.requests()) == 2
    answer = empty.client.post(
        "/api/import", content=f"{lines[0]}\n{lines[2][:-9]}", headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert "line 2" in answer.text
    assert len(empty.requests()) == 2


@pytest.mark.parametrize("provider", ["anthropic", "aws.bedrock"])
def test_a_request_of_anthropic_s_api_as_curl(empty: Viewer, provider: str) -> None:
    tools = [
        {"type": "function", "name": "add_task", "description": "adds", "parameters": {"type": "object"}},
        {"type": "web_search_20250305", "name": "web"},
    ]
    call_made = {"type": "tool_call", "id": "c", "name": "add_task", "arguments": {"title": "a"}}
    asked = [
        {"role": "user", "parts": [{"type": "text", "content": "go"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "I do"}, call_made]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "added"}]},
    ]
    made = span(
        attributes={
            "otel_llm.api": "messages",
            "gen_ai.provider.name": provider,
            "gen_ai.request.max_tokens": 5,
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
            "gen_ai.tool.definitions": json.dumps(tools),
            "gen_ai.input.messages": json.dumps(asked),
            "server.address": "gateway",
            "server.port": 8080,
        }
    )
    empty.send(made)
    command = shlex.split(empty.detail(id_of(made))["copy"]["curl"])
    bedrock = provider == "aws.bedrock"
    assert command[2] == ("https://api.anthropic.com" if bedrock else "http://gateway:8080") + "/v1/messages"
    assert "x-api-key: $ANTHROPIC_API_KEY" in command
    assert json.loads(command[command.index("-d") + 1]) == {
        "model": "m",
        "max_tokens": 5,
        "system": "Be brief.",
        "tools": [{"name": "add_task", "description": "adds", "input_schema": {"type": "object"}}, tools[1]],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "go"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I do"},
                    {"type": "tool_use", "id": "c", "name": "add_task", "input": {"title": "a"}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "added"}]},
        ],
    }


def test_a_request_of_the_responses_api_as_curl(empty: Viewer) -> None:
    tools = [
        {"type": "function", "name": "add_task", "description": None, "parameters": {"type": "object"}},
        {"type": "web_search", "name": "web"},
    ]
    call_made = {"type": "tool_call", "id": "c", "name": "add_task", "arguments": {"title": "a"}}
    asked = [
        {"role": "user", "parts": [{"type": "text", "content": "go"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "I do"}, call_made]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "added"}]},
    ]
    made = span(
        attributes={
            "openai.api.type": "responses",
            "gen_ai.request.max_tokens": 5,
            "gen_ai.request.previous_response.id": "resp_1",
            "gen_ai.tool.definitions": json.dumps(tools),
            "gen_ai.input.messages": json.dumps(asked),
        }
    )
    empty.send(made)
    command = shlex.split(empty.detail(id_of(made))["copy"]["curl"])
    assert command[2] == "$OPENAI_BASE_URL/responses"
    assert json.loads(command[command.index("-d") + 1]) == {
        "model": "m",
        "max_output_tokens": 5,
        "previous_response_id": "resp_1",
        "tools": [{"type": "function", "name": "add_task", "parameters": {"type": "object"}}, tools[1]],
        "input": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "I do"},
            {"type": "function_call", "call_id": "c", "name": "add_task", "arguments": '{"title": "a"}'},
            {"type": "function_call_output", "call_id": "c", "output": "added"},
        ],
    }
