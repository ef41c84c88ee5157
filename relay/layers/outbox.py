"""The contract of an outbox; its bound, the same for every backend, and the report of what had no room in it."""

from __future__ import annotations

import abc
import logging
from collections.abc import Collection
from typing import Final

from relay.layers.values import Notification
from relay.observability import metrics
from relay.observability.outage_log import OutageLog

logger = logging.getLogger(__name__)

MAX_NOTIFICATIONS: Final = 10_000  # in all: a turn a second for nearly three hours, while the receiver is down

outages: Final = OutageLog(logger)


def report_full() -> None:
    """Count and log a notification that had no room."""
    metrics.WEBHOOKS.labels("dropped").inc()
    outages.failed("webhook dropped: %s", "the outbox is full")


class Outbox(abc.ABC):
    """Notifications of ended turns, each kept until a worker that has sent it removes it.

    ``SessionLayer.finish`` and ``reset`` put them there. Their number is limited: a notification without room is
    counted and logged, and the turn ends nevertheless. ``SessionLayer.delete`` erases those of the session.
    """

    @abc.abstractmethod
    async def take(
        self,
        limit: int,
        lease_seconds: float,
        ahead_seconds: float = 0,
        session_ids: Collection[str] | None = None,
    ) -> list[Notification]:
        """Take at most ``limit`` notifications that are due, starting with the one that has waited longest.

        Each is due again after ``lease_seconds``, so one whose worker dies goes to another; it may then be sent twice.

        Args:
            ahead_seconds: also take those that will be due within this time.
            session_ids: look only where those of these sessions are, which may cost less; others may be among them.
        """

    @abc.abstractmethod
    async def remove(self, notification: Notification) -> None:
        """Remove a notification."""

    @abc.abstractmethod
    async def postpone(self, notification: Notification, seconds: float) -> None:
        """Make a notification due after ``seconds``; one that was removed stays removed."""
