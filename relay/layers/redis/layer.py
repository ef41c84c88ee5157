"""The session layer of many processes and machines: sessions in a Redis or Valkey store.

Each call is one script, and may be repeated: after an outage the group commit repeats calls that got no reply.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from relay.conf import conf
from relay.exceptions import StoreUnavailable
from relay.layers.base import Order, SessionLayer
from relay.layers.bounds import Bounds, configured_bounds
from relay.layers.live import FrameSink
from relay.layers.redis.channels import RedisChannels
from relay.layers.redis.frames import decode_all
from relay.layers.redis.keys import Bucket
from relay.layers.redis.limits import RedisLimits
from relay.layers.redis.listing import Listing
from relay.layers.redis.outbox import RedisOutbox
from relay.layers.redis.presence import KeptViewers
from relay.layers.redis.replies import accept
from relay.layers.redis.rounds import a_few, visit, visit_nodes
from relay.layers.redis.store import Store
from relay.layers.redis.stores import Stores
from relay.layers.redis.turns import RedisTurns
from relay.layers.redis.values import gap, state, subject_text
from relay.layers.redis.wire import Reply
from relay.layers.values import (
    Accepted,
    AgentPosition,
    CancelAck,
    NewNotification,
    NewTurn,
    SessionPage,
    SessionState,
    Turn,
    Viewer,
    new_epoch,
    new_id,
)
from relay.observability.outage_log import OutageLog
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame
from relay.tasks import FairTimeout

logger = logging.getLogger(__name__)

PREFIX: Final = "relay"
CHECK_SECONDS: Final = 0.8  # a Kubernetes probe waits for one second


class RedisSessionLayer(SessionLayer):
    """Sessions in Redis.

    Args:
        url: of a server, of sentinels or of a cluster, in the forms of ``REDIS_URL``. That of the settings, with their
            prefix, if it is not given.
        prefix: of every key and channel; deployments that share a store need different ones, or different databases.
        clock: in place of the store's own time; for tests.
        channels: keywords of the pub/sub layer of ``channels_redis``.
    """

    extensions = SessionLayer.extensions
    survives_process = True

    def __init__(
        self,
        url: str | None = None,
        bounds: Bounds | None = None,
        *,
        prefix: str | None = None,
        clock: Callable[[], float] | None = None,
        **channels: Any,
    ) -> None:
        if url is None:
            url, prefix = _configured_url(), prefix or conf.redis_prefix
        prefix = prefix or PREFIX
        if not set(prefix).isdisjoint("{}:"):
            raise ImproperlyConfigured("The prefix of RedisSessionLayer holds no braces and no colons")
        super().__init__(RedisChannels(url, prefix, **channels))
        self.bounds = bounds or configured_bounds()
        self._outages = OutageLog(logger)
        self._stores = Stores(url, prefix, self.bounds, clock)
        self.limits = RedisLimits(self._stores)
        self.outbox = RedisOutbox(self._stores)
        self._turns = RedisTurns(self._stores, self.outbox)

    # Turns.

    def enqueue(self, session_id: str, new_turn: NewTurn) -> Coroutine[Any, Any, Accepted]:
        return self._turns.enqueue(session_id, new_turn)

    def claim(self, session_id: str, claim_id: str) -> Coroutine[Any, Any, Turn | None]:
        return self._turns.claim(session_id, claim_id)

    def append(
        self, turn: Turn, frames: list[Frame], position: AgentPosition | None = None
    ) -> Coroutine[Any, Any, int]:
        return self._turns.append(turn, frames, position)

    def append_nowait(
        self, turn: Turn, frames: list[Frame], stored: Callable[[], None], position: AgentPosition | None = None
    ) -> bool:
        return self._turns.append_nowait(turn, frames, stored, position)

    def wait_appended(self, turn: Turn) -> Coroutine[Any, Any, None]:
        return self._turns.wait_appended(turn)

    def finish(
        self, turn: Turn, terminal: Frame, notification: NewNotification | None = None
    ) -> Coroutine[Any, Any, Frame]:
        return self._turns.finish(turn, terminal, notification)

    def renew(self, turn: Turn) -> Coroutine[Any, Any, None]:
        return self._turns.renew(turn)

    def release(self, turn: Turn) -> Coroutine[Any, Any, None]:
        return self._turns.release(turn)

    def wait_cancelled(self, turn: Turn) -> Coroutine[Any, Any, None]:
        return self._turns.wait_cancelled(turn)

    def cancel(
        self, session_id: str, turn_id: str | None = None, subject: str | None = None
    ) -> Coroutine[Any, Any, CancelAck]:
        return self._turns.cancel(session_id, turn_id, subject)

    def cancel_unwatched(self, session_id: str) -> Coroutine[Any, Any, int]:
        return self._turns.cancel_unwatched(session_id)

    def reset(self, turn: Turn, text: str, notification: NewNotification | None = None) -> Coroutine[Any, Any, Frame]:
        return self._turns.reset(turn, text, notification)

    def clear_queue(self, session_id: str) -> Coroutine[Any, Any, int]:
        return self._turns.clear_queue(session_id)

    # The log.

    async def read(self, session_id: str, after: Cursor, limit: int, subject: str | None = None) -> list[Frame]:
        position = (after.epoch, str(after.offset), limit, subject_text(subject))
        reply = accept(await self._store.read("read", session_id, self._now(), new_epoch(), *position))
        if reply[0] is not None:
            raise gap(reply)
        return decode_all(reply[1], after.offset)

    async def tail(
        self, session_id: str, after: Cursor, sink: FrameSink | None = None, subject: str | None = None
    ) -> AsyncGenerator[list[Frame], None]:
        async with (
            self._store.open_feed(session_id) as feed,
            aclosing(feed.tail(after, partial(self.read, session_id, subject=subject), sink, subject)) as batches,
        ):
            async for batch in batches:
                yield batch

    # Sessions.

    async def attach(self, session_id: str, viewer: str, subject: str | None = None) -> int:
        reply = await self._store.write("attach", session_id, self._now(), new_epoch(), viewer, subject_text(subject))
        viewers: int = accept(reply)
        return viewers

    async def keep_attached(self, viewers: Sequence[Viewer], answer: Callable[[int, Cursor | None], None]) -> None:
        await KeptViewers(self._store, viewers, answer).wait(self._now())

    async def detach(self, session_id: str, viewer: str) -> int:
        left: int = await self._store.write("detach", session_id, self._now(), viewer)
        return left

    async def ensure(self, session_id: str, subject: str | None = None) -> SessionState:
        reply = await self._store.read("state", session_id, self._now(), new_epoch(), 1, subject_text(subject))
        return state(session_id, accept(reply))

    async def get(self, session_id: str, subject: str | None = None) -> SessionState | None:
        reply = await self._store.read("state", session_id, self._now(), "", 0, subject_text(subject))
        return None if reply is None else state(session_id, accept(reply))

    async def active(self, cursor: str, limit: int) -> tuple[list[SessionState], str]:
        page = await self._listing(is_patient=True).page(cursor, limit)
        return page.sessions, page.cursor

    async def page(self, cursor: str, limit: int) -> SessionPage:
        return await self._listing().page(cursor, limit)

    async def busiest(self, limit: int) -> SessionPage:
        return await self._listing().busiest(limit)

    def _listing(self, *, is_patient: bool = False) -> Listing:
        return Listing(self._store, self.get, self._now(), is_patient=is_patient)

    async def delete(self, session_id: str) -> bool:
        store = self._store
        existed = bool(await store.write("delete", session_id, self._now(), call_id=new_id(), with_outbox=True))
        feed = store.watched(session_id)
        if feed is not None:
            feed.lose_position()  # its frames are gone before the announcement says so
        return existed

    async def pending(self, limit: int) -> list[str]:
        store = self._store
        seconds = self.bounds.lease_seconds / 4
        pages, failures = await visit_nodes(store.buckets_by_node(), seconds, partial(self._pending, store, limit))
        for place, failure in failures.items():
            if not pages:
                raise failure
            self._outages.failed("waiting sessions of a store not listed: %s", failure.reason, store=place)
        return [name.decode() for page in pages for name in page][:limit]

    async def _pending(self, store: Store, limit: int, buckets: Sequence[Bucket]) -> AsyncIterator[list[bytes]]:
        """Ask one node, from a bucket on that is chosen at random: workers that sweep at once find different ones."""
        first = random.randrange(len(buckets))  # noqa: S311 - no secret
        found = 0

        def call(bucket: Bucket) -> Awaitable[Reply]:
            return store.call("pending", bucket.work, self._now(), limit - found)

        for few in a_few([*buckets[first:], *buckets[:first]]):
            names = [name for _, page in await visit(few, call) for name in page]
            yield names
            found += len(names)
            if found >= limit:
                break

    # Orders.

    async def publish_order(self, order: Order) -> None:
        await self._store.orders.publish(order)

    async def listen_for_orders(self, follow: Callable[[Order], None]) -> None:
        await self._store.orders.listen(follow)

    # Life.

    async def flush(self) -> None:
        await self._channels.flush()
        store = self._store
        started = await visit(store.keys.buckets, lambda bucket: store.call("page", bucket.all, "", -1))
        empty = await visit(  # whatever their age
            store.keys.buckets, lambda bucket: store.call("pending", bucket.empties, "1e18", -1)
        )
        for _, names in [*started, *empty]:
            for name in names:
                await self.delete(name.decode())

    async def start(self) -> None:
        self._store.start()

    async def check(self) -> None:
        await self._check(Store.check)

    async def check_announcements(self) -> None:
        await self._check(Store.check_announcements)

    async def _check(self, check: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        """Check the store; the error says why it does not answer, if that is known."""
        store = self._store
        try:
            async with FairTimeout(CHECK_SECONDS):
                await check(store)
        except TimeoutError as exc:
            raise StoreUnavailable(store.trouble()) from exc

    async def close(self) -> None:
        await self._stores.close()
        await self._channels.close()

    @property
    def _store(self) -> Store:
        return self._stores.current()

    def _now(self) -> str:
        return self._stores.now()


def _configured_url() -> str:
    if not conf.redis_url:
        raise ImproperlyConfigured("RedisSessionLayer needs GATEWAY__REDIS_URL, or url in its CONFIG")
    return conf.redis_url
