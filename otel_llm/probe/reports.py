"""The results as JSON and as JUnit XML.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from otel_llm.probe.judging import Result
from otel_llm.protocol.unicode_text import exportable

# Characters that XML 1.0 cannot contain, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(base_url: str, model: str, results: Sequence[Result], api: str = "chat") -> dict[str, Any]:
    """A JSON object with the server, its API, the number of checks by status, and each check."""
    return {
        "base_url": base_url,
        "api": api,
        "model": model,
        "summary": dict(Counter(result.status for result in results)),
        "checks": [
            {
                "name": result.check.name,
                "title": result.check.title,
                "status": result.status,
                "seconds": round(result.seconds, 3),
                "findings": [{"kind": one.kind, "text": exportable(one.text)} for one in result.findings],
            }
            for result in results
        ],
    }


def as_junit(base_url: str, model: str, results: Sequence[Result]) -> str:
    """A JUnit XML document. A fault is a failure; a check that is not judged or fails by the model is skipped."""
    status = Counter(result.status for result in results)
    suite = Element(
        "testsuite",
        name=_xml(f"otel-llm probe {model} at {base_url}"),
        tests=str(len(results)),
        failures=str(status["fault"]),
        errors="0",
        skipped=str(status["not judged"] + status["model"]),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = SubElement(
            suite, "testcase", classname="otel_llm.probe", name=result.check.name, time=f"{result.seconds:.3f}"
        )
        for kind, element in (("fault", "failure"), ("unjudged", "skipped"), ("model", "skipped")):
            texts = [one.text for one in result.findings if one.kind == kind]
            if texts and (element == "failure") == (result.status == "fault"):
                SubElement(case, element, message=_xml(texts[0])).text = _xml("\n".join(texts))
                break
        remarks = [one.text for one in result.findings if one.kind == "remark"]
        if remarks:
            SubElement(case, "system-out").text = _xml("\n".join(remarks))
    suites = Element("testsuites")
    suites.append(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", exportable(text))
