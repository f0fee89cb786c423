"""Text that no judge of markup may be asked about: without what marks consist of, and without cut characters."""

from __future__ import annotations

from hypothesis import strategies as st

_CHARACTERS = st.characters(exclude_characters="<>[]|\uff5c\u25c1\u25b7\ufffd", exclude_categories=["Cs"])


def plain_text(most: int | None = None) -> st.SearchStrategy[str]:
    return st.text(_CHARACTERS, max_size=most)


PLAIN_TEXT = plain_text()
