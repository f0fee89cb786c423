"""README's table of the SDKs that are supported, and of the versions that they are tested with.

It is made of the instrumentors, of the results in docs/versions.md, and of constraints.txt, whose versions `make test`
installs.

`python -m tests.helpers.supported_versions` writes it; `nox -s table` does so at its end.
"""

from __future__ import annotations

import re
from pathlib import Path

from otel_llm.instrumentor import instrumentors

_ROOT = Path(__file__).parents[2]
README = _ROOT / "README.md"
VERSIONS = _ROOT / "docs" / "versions.md"
PINS = _ROOT / "constraints.txt"
BEGINS, ENDS = "<!-- supported SDKs: made by `nox -s table` -->\n", "<!-- end of the table -->\n"


def versions_run() -> dict[str, set[str]]:
    """The versions of each package in docs/versions.md and in constraints.txt, by its normalized name."""
    found: dict[str, set[str]] = {}
    for line in VERSIONS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[1][:1].isdigit():
            found.setdefault(_normalized(cells[0]), set()).add(cells[1])
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", PINS.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(_normalized(name), set()).add(version)
    return found


def _normalized(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def made_table() -> str:
    run = versions_run()
    lines = ["| SDK | versions | tested with | instrumentor |", "|---|---|---|---|"]
    for instrumentor in instrumentors():
        (requirement,) = instrumentor.instrumentation_dependencies()
        package, versions = re.split(r" (?=[<>=])", str(requirement), maxsplit=1)
        shown = ", ".join(sorted(run[_normalized(package)], key=_numbers))
        lines.append(f"| `{package}` | {versions} | {shown} | `{type(instrumentor).__name__}` |")
    return "\n".join(lines) + "\n"


def table_in(text: str) -> str:
    return text.partition(BEGINS)[2].partition(ENDS)[0].strip("\n") + "\n"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGINS)
    after = rest.partition(ENDS)[2]
    README.write_text(f"{before}{BEGINS}\n{made_table()}\n{ENDS}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
