"""Settings given as Python's values, written as the texts that the environment would hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import PurePath
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | timedelta | PurePath
SettingValue: TypeAlias = Scalar | Iterable[Scalar] | Mapping[str, str] | None


def as_text(value: SettingValue, separator: str) -> str | None:
    """Write a setting's value as text; ``None`` (unset) stays.

    Args:
        value: a number, a truth value, a duration (in seconds), a path; or several of them, or a mapping of headers.
        separator: of several values.

    Raises:
        ValueError: there is not text for it, or one of several values contains the separator.
    """
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float() | PurePath():
            return str(value)
        case timedelta():
            return str(value.total_seconds())
        case Mapping():
            return _joined((f"{name}: {each}" for name, each in value.items()), separator)
        case list() | tuple() | set() | frozenset():
            return _joined((as_text(each, separator) for each in value), separator)
    raise ValueError


def _joined(texts: Iterable[str | None], separator: str) -> str:
    """Join texts that stay apart: with the separator inside, one key would be read as two."""
    known = [text for text in texts if text is not None]
    if any(mark in text for text in known for mark in (separator, "\r", "\n")):
        raise ValueError
    return separator.join(known)
