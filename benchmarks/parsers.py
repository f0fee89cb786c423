"""Puts the model outputs of canitoolcall through otel-llm and through other parsers: what is right, and how fast.

usage: python -m benchmarks.parsers [--rounds N]        (make bench-parsers)

The first table judges the stage with canitoolcall's own checks, beside what it found for the parsers of inference
engines. The second runs the parsers that are on PyPI beside the stage, on this machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from time import perf_counter_ns
from typing import Literal

from canitoolcall.checks import canonical, case_status, expected_as_result, run_checks
from canitoolcall.results import CheckResult, Observation, ParseResult, Status
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.engine_figures import DIGEST, ENGINES, SOURCE
from benchmarks.model_outputs import Cut, ModelOutput, digest, load
from benchmarks.peer_parsers import OurStage, Parser, peers
from benchmarks.report import console

CHUNK = 5
"""Characters of a chunk where streams are timed, about as many as a token."""

Verdict = Literal["pass", "soft pass", "cut off", "fail"]

_RIGHT = frozenset({Status.PASS, Status.SOFT_PASS})


@dataclass(frozen=True)
class Judged:
    """`raised`: whether the parser raised an exception on the whole text.

    Of calls, whether they are right: in the whole text, in all cuts that keep markers whole, and in all cuts; None if
    the parser cannot parse a stream, or if the text is cut off.
    """

    output: ModelOutput
    verdict: Verdict
    reason: str
    raised: bool
    is_right_with_whole_markers: bool
    calls_whole: bool | None = None
    calls_with_whole_markers: bool | None = None
    calls_in_any_cut: bool | None = None

    @property
    def is_right(self) -> bool:
        return self.verdict in {"pass", "soft pass"}


def judge(parser: Parser, output: ModelOutput) -> Judged:
    """The verdict of canitoolcall's checks, on the whole text and on the text in all cuts."""
    whole = parser.whole(output)
    streams: dict[Cut, ParseResult] = {}
    for cut in output.cuts():
        streamed = parser.streamed(output, cut.pieces)
        if streamed is not None:
            streams[cut] = streamed
    kept = {cut: streamed for cut, streamed in streams.items() if cut.keeps_markers}
    rows = _checked(output, whole, streams)
    status = case_status(rows)
    verdict: Verdict = "pass" if status is Status.PASS else "soft pass" if status is Status.SOFT_PASS else "fail"
    if verdict == "fail" and output.cut_off and _is_right_but_for_a_cut_call(output, whole, streams):
        verdict = "cut off"
    judged = Judged(
        output,
        verdict,
        next((f"{row.check}, {row.strategy}: {row.detail}" for row in rows if row.status is Status.FAIL), ""),
        whole.exception is not None,
        case_status(_checked(output, whole, kept)) in _RIGHT,
    )
    if output.cut_off:
        return judged
    judged = replace(judged, calls_whole=_has_right_calls(output, whole))
    if not streams:
        return judged
    return replace(
        judged,
        calls_with_whole_markers=all(_has_right_calls(output, one) for one in kept.values()),
        calls_in_any_cut=all(_has_right_calls(output, one) for one in streams.values()),
    )


def _checked(output: ModelOutput, whole: ParseResult, streams: Mapping[Cut, ParseResult]) -> list[CheckResult]:
    by_name = {cut.name: streamed for cut, streamed in streams.items()}
    return list(run_checks(output.fixture, output.family, Observation(whole, by_name)))


def _is_right_but_for_a_cut_call(output: ModelOutput, whole: ParseResult, streams: Mapping[Cut, ParseResult]) -> bool:
    """Whether all is right if the last call, which the text was cut off in, is left out."""
    expected = output.fixture.expected
    count = len(expected.tool_calls) if expected is not None else 0
    if any(len(one.tool_calls) != count + 1 for one in (whole, *streams.values())):
        return False

    def shorter(result: ParseResult) -> ParseResult:
        return replace(result, tool_calls=result.tool_calls[:count])

    rows = _checked(output, shorter(whole), {cut: shorter(one) for cut, one in streams.items()})
    return case_status(rows) in _RIGHT


def _has_right_calls(output: ModelOutput, result: ParseResult) -> bool:
    expected = output.fixture.expected
    wanted = canonical(expected_as_result(expected), soft=True)["tool_calls"] if expected is not None else []
    return result.exception is None and bool(canonical(result, soft=True)["tool_calls"] == wanted)


# Speed ----------------------------------------------------------------------------------------------------


def characters_per_second(
    parser: Parser, outputs: Sequence[ModelOutput], *, streaming: bool, rounds: int
) -> float | None:
    """Over all outputs; of each the fastest of `rounds` runs counts. None if the parser cannot do that."""
    characters = taken = 0
    for output in outputs:
        pieces = [output.text[at : at + CHUNK] for at in range(0, len(output.text), CHUNK)] if streaming else None
        best: int | None = None
        for _ in range(rounds):
            parse = parser.prepared(output, pieces)
            if parse is None:
                return None
            began = perf_counter_ns()
            parse()
            spent = perf_counter_ns() - began
            best = spent if best is None else min(best, spent)
        characters += len(output.text)
        taken += best or 0
    return characters / (taken / 1e9)


_NOTES_ON_FAMILIES = f"""\
cut off in a call: max_tokens ended the text within a call. otel-llm streams the call as far as it came, and its
diagnosis marks it as truncated. canitoolcall wants no such call: its policy counts these as failed, here as in the
published figures. All else in them is right.
published: of the outputs that an engine supports, those that pass, also but for white space. There the text came in
tokens; here it is cut anywhere. Source: {SOURCE}"""
_NOTES_ON_PEERS = """\
outputs: those that the parser supports; raises: on so many an exception, and these are not timed
calls right: names and arguments, of the outputs that are not cut off
all right: canitoolcall's checks, with its policy for outputs that are cut off
markers whole: in cuts that keep the markers of the family whole, as servers send them
-: a parser cannot parse a stream, or does not separate content and thoughts
SGLang's parsers are told the model, the others find the syntax themselves. The time of otel-llm includes writing to the
SDK's objects; the others return text and calls."""


# Tables ---------------------------------------------------------------------------------------------------


def print_families(out: Console, ours: Sequence[Judged], *, is_same_set: bool) -> None:
    table = Table(title="Outputs that pass canitoolcall's checks (names, arguments, content, thoughts, in any cut)")
    table.add_column("family", no_wrap=True)
    table.add_column("outputs", justify="right")
    for name in ("otel-llm\npass", "but for\nwhite space", "cut off\nin a call", "fail"):
        table.add_column(name, justify="right")
    for engine in ENGINES:
        table.add_column(f"{engine.name.replace(' ', chr(10), 1)}\n(published)", justify="right")
    families = sorted({judged.output.family.slug for judged in ours})
    for family in families:
        of_family = [judged for judged in ours if judged.output.family.slug == family]
        cells = [
            f"{engine.passed(family)} of {engine.supported[family]}" if family in engine.supported else "-"
            for engine in ENGINES
        ]
        table.add_row(family, str(len(of_family)), *_counts(of_family), *cells)
    table.add_section()
    totals = [f"{sum(map(engine.passed, engine.supported))} of {sum(engine.supported.values())}" for engine in ENGINES]
    table.add_row("all", str(len(ours)), *_counts(ours), *totals)
    out.print(table)
    out.print(_NOTES_ON_FAMILIES, soft_wrap=True)
    if not is_same_set:
        out.print("[yellow]The published figures are of another set of outputs than the installed one.[/]")


def _counts(judged: Iterable[Judged]) -> list[str]:
    counts = Counter(one.verdict for one in judged)
    verdicts: tuple[Verdict, ...] = ("pass", "soft pass", "cut off", "fail")
    return [str(counts[verdict]) for verdict in verdicts]


def print_failures(out: Console, ours: Sequence[Judged]) -> None:
    failed = [judged for judged in ours if judged.verdict == "fail"]
    for judged in failed:
        out.print(f"failed: {judged.output.fixture.id}: {escape(judged.reason)}", soft_wrap=True, highlight=False)


def print_peers(
    out: Console, judged_by: dict[Parser, list[Judged]], speeds: dict[Parser, tuple[float | None, float | None]]
) -> None:
    table = Table(title="Parsers on this machine")
    table.add_column("parser")
    for name in (
        "outputs",
        "raises",
        "calls right,\nwhole text",
        "markers\nwhole",
        "any cut",
        "all right,\nmarkers whole",
        "any cut",
        "characters/s,\nwhole text",
        f"chunks\nof {CHUNK}",
    ):
        table.add_column(name, justify="right")
    for parser, judged in judged_by.items():
        with_whole_markers = sum(one.is_right_with_whole_markers for one in judged)
        table.add_row(
            parser.name,
            str(len(judged)),
            str(sum(one.raised for one in judged)),
            _share(one.calls_whole for one in judged),
            _share(one.calls_with_whole_markers for one in judged),
            _share(one.calls_in_any_cut for one in judged),
            str(with_whole_markers) if parser.separates else "-",
            str(sum(one.is_right for one in judged)) if parser.separates else "-",
            *(f"{speed:,.0f}" if speed is not None else "-" for speed in speeds[parser]),
        )
    out.print(table)
    out.print(_NOTES_ON_PEERS, soft_wrap=True)


def _share(right: Iterable[bool | None]) -> str:
    known = [one for one in right if one is not None]
    return f"{sum(known)}/{len(known)}" if known else "-"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parsers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each text is parsed to time it")
    rounds = parser.parse_args().rounds
    out = console()
    outputs = load()
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    out.print(machine, *(f"{name} {version(name)}" for name in ("canitoolcall", "openai")), sep=", ")
    ours = OurStage()
    others, left_out = peers()
    for line in left_out:
        out.print(escape(line), soft_wrap=True)
    judged_by = {one: [judge(one, output) for output in outputs if one.supports(output)] for one in (ours, *others)}
    print_families(out, judged_by[ours], is_same_set=digest(outputs) == DIGEST)
    print_failures(out, judged_by[ours])
    gc.collect()
    gc.freeze()
    speeds: dict[Parser, tuple[float | None, float | None]] = {}
    for one, judged in judged_by.items():
        timed = [each.output for each in judged if not each.raised]
        speeds[one] = (
            characters_per_second(one, timed, streaming=False, rounds=rounds),
            characters_per_second(one, timed, streaming=True, rounds=rounds),
        )
    print_peers(out, judged_by, speeds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
