"""Logs an outage once a minute, however many calls fail during it: a line for each would bury all others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

LINE_SECONDS: Final = 60.0  # between two lines of one outage; without a failure for so long, the next is a new outage


class _Outage(msgspec.Struct):
    started_at: float
    failed_at: float
    told_at: float
    left_out: int = 0


class OutageLog:
    """Logs each reason of failures when it first occurs, then once a minute while it lasts.

    Such a line says how many failures were left out before it (``repeated``), and how long the outage lasts
    (``for_seconds``). Metrics count the failures.

    Args:
        names: members that every line has, for example the store's place.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic, **names: str) -> None:
        self._logger = logger
        self._clock = clock
        self._names = names
        self._outages: dict[tuple[str, str], _Outage] = {}

    def failed(self, message: str, reason: str, *, level: int = logging.WARNING, **details: str) -> None:
        """Log a failure, unless a line of its outage was written within the last minute.

        Args:
            message: has one ``%s``, for the reason.
            reason: one of a few texts, because each is remembered.
            details: further members of the log line.
        """
        failure, now = (message, reason), self._clock()
        outage = self._outages.get(failure)
        if outage is None or now - outage.failed_at > LINE_SECONDS:
            outage = self._outages[failure] = _Outage(now, now, now)
            self._logger.log(level, message, reason, extra={**self._names, **details})
        elif now - outage.told_at >= LINE_SECONDS:
            lasts = {"repeated": outage.left_out, "for_seconds": round(now - outage.started_at)}
            outage.told_at, outage.left_out = now, 0
            self._logger.log(level, message, reason, extra={**self._names, **details, **lasts})
        else:
            outage.left_out += 1
        outage.failed_at = now
