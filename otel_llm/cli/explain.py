"""``otel-llm explain``: what an anomaly means, which servers are known for it, and what to do."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from otel_llm.cli.output import console, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from otel_llm.diagnosis.explanations.model import Explanation

_LONGEST_LINE: Final = 240  # of a sample
_WIDTH: Final = 120


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "explain",
        help="what an anomaly means and what to do",
        description="What an anomaly means, which servers are known for it, what to do, and a stream with it.",
    )
    parser.add_argument("type", nargs="*", metavar="TYPE", help="the type of an anomaly; without one, all are listed")
    parser.add_argument("--markdown", action="store_true", help="print all, as docs/anomalies.md")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print explanations; 0, or 2 for an unknown type."""
    from otel_llm.diagnosis.explanations import BY_TYPE, EXPLANATIONS

    if arguments.markdown:
        print(page(), end="")
        return 0
    unknown = [name for name in arguments.type if name not in BY_TYPE]
    if unknown:
        say(f"Unknown anomaly: {', '.join(unknown)}. `otel-llm explain` lists all.")
        return 2
    if not arguments.type:
        for group, members in groupby(EXPLANATIONS, key=lambda one: one.group):
            _show(f"## {group}\n\n" + "\n".join(f"* `{one.type}` {_first_sentence(one.means)}" for one in members))
        return 0
    for name in arguments.type:
        _show("\n".join(section(BY_TYPE[name])))
    return 0


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def _show(markdown: str) -> None:
    try:
        from rich.markdown import Markdown

        to = console()
    except ImportError:
        print(markdown + "\n")
        return
    to.print(Markdown(markdown, code_theme="ansi_dark"))
    to.print()


def page() -> str:
    """The text of docs/anomalies.md."""
    from otel_llm.diagnosis.explanations import EXPLANATIONS, INTRODUCTION

    lines = ["<!-- Made by `otel-llm explain --markdown`. -->", "", "# Anomalies", "", INTRODUCTION, ""]
    for group, members in groupby(EXPLANATIONS, key=lambda one: one.group):
        lines += [f"## {group}", ""]
        for one in members:
            lines += [*section(one), ""]
    return "\n".join(lines).rstrip() + "\n"


def section(one: Explanation) -> list[str]:
    """The lines of the section about one type."""
    lines = [f"### `{one.type}`", "", *_wrapped(one.means), ""]
    if one.seen:
        lines += ["Reported:", ""]
        lines += [line for seen in one.seen for line in _wrapped(f"{seen.where}: {seen.what}", "* ")]
    else:
        lines.append("No public report is known.")
    lines += ["", *_wrapped(f"**What to do.** {one.do}"), "", "```", *_sample(one), "```"]
    return lines


def _sample(one: Explanation) -> Iterator[str]:
    if one.sample.provider is not None:
        yield f": from {one.sample.provider}"
    if one.sample.asked:
        yield ": request with " + ", ".join(f"{name}={value!r}" for name, value in one.sample.asked.items())
    for line in one.sample.lines():
        cut = len(line) > _LONGEST_LINE
        yield f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 4 :]}" if cut else line


def _wrapped(text: str, mark: str = "") -> list[str]:
    indent = " " * len(mark)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=mark, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
