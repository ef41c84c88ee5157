"""Cursors: the last position of a log that a client has received, and the position that it resumes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["UNKNOWN", "Cursor"]

_EPOCH: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_OFFSET: Final = re.compile(r"[0-9]{1,15}")


class Cursor(msgspec.Struct, frozen=True):
    """A position in a log. Offsets compare only within one epoch."""

    epoch: str
    offset: int


UNKNOWN: Final = Cursor("", 0)  # in no log, because no epoch is empty: reading after it reports a gap


class Resume(msgspec.Struct, frozen=True):
    """The position that a ``gateway.v1`` client resumes from.

    ``recovered``: ``None`` without a cursor, else whether every frame after it is still there.
    """

    after: Cursor
    recovered: bool | None


def is_epoch(text: str) -> bool:
    """Does the text have an epoch's form?"""
    return _EPOCH.fullmatch(text) is not None


def parse_offset(text: str) -> int | None:
    """Return the offset that a text states; ``None``: it states none."""
    return int(text) if _OFFSET.fullmatch(text) else None


def query_cursor(query: Mapping[str, str]) -> tuple[str, str]:
    """Return the cursor's two parameters of a query."""
    return query.get("epoch", ""), query.get("offset", "")
