"""The bound of an outbox, the same for every backend, and the report of what had no room in it."""

from __future__ import annotations

import logging
from typing import Final

from relay.observability import metrics
from relay.observability.outage_log import OutageLog

logger = logging.getLogger(__name__)

MAX_NOTIFICATIONS: Final = 10_000  # in all: a turn a second for nearly three hours, while the receiver is down

outages: Final = OutageLog(logger)


def report_full() -> None:
    """Count and log a notification that had no room."""
    metrics.WEBHOOKS.labels("dropped").inc()
    outages.failed("webhook dropped: %s", "the outbox is full")
