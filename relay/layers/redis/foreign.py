"""Counts messages on this deployment's channels that others published, and logs some."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

from relay.observability import metrics

logger = logging.getLogger(__name__)

REPORT_SECONDS: Final = 60.0  # between two log lines: a foreign deployment may publish for each of its tokens


class ForeignMessages:
    """Counts all of them, and logs one a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent_until = float("-inf")

    def report(self, about: str, found_by: Literal["epoch", "format"]) -> None:
        """Count a message that was not handed on, and perhaps log it.

        Args:
            about: names its channel, for the log.
            found_by: its ``epoch`` is not that of the session's log, or its ``format`` is unknown.
        """
        metrics.FOREIGN.labels(found_by).inc()
        if self._clock() < self._silent_until:
            return
        self._silent_until = self._clock() + REPORT_SECONDS
        logger.warning(
            "%s: foreign message ignored (found by its %s). Does another deployment use the same"
            " GATEWAY__REDIS_PREFIX and database number?",
            about,
            found_by,
        )
