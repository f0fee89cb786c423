"""The printed report."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from rich.console import Console
from rich.table import Table

from benchmarks.figures import ALL, Costs, TagCosts, tags_key
from benchmarks.libraries import FORWARDING, OURS, Library
from benchmarks.readers import OPENAI, Readings
from benchmarks.tags import CALLS, CHUNK, KINDS_OF_CALLS, PROSE
from benchmarks.targets import Target
from benchmarks.workload import MODES

_WIDTH = 140


def console() -> Console:
    """A console, as wide as the tables need if there is no terminal."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=_WIDTH)


def print_machine(out: Console, libraries: Iterable[Library]) -> None:
    out.print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs")
    names = ["openai", "opentelemetry-sdk", "opentelemetry-util-genai", "wrapt"]
    names += [library.distribution for library in libraries if library.distribution]
    out.print(", ".join(f"{name} {version(name)}" for name in names), soft_wrap=True)


def print_costs(out: Console, costs: Mapping[Library, Costs]) -> None:
    ours = costs[OURS]
    table = Table(title="Added to the SDK's own cost, microseconds (and times otel-llm's)")
    table.add_column("library", no_wrap=True)
    for kind, mode in ALL:
        table.add_column(f"chunk\n{kind} {mode}", justify="right")
    for mode in MODES:
        table.add_column(f"request\nfixed {mode}", justify="right")
    table.add_column("request\na tool call", justify="right")
    for library, cost in costs.items():
        cells = [(cost.chunk(kind, mode), ours.chunk(kind, mode), 2) for kind, mode in ALL]
        cells += [(cost.request("text", mode), ours.request("text", mode), 0) for mode in MODES]
        cells.append((_tool_call(cost), _tool_call(ours), 0))
        table.add_row(
            library.name,
            *(
                f"{round(figure, digits) + 0.0:.{digits}f}"
                + ("" if library in {OURS, FORWARDING} else f" ({figure / base:.1f}x)")
                for figure, base, digits in cells
            ),
        )
    out.print(table)
    out.print("fixed: a response without deltas, including its first and last chunks", soft_wrap=True)
    out.print("a tool call: what a call without deltas of arguments adds to that", soft_wrap=True)
    for library, cost in costs.items():
        if library.is_baseline or library is OURS:
            continue
        lengths = (f"{kind} {mode} {ours.cheaper_from(cost, kind, mode):.0f}" for kind, mode in ALL)
        out.print(
            f"Number of deltas from which a whole response costs less than with {library.name}: {', '.join(lengths)}",
            soft_wrap=True,
        )


def _tool_call(costs: Costs) -> float:
    return costs.request("tool", "sync") - costs.request("text", "sync")


def print_lengths(out: Console, ours: Costs, lengths: list[int]) -> None:
    table = Table(title="Added by otel-llm to each chunk, by length of the response, microseconds")
    table.add_column("deltas", justify="right")
    for kind, mode in ALL:
        table.add_column(f"{kind} {mode}", justify="right")
    for deltas in lengths:
        table.add_row(f"{deltas:,}", *(f"{ours.chunk(kind, mode, deltas):.2f}" for kind, mode in ALL))
    out.print(table)


def print_readers(out: Console, read: Readings) -> None:
    table = Table(title="Reading a delta of each SDK's stream, nanoseconds (and times that of the openai SDK)")
    table.add_column("SDK")
    kinds = list(read["times"][OPENAI])
    for kind in kinds:
        table.add_column(kind, justify="right")
    base = read["times"][OPENAI]
    for sdk, times in read["times"].items():
        cells = (f"{times[kind]:.0f} ({times[kind] / base[kind]:.2f}x)" if kind in times else "-" for kind in kinds)
        table.add_row(sdk, *cells)
    out.print(table)
    for sdk in read["left_out"]:
        out.print(f"{sdk} is not installed, so it is left out")


def print_tags(
    out: Console,
    costs: Mapping[Library, TagCosts],
    behaviour: Mapping[Library, Mapping[str, int]],
    held: Mapping[str, int],
) -> None:
    table = Table(title=f"Rewriting the tags of tool calls, microseconds a chunk of {CHUNK} characters")
    table.add_column("text")
    for library in costs:
        table.add_column(library.name, justify="right")
    ours = costs[OURS]
    for chunks in PROSE:
        cells = [_tag_cell(library, cost.prose(chunks), ours.prose(chunks)) for library, cost in costs.items()]
        table.add_row(f"plain, {chunks:,} chunks", *cells)
    for kind in KINDS_OF_CALLS:
        for length in CALLS:
            cells = []
            for library, cost in costs.items():
                taken = cost.call(kind, length)
                seconds = cost.left_out.get(tags_key(kind, length), 0) / 1e9
                if taken is not None:
                    cells.append(_tag_cell(library, taken, ours.call(kind, length) or taken))
                else:
                    cells.append(f"left out: about {seconds:,.0f} s a text" if seconds else "-")
            table.add_row(f"a call with {length // 1000:,} kB of arguments, {kind}", *cells)
    figures = behaviour.values()
    tried = behaviour[OURS]
    table.add_section()
    table.add_row(
        f"of {tried['openings']} plain texts, the first chunk leaves at once",
        *(str(each["openings_at_once"]) for each in figures),
    )
    table.add_row(
        f"of {tried['chunks']:,} plain chunks, leave at once", *(f"{each['chunks_at_once']:,}" for each in figures)
    )
    table.add_row(f"outputs of one text in {tried['cuts']} cuts", *(str(each["outputs"]) for each in figures))
    out.print(table)
    out.print("plain: including start and end of the stream; a call: less the cost of a call with almost no arguments")
    peaks = ", ".join(f"{held[kind] / 1000:.0f} kB ({kind})" for kind in KINDS_OF_CALLS)
    out.print(f"peak memory of otel-llm during a call of {held['size'] // 1000:,} kB: {peaks}")


def _tag_cell(library: Library, cost: float, base: float) -> str:
    return f"{cost:.2f}" + ("" if library is OURS else f" ({cost / base:.1f}x)")


def print_targets(out: Console, targets: Iterable[Target]) -> None:
    table = Table(title="Targets")
    table.add_column("")
    table.add_column("what")
    table.add_column("wanted")
    table.add_column("measured", justify="right")
    words = {True: "[green]met[/]", False: "[bold red]MISSED[/]", None: "[yellow]unknown[/]"}
    for target in targets:
        table.add_row(words[target.met], target.subject, target.wanted, target.figure)
    out.print(table)
