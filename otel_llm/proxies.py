"""wrapt's proxies under the names the rest of the package uses. wrapt 2 types them as generics, wrapt 1 not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    ObjectProxy = wrapt.ObjectProxy[Any]
    FunctionWrapper = wrapt.FunctionWrapper[..., Any]
else:
    ObjectProxy = wrapt.ObjectProxy
    FunctionWrapper = wrapt.FunctionWrapper

__all__ = ["FunctionWrapper", "ObjectProxy"]
