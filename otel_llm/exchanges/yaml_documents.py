"""YAML as recorders of several languages write it.  Nothing in it is ever run. It needs PyYAML.

Tags of Python objects and of Ruby's become the plain values that they are made of: vcrpy under aiohttp writes the names
of headers as `!!python/object/apply:multidict._multidict.istr [Accept]`, and Ruby's VCR bodies as `!binary`.
"""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import Any

from otel_llm.protocol.errors import UnreadableError

_DEEPEST = 100
_PYTHON = "tag:yaml.org,2002:python/"


def read_yaml(data: bytes) -> Any:
    """The document. Raises UnreadableError."""
    try:
        import yaml
    except ImportError:
        raise UnreadableError("it is YAML, which needs PyYAML: pip install 'otel-llm[cli]'") from None
    parser = getattr(yaml, "CParser", yaml.SafeLoader)
    try:
        depth = 0
        # Checked first: the loader recurses, in C, where no limit stops it.
        for event in yaml.parse(data, Loader=parser):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise UnreadableError("it is nested too deep")
        return yaml.load(data, Loader=_loader())  # noqa: S506  a safe one
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UnreadableError(f"it is not YAML ({' '.join(str(error).split())[:200]})") from None


@cache
def _loader() -> Any:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """The safe loader, with plain values for tags of objects."""

    Loader.add_constructor("!binary", _binary)
    Loader.add_constructor(f"{_PYTHON}bytes", _binary)
    Loader.add_multi_constructor(_PYTHON, _plain_python)
    Loader.add_multi_constructor("!", _plain)
    return Loader


def _binary(loader: Any, node: Any) -> bytes:
    try:
        return base64.b64decode(loader.construct_scalar(node))
    except (binascii.Error, ValueError):
        raise UnreadableError("a binary value is not base64") from None


def _plain(loader: Any, _tag: str, node: Any) -> Any:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def _plain_python(loader: Any, tag: str, node: Any) -> Any:
    """What an object was made of: the one argument of its constructor, or all that there is."""
    value = _plain(loader, tag, node)
    if isinstance(value, dict) and "args" in value:
        value = value["args"]
    if isinstance(value, list):
        # Of a tuple, a list cannot be the name of a field.
        value = value[0] if len(value) == 1 and tag.startswith("object") else tuple(value)
    return value
