"""YAML whose every error names its file and line. Nothing in it is ever run. It needs PyYAML."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_LONGEST_FILE = 1_048_576
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})


class ConfigurationError(ValueError):
    """A sentence for whoever configures. `has_place`: whether it names the place in a file."""

    def __init__(self, message: str, *, has_place: bool = False) -> None:
        super().__init__(message)
        self.has_place = has_place


class Node:
    """A value in the file, and where it is."""

    def __init__(self, file: Path, node: Any) -> None:
        self._file = file
        self._node = node

    def error(self, message: str) -> ConfigurationError:
        """To be raised: this value is not right."""
        return ConfigurationError(f"{self._file}:{self._node.start_mark.line + 1}: {message}", has_place=True)

    def only(self, names: Collection[str]) -> None:
        """Raise ConfigurationError if this is no mapping, or has a key that is none of `names`, or one twice."""
        known: set[str] = set()
        for key, _ in self._pairs():
            name = key.text()
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names))}"
                raise key.error(f"{name!r} is no setting; {hint}")
            if name in known:
                raise key.error(f"{name!r} stands here twice")
            known.add(name)

    def get(self, name: str) -> Node | None:
        """The value of a key; None if there is none, or it is null."""
        for key, value in self._pairs():
            if key.text() == name and not value.is_null:
                return value
        return None

    def items(self) -> Iterator[Node]:
        """The values of a list."""
        if not isinstance(self._node.value, list) or self._node.id != "sequence":
            raise self.error("a list is expected")
        return (Node(self._file, one) for one in self._node.value)

    @property
    def is_null(self) -> bool:
        return bool(self._node.tag == "tag:yaml.org,2002:null")

    def text(self) -> str:
        if self._node.id != "scalar" or self.is_null:
            raise self.error("a text is expected")
        return str(self._node.value)

    def boolean(self) -> bool:
        word = self.text().lower()
        if word not in _TRUE | _FALSE:
            raise self.error(f"true or false is expected, not {word!r}")
        return word in _TRUE

    def whole(self, least: int, most: int) -> int:
        text = self.text().replace("_", "")
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise self.error(f"a whole number from {least} to {most} is expected, not {self.text()!r}")
        return int(text)

    def number(self) -> float:
        try:
            number = float(self.text())
        except ValueError:
            number = 0.0
        # NaN is not above 0 either.
        if not number > 0:
            raise self.error(f"a number of seconds above 0 is expected, not {self.text()!r}")
        return number

    def checked(self, read: Callable[[str], _T], text: str) -> _T:
        """What `read` makes of a text; its error gets the place."""
        try:
            return read(text)
        except ConfigurationError as error:
            raise self.error(str(error)) from None

    def _pairs(self) -> Iterator[tuple[Node, Node]]:
        if self._node.id != "mapping":
            raise self.error("settings are expected, each with a name and a colon")
        for key, value in self._node.value:
            yield Node(self._file, key), Node(self._file, value)


def read_file(file: Path) -> Node:
    """The settings in a file. Raises ConfigurationError."""
    import yaml

    try:
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_FILE + 1)
        if len(text) > _LONGEST_FILE:
            raise ConfigurationError(f"{file}: is longer than {_LONGEST_FILE >> 20} MB")
        node = yaml.compose(text.decode("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigurationError(f"{file}:{line}: {error.problem}", has_place=True) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{file}: is no YAML: {error}") from None
    if node is None:
        raise ConfigurationError(f"{file}:1: there are no settings in it", has_place=True)
    return Node(file, node)
