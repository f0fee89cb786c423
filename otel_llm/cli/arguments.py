"""Arguments that several commands take: a function adds one, or reads one and says what it should be."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError


def add_stall_seconds(parser: ArgumentParser) -> None:
    """Add `--stall-seconds`."""
    parser.add_argument(
        "--stall-seconds",
        type=seconds,
        default=10.0,
        metavar="S",
        help="a longer wait between two chunks is an anomaly (10)",
    )


def seconds(text: str) -> float:
    """A time above 0; `inf` for no limit."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    # NaN is not above 0 either.
    if not number > 0:
        raise ArgumentTypeError(f"a number of seconds above 0 is expected, not {text!r}")
    return number


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise ArgumentTypeError(f"a whole number from 1 on is expected, not {text!r}")
    return int(text)
