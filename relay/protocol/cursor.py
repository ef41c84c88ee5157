"""Cursors: the last position of a log that a client has received, and the position to resume from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

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


def resume(epoch: str, offset: str, *, log_epoch: str, oldest: int, newest: int, live_after: int) -> Resume:
    """Read a client's cursor against its session's log.

    Args:
        epoch, offset: the query's parameters, unparsed; empty counts as absent.
        log_epoch: the log's epoch.
        oldest, newest: offsets of the first and the last kept frame; ``newest`` = ``oldest`` − 1 if none is kept.
        live_after: where a client without a cursor starts: before the turn in flight, else ``newest``.
    """
    if not epoch and not offset:
        return Resume(Cursor(log_epoch, live_after), None)
    if not _OFFSET.fullmatch(offset):
        return Resume(UNKNOWN, False)
    position = int(offset)
    if not epoch:
        return Resume(Cursor(log_epoch, oldest - 1), True) if position == 0 else Resume(UNKNOWN, False)
    if not _EPOCH.fullmatch(epoch) or (epoch == log_epoch and position > newest):
        return Resume(UNKNOWN, False)  # stays a gap even if the log reaches that offset before it is read
    recovered = epoch == log_epoch and oldest - 1 <= position
    return Resume(Cursor(epoch, position), recovered)


def query_cursor(query: Mapping[str, str]) -> tuple[str, str]:
    """Return the cursor's two parameters of a query."""
    return query.get("epoch", ""), query.get("offset", "")
