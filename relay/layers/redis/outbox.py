"""``Outbox`` in Redis: each store keeps the notifications of its sessions."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from relay.exceptions import StoreUnavailable
from relay.layers.base import Outbox
from relay.layers.outbox import MAX_NOTIFICATIONS
from relay.layers.redis.connection import Argument
from relay.layers.redis.store import Store
from relay.layers.redis.stores import Stores
from relay.layers.values import NewNotification, Notification
from relay.observability.outage_log import OutageLog

logger = logging.getLogger(__name__)

TAKE_SECONDS: Final = 2.0  # for one store; the notifications of the others go on


class RedisOutbox(Outbox):
    """The outbox of all stores, shared by all processes."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._outages = OutageLog(logger)

    async def take(self, limit: int, lease_seconds: float, ahead_seconds: float = 0) -> list[Notification]:
        limits = (limit, repr(lease_seconds), repr(ahead_seconds))
        pages = await asyncio.gather(*(self._take(store, *limits) for store in self._stores.all()))
        return [notification for page in pages for notification in page]

    async def remove(self, notification: Notification) -> None:
        store = self._stores.of(notification.session_id)
        await store.call("outbox_remove", store.keys.outbox, _name(notification))

    async def postpone(self, notification: Notification, seconds: float) -> None:
        store = self._stores.of(notification.session_id)
        arguments = (self._stores.now(), _name(notification), repr(seconds))
        await store.call("outbox_postpone", store.keys.outbox, *arguments)

    async def _take(self, store: Store, *limits: Argument) -> list[Notification]:
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                parts = await store.call("outbox_take", store.keys.outbox, self._stores.now(), *limits)
        except (StoreUnavailable, TimeoutError) as exc:
            reason = getattr(exc, "reason", "") or "it does not answer"
            self._outages.failed("webhooks wait for the store: %s", reason, store=store.place)
            return []
        texts = [part.decode() for part in parts]
        return [
            Notification(turn_id, session_id, text, max(float(age), 0.0))
            for turn_id, age, session_id, text in zip(*(texts[i::4] for i in range(4)), strict=True)
        ]


def _name(notification: Notification) -> str:
    """Name a notification as ``end_turn`` does in ``lua/prelude_session.lua``."""
    return f"{notification.session_id}\n{notification.turn_id}"


def outbox_arguments(notification: NewNotification) -> tuple[Argument, ...]:
    """Return what a script that ends a turn needs to fill the outbox, behind its other arguments."""
    unwatched = int(notification.if_unwatched)
    return notification.text, notification.cancelled_text, unwatched, MAX_NOTIFICATIONS
