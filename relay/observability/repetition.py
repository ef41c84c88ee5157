"""Keeps one warning that comes again and again from burying all others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from relay.observability import metrics

BURST: Final = 10  # lines of one event in a window
WINDOW_SECONDS: Final = 60.0
MAX_EVENTS: Final = 1_000  # other packages may put values into their events
# Each of these is the record of something of its own.
RECORDS: Final = frozenset({"turn ended: %s"})


class _Seen(msgspec.Struct):
    """One event in its window: how often it was written, and how often left out."""

    started_at: float
    written: int = 0
    left_out: int = 0


class RepetitionFilter(logging.Filter):
    """Lets ``BURST`` warnings of one event through in a window.

    Those that are left out are counted, and the first line of the next window tells their number (``repeated``).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, int, str], _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Is the line to be written?"""
        if record.levelno < logging.WARNING or record.msg in RECORDS:
            return True
        event, now = (record.name, record.levelno, str(record.msg)), self._clock()
        seen = self._seen.get(event)
        if seen is None or now - seen.started_at >= WINDOW_SECONDS:
            if seen is not None and seen.left_out:
                record.repeated = seen.left_out
            seen = self._start(event, now)
        if seen.written < BURST:
            seen.written += 1
            return True
        seen.left_out += 1
        metrics.LOG_LINES_REPEATED.inc()
        return False

    def _start(self, event: tuple[str, int, str], now: float) -> _Seen:
        self._seen.pop(event, None)
        while len(self._seen) >= MAX_EVENTS:
            del self._seen[next(iter(self._seen))]  # the one whose window started first
        self._seen[event] = _Seen(now)
        return self._seen[event]
