"""``Outbox`` in memory: it ends with its process."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from relay.layers.outbox import MAX_NOTIFICATIONS, Outbox, report_full
from relay.layers.values import NewNotification, Notification


class _Entry(msgspec.Struct):
    session_id: str
    text: str
    ended_at: float
    due_at: float


class MemoryOutbox(Outbox):
    """The outbox of one process. Each ``take`` looks at all its entries: few, unless the receiver is down."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: Final[dict[str, _Entry]] = {}

    def put(self, turn_id: str, session_id: str, notification: NewNotification, *, is_cancelled: bool) -> None:
        """Keep the notification of a turn that has ended."""
        text = notification.cancelled_text if is_cancelled else notification.text
        if not text:
            return
        if len(self._entries) >= MAX_NOTIFICATIONS:
            report_full()
            return
        self._entries[turn_id] = _Entry(session_id, text, self._clock(), self._clock())

    def erase(self, session_id: str) -> None:
        """Take out all of a session that is deleted."""
        for turn_id in [turn_id for turn_id, entry in self._entries.items() if entry.session_id == session_id]:
            del self._entries[turn_id]

    async def take(
        self,
        limit: int,
        lease_seconds: float,
        ahead_seconds: float = 0,
        session_ids: Collection[str] | None = None,
    ) -> list[Notification]:
        if not self._entries:
            return []
        now = self._clock()
        until = now + ahead_seconds
        due = ((entry.due_at, turn_id) for turn_id, entry in self._entries.items() if entry.due_at <= until)
        taken = []
        for _, turn_id in heapq.nsmallest(limit, due):
            entry = self._entries[turn_id]
            entry.due_at = now + lease_seconds
            taken.append(Notification(turn_id, entry.session_id, entry.text, now - entry.ended_at))
        return taken

    async def remove(self, notification: Notification) -> None:
        self._entries.pop(notification.turn_id, None)

    async def postpone(self, notification: Notification, seconds: float) -> None:
        entry = self._entries.get(notification.turn_id)
        if entry is not None:
            entry.due_at = self._clock() + seconds
