"""Logs an outage once, however many calls fail during it: a line every few seconds would bury all others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

QUIET_SECONDS: Final = 60.0  # without a failure: the next one is a new outage


class OutageLog:
    """Logs each reason of failures when it first occurs, and again once it has been absent for ``QUIET_SECONDS``.

    Metrics count the failures.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._failed_at: dict[tuple[str, str], float] = {}

    def failed(self, message: str, reason: str, *, level: int = logging.WARNING, **details: str) -> None:
        """Log a failure, unless it belongs to an outage that was logged.

        Args:
            message: has one ``%s``, for the reason.
            reason: one of a few texts, because each is remembered.
            details: further members of the log line.
        """
        failure, now = (message, reason), self._clock()
        if now - self._failed_at.get(failure, float("-inf")) > QUIET_SECONDS:
            self._logger.log(level, message, reason, extra=details)
        self._failed_at[failure] = now
