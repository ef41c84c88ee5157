"""Text that databases and agents take. Pure."""

from __future__ import annotations


def whole_characters(text: str) -> str:
    """Join halves of characters; replace lone halves."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clean(text: str) -> str:
    """Join halves of characters; replace lone halves and the null character, which no database and few agents take."""
    return whole_characters(text).replace("\0", "\ufffd")
