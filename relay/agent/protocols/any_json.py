"""JSON of an agent, of any shape: its texts, and the errors in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from relay.protocol import json_text

_ERROR_WORDS: Final = ("content", "error", "detail", "message", "msg")  # members in which an error may have its text
_MAX_WORDS_DEPTH: Final = 8


def json_value(data: str) -> Any:
    """Read an event's data leniently; data that is not JSON is a text."""
    try:
        return json_text.decode_leniently(data)
    except ValueError:
        return data


def is_bare_error(fields: dict[str, Any]) -> bool:
    """Is an object an error by its members alone? Many servers report one in no shape of the protocol."""
    return not isinstance(fields.get("type"), str) and any(map(fields.get, ("error", "detail", "message")))


def error_words(value: Any, depth: int = _MAX_WORDS_DEPTH) -> str:
    """Find the text of an error, whatever its shape (any JSON); empty if there is none."""
    if isinstance(value, str):
        return value
    found: Iterable[str] = ()
    if depth and isinstance(value, list):
        return ", ".join(filter(str.strip, (error_words(item, depth - 1) for item in value)))
    if depth and isinstance(value, dict):
        found = (error_words(value.get(name), depth - 1) for name in _ERROR_WORDS)
    return next(filter(str.strip, found), "")


def text_of(value: Any) -> str:
    """Return a JSON value that is a text; of any other, nothing."""
    return value if isinstance(value, str) else ""
