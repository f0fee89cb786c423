"""Query Jaeger and Prometheus through the APIs that their own pages use."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


def get_json(url: str, **query: object) -> Any:
    """GET ``url`` and read the answer as JSON."""
    if query:
        url += "?" + urllib.parse.urlencode(query)
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


class Jaeger:
    """The query API of a Jaeger on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api"

    def traces(self, service: str, limit: int = 100_000) -> list[dict[str, Any]]:
        """All traces of ``service``, as Jaeger returns them."""
        found: list[dict[str, Any]] = get_json(f"{self._base}/traces", service=service, limit=limit)["data"]
        return found

    def spans(self, service: str) -> list[dict[str, Any]]:
        """All spans of these traces; a span that was stored twice is returned twice."""
        return [span for trace in self.traces(service) for span in trace["spans"]]

    def raw(self, service: str) -> str:
        """Everything that Jaeger returns for ``service``, as text."""
        return json.dumps(self.traces(service), ensure_ascii=False)


class Prometheus:
    """The query API of a Prometheus on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        found: list[dict[str, Any]] = get_json(f"{self._base}/query", query=expression)["data"]["result"]
        return found

    def value(self, expression: str) -> float:
        """The sum over an instant query's samples; 0 if there are none."""
        return sum(float(sample["value"][1]) for sample in self.query(expression))

    def exemplars(self, expression: str) -> set[str]:
        """The trace ids of the last ten minutes' exemplars."""
        now = time.time()
        found = get_json(f"{self._base}/query_exemplars", query=expression, start=now - 600, end=now + 10)["data"]
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}


def tags(thing: dict[str, Any], key: str = "tags") -> dict[str, Any]:
    """The attributes of a span by name, or those of an event if ``fields`` are given."""
    return {tag["key"]: tag["value"] for tag in thing[key]}


def events(span: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a span in order of time: the attributes of each, with its name as ``event``."""
    return [tags(log, "fields") for log in sorted(span["logs"], key=lambda log: log["timestamp"])]


def times_stored(spans: list[dict[str, Any]]) -> Counter[str]:
    """How often each span is stored, by span id."""
    return Counter(span["spanID"] for span in spans)


def scraped(port: int, metric: str, path: str = "/metrics") -> float:
    """The sum of a metric over its series, scraped from the program itself; 0 if it has none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == metric)


def eventually(ask: Callable[[], Answer], is_it: Callable[[Answer], bool], timeout: float = 60.0) -> Answer:
    """Ask until the answer is the wanted one or the time is up; returns the last answer."""
    deadline = time.monotonic() + timeout
    while True:
        answer = ask()
        if is_it(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(0.25)
