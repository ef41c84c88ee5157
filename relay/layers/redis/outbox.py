"""``Outbox`` in Redis: each bucket keeps the notifications of its sessions."""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from typing import Final

from relay.layers.outbox import MAX_NOTIFICATIONS, Outbox
from relay.layers.redis.connection import Argument
from relay.layers.redis.keys import Bucket
from relay.layers.redis.rounds import visit_nodes, visits
from relay.layers.redis.store import Store
from relay.layers.redis.stores import Stores
from relay.layers.redis.wire import Reply
from relay.layers.values import NewNotification, Notification
from relay.observability.outage_log import OutageLog

logger = logging.getLogger(__name__)

TAKE_SECONDS: Final = 2.0  # for one node; the notifications of the others continue


class RedisOutbox(Outbox):
    """The outbox of all sessions, shared by all processes."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._outages = OutageLog(logger)
        self._kept = 0  # at the last look at all of them

    async def take(
        self,
        limit: int,
        lease_seconds: float,
        ahead_seconds: float = 0,
        session_ids: Collection[str] | None = None,
    ) -> list[Notification]:
        store, ahead = self._stores.current(), repr(ahead_seconds)
        buckets = None if session_ids is None else {store.keys.bucket(session_id) for session_id in session_ids}
        found = await self._ask(store, buckets, lambda bucket: ("outbox_due", limit, ahead))
        if buckets is None:
            self._kept = sum(kept for _, (kept, _) in found)
        moments = ((float(moment), bucket) for bucket, (_, due) in found for moment in due)
        first: dict[Bucket, list[float]] = defaultdict(list)
        for moment, bucket in heapq.nsmallest(limit, moments, key=itemgetter(0)):
            first[bucket].append(moment)
        lease = repr(lease_seconds)
        taken = await self._ask(store, first, lambda bucket: ("outbox_take", len(first[bucket]), lease, ahead))
        timed = [pair for bucket, parts in taken for pair in zip(first[bucket], _notifications(parts), strict=False)]
        return [notification for _, notification in sorted(timed, key=itemgetter(0))]

    def arguments(self, notification: NewNotification) -> tuple[Argument, ...]:
        """Return what a script that ends a turn needs to fill the outbox, behind its other arguments.

        The script knows how many its own bucket keeps, and the last look, a moment ago, how many all of them.
        """
        most = MAX_NOTIFICATIONS if self._kept < MAX_NOTIFICATIONS else 0
        return notification.text, notification.cancelled_text, int(notification.if_unwatched), most

    async def remove(self, notification: Notification) -> None:
        store = self._stores.current()
        await store.call("outbox_remove", store.keys.bucket(notification.session_id).outbox, _name(notification))

    async def postpone(self, notification: Notification, seconds: float) -> None:
        store = self._stores.current()
        arguments = (self._stores.now(), _name(notification), repr(seconds))
        await store.call("outbox_postpone", store.keys.bucket(notification.session_id).outbox, *arguments)

    async def _ask(
        self, store: Store, buckets: Collection[Bucket] | None, asked: Callable[[Bucket], tuple[Argument, ...]]
    ) -> list[tuple[Bucket, Reply]]:
        """Call a script of the outbox in these buckets, or all; a node that does not answer in time is left out."""

        async def call(bucket: Bucket) -> Reply:
            name, *arguments = asked(bucket)
            return await store.call(str(name), bucket.outbox, self._stores.now(), *arguments)

        nodes = store.buckets_by_node()
        if buckets is not None:
            nodes = {node: [bucket for bucket in served if bucket in buckets] for node, served in nodes.items()}
        pages, failures = await visit_nodes(nodes, TAKE_SECONDS, lambda served: visits(served, call))
        for place, failure in failures.items():
            self._outages.failed("webhooks wait for the store: %s", failure.reason, store=place)
        return [answer for page in pages for answer in page]


def _notifications(parts: list[bytes]) -> Iterator[Notification]:
    """Read the reply of ``outbox_take.lua``."""
    texts = [part.decode() for part in parts]
    for turn_id, age, session_id, text in zip(*(texts[i::4] for i in range(4)), strict=True):
        yield Notification(turn_id, session_id, text, max(float(age), 0.0))


def _name(notification: Notification) -> str:
    """Name a notification as ``end_turn`` does in ``lua/prelude_session.lua``."""
    return f"{notification.session_id}\n{notification.turn_id}"
