"""The session layer of many processes and machines: sessions in one or several Redis or Valkey stores.

Each call is one script, and may be repeated: after an outage the group commit repeats calls that got no reply.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from relay.exceptions import StoreUnavailable
from relay.layers.base import Order, SessionLayer
from relay.layers.bounds import Bounds, configured_bounds
from relay.layers.live import FrameSink
from relay.layers.redis.channels import RedisChannels
from relay.layers.redis.frames import decode_all
from relay.layers.redis.limits import RedisLimits
from relay.layers.redis.outbox import RedisOutbox
from relay.layers.redis.replies import accept
from relay.layers.redis.store import Store
from relay.layers.redis.stores import Stores
from relay.layers.redis.turns import RedisTurns
from relay.layers.redis.values import gap, state, subject_text
from relay.layers.values import Accepted, CancelAck, NewNotification, NewTurn, SessionState, Turn, new_epoch, new_id
from relay.observability.outage_log import OutageLog
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

ORDERS: Final = "!orders"  # no session's name: chooses the store that carries the orders
PREFIX: Final = "relay"
CHECK_SECONDS: Final = 0.8  # a Kubernetes probe waits for one second


class RedisSessionLayer(SessionLayer):
    """Sessions in Redis.

    Args:
        urls: ``redis://``, ``rediss://`` or ``unix://`` addresses; sessions are spread over them.
        prefix: of every key and channel; deployments that share a store need different ones, or different databases.
        clock: in place of the stores' own time; for tests.
        channels: keywords of the pub/sub layer of ``channels_redis``.
    """

    extensions = SessionLayer.extensions
    survives_process = True

    def __init__(
        self,
        urls: Sequence[str],
        bounds: Bounds | None = None,
        *,
        prefix: str = PREFIX,
        clock: Callable[[], float] | None = None,
        **channels: Any,
    ) -> None:
        super().__init__(RedisChannels(urls, prefix, **channels))
        self.bounds = bounds or configured_bounds()
        self._outages = OutageLog(logger)
        self._stores = Stores(urls, prefix, self.bounds, clock)
        self._turns = RedisTurns(self._stores)
        self.limits = RedisLimits(self._stores)
        self.outbox = RedisOutbox(self._stores)

    # Turns.

    def enqueue(self, session_id: str, new_turn: NewTurn) -> Coroutine[Any, Any, Accepted]:
        return self._turns.enqueue(session_id, new_turn)

    def claim(self, session_id: str, claim_id: str) -> Coroutine[Any, Any, Turn | None]:
        return self._turns.claim(session_id, claim_id)

    def append(self, turn: Turn, frames: list[Frame]) -> Coroutine[Any, Any, int]:
        return self._turns.append(turn, frames)

    def append_nowait(self, turn: Turn, frames: list[Frame], stored: Callable[[], None]) -> bool:
        return self._turns.append_nowait(turn, frames, stored)

    def wait_appended(self, turn: Turn) -> Coroutine[Any, Any, None]:
        return self._turns.wait_appended(turn)

    def finish(
        self, turn: Turn, terminal: Frame, notification: NewNotification | None = None
    ) -> Coroutine[Any, Any, Frame]:
        return self._turns.finish(turn, terminal, notification)

    def renew(self, turn: Turn) -> Coroutine[Any, Any, None]:
        return self._turns.renew(turn)

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
        reply = accept(await self._store(session_id).read("read", session_id, self._now(), new_epoch(), *position))
        if reply[0] is not None:
            raise gap(reply)
        return decode_all(reply[1], after.offset)

    async def tail(
        self, session_id: str, after: Cursor, sink: FrameSink | None = None, subject: str | None = None
    ) -> AsyncGenerator[list[Frame], None]:
        async with (
            self._store(session_id).open_feed(session_id) as feed,
            aclosing(feed.tail(after, partial(self.read, session_id, subject=subject), sink, subject)) as batches,
        ):
            async for batch in batches:
                yield batch

    # Sessions.

    async def attach(self, session_id: str, viewer: str, subject: str | None = None) -> int:
        reply = await self._store(session_id).write(
            "attach", session_id, self._now(), new_epoch(), viewer, subject_text(subject)
        )
        viewers: int = accept(reply)
        return viewers

    async def detach(self, session_id: str, viewer: str) -> int:
        left: int = await self._store(session_id).write("detach", session_id, self._now(), viewer)
        return left

    async def ensure(self, session_id: str, subject: str | None = None) -> SessionState:
        reply = await self._store(session_id).read(
            "state", session_id, self._now(), new_epoch(), 1, subject_text(subject)
        )
        return state(session_id, accept(reply))

    async def get(self, session_id: str, subject: str | None = None) -> SessionState | None:
        reply = await self._store(session_id).read("state", session_id, self._now(), "", 0, subject_text(subject))
        return None if reply is None else state(session_id, accept(reply))

    async def active(self, cursor: str, limit: int) -> tuple[list[SessionState], str]:
        found: list[SessionState] = []
        while True:
            pages = await asyncio.gather(
                *(store.call("page", (store.keys.all,), cursor, limit + 1) for store in self._stores.all())
            )
            names = [name.decode() for name in heapq.nsmallest(limit + 1, (name for page in pages for name in page))]
            wanted = names[: limit - len(found)]
            states = await asyncio.gather(*map(self.get, wanted))
            found += [state for state in states if state is not None and not state.is_empty]
            if len(wanted) == len(names):
                return found, ""
            cursor = wanted[-1]
            if len(found) == limit:
                return found, cursor

    async def delete(self, session_id: str) -> bool:
        store = self._store(session_id)
        outbox = store.keys.outbox
        existed = bool(await store.write("delete", session_id, self._now(), call_id=new_id(), further_keys=outbox))
        feed = store.watched(session_id)
        if feed is not None:
            feed.lose_position()  # its frames are gone before the announcement says so
        return existed

    async def pending(self, limit: int) -> list[str]:
        stores = self._stores.all()
        pages = await asyncio.gather(
            *(self._pending(store, limit) for store in stores), return_exceptions=len(stores) > 1
        )
        names: list[str] = []
        for store, page in zip(stores, pages, strict=True):
            if isinstance(page, BaseException):
                if not isinstance(page, StoreUnavailable):
                    raise page
                reason = page.reason or "it does not answer"
                self._outages.failed("waiting sessions of a store not listed: %s", reason, store=store.place)
            else:
                names += [name.decode() for name in page]
        return names[:limit]

    async def _pending(self, store: Store, limit: int) -> list[bytes]:
        """Ask one store, for a limited time: it must not delay the sessions of the others."""
        try:
            async with asyncio.timeout(self.bounds.lease_seconds / 4):
                names: list[bytes] = await store.call("pending", (store.keys.work,), self._now(), limit)
        except TimeoutError as exc:
            raise StoreUnavailable from exc
        return names

    # Orders.

    async def publish_order(self, order: Order) -> None:
        await self._stores.of(ORDERS).orders.publish(order)

    async def listen_for_orders(self, follow: Callable[[Order], None]) -> None:
        await self._stores.of(ORDERS).orders.listen(follow)

    # Life.

    async def flush(self) -> None:
        await self._channels.flush()
        cursor = ""
        while True:
            page, cursor = await self.active(cursor, 100)
            for session in page:
                await self.delete(session.session_id)
            if not cursor:
                break
        for store in self._stores.all():
            for name in await store.call(
                "pending", (store.keys.empties,), "1e18", -1
            ):  # empty sessions, whatever their age
                await self.delete(name.decode())

    async def start(self) -> None:
        for store in self._stores.all():
            store.start()

    async def check(self) -> None:
        await self._check(Store.check)

    async def check_announcements(self) -> None:
        await self._check(Store.check_announcements)

    async def _check(self, check: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        """Check each store; the error says why one does not answer, if that is known."""
        stores = self._stores.all()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await asyncio.gather(*map(check, stores))
        except TimeoutError as exc:
            raise StoreUnavailable(next(filter(None, (store.trouble() for store in stores)), "")) from exc

    async def close(self) -> None:
        await self._stores.close()
        await self._channels.close()

    def _store(self, session_id: str) -> Store:
        return self._stores.of(session_id)

    def _now(self) -> str:
        return self._stores.now()
