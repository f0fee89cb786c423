"""How the bytes of a response were framed: facts for the diagnosis of recorded responses.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 1000  # bytes


@dataclass(slots=True)
class Framing:
    """What the bytes of one response were, besides what they say.

    `content_type`: the header, empty if it is not known. `is_stream`: the body holds server-sent events, or messages of
    AWS's event stream encoding, not one JSON document. `is_done`: `[DONE]` came. `strays`: how often something was no
    server-sent event; `first_stray`, `first_stray_is` and `first_stray_text` are the byte offset of the first, what it
    was if more can be said, and its beginning.
    """

    content_type: str = ""
    is_stream: bool = False
    is_done: bool = False
    strays: int = 0
    first_stray: int = 0
    first_stray_is: str = ""
    first_stray_text: str = ""

    def stray(self, offset: int, what: str, text: bytes) -> None:
        """Something came that is no event."""
        if not self.strays:
            self.first_stray, self.first_stray_is = offset, what
            self.first_stray_text = text[:_SHOWN].decode("utf-8", "replace")
        self.strays += 1
