"""One store, as one event loop uses it: two connections for calls, one for announcements, the watched sessions."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis.announcements import deliver
from relay.layers.redis.connection import Argument
from relay.layers.redis.failures import reason
from relay.layers.redis.feed import SessionFeed
from relay.layers.redis.foreign import ForeignMessages
from relay.layers.redis.group_commit import GroupCommit, ReplyHandler
from relay.layers.redis.keys import Keys
from relay.layers.redis.orders import Orders
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.subscriber import Subscriber
from relay.layers.redis.wire import Reply
from relay.layers.values import new_id
from relay.observability import metrics
from relay.observability.outage_log import OutageLog
from relay.protocol.frames import Frame
from relay.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

LINGER_SECONDS: Final = 5.0  # a watch outlives its last user for so long: a reload comes back, the next turn begins
_CHECKED: Final = "!"  # no session's name


class Store:
    """Calls scripts, and keeps the watches that announcements go to.

    Reads have a connection of their own, so that a long replay does not hold up a token.
    """

    def __init__(self, url: str, namespace: str, bounds: Bounds, scripts: Scripts) -> None:
        self.keys = Keys(namespace)
        self._bounds = bounds
        self._watches: dict[str, SessionFeed] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._probe = b""
        self._probe_arrived = asyncio.Event()
        self._foreign = ForeignMessages()
        limits = {"timeout_seconds": bounds.lease_seconds / 2, "patience_seconds": bounds.lease_seconds}
        outages = OutageLog(logger)
        self._writes = GroupCommit(url, scripts, outages, **limits)
        self._reads = GroupCommit(url, scripts, outages, **limits)
        self._subscriber = Subscriber(url, outages, on_message=self._on_message, on_line=self._on_line, **limits)
        self.orders = Orders(self.keys.orders, self._writes, self._subscriber, self._foreign)
        self._probe_channel = self.keys.of_session(f"{_CHECKED}{new_id()}").channel

    # Calls.

    def write(
        self, name: str, session_id: str, now: str, *arguments: Argument, call_id: str = ""
    ) -> asyncio.Future[Reply]:
        """Call a session's script. ``call_id`` names the call where the store must know its repetition by it."""
        keys = self.keys.of_session(session_id)
        if call_id:
            keys = keys.with_call(call_id)
        return self._writes.call(name, keys, (now, session_id, *arguments))

    def append(self, handler: ReplyHandler, session_id: str, now: str, *arguments: Argument) -> None:
        """Call ``append``, which needs few keys."""
        self._writes.begin(
            handler, "append", self.keys.of_session(session_id).for_append, (now, session_id, *arguments)
        )

    def read(self, name: str, session_id: str, now: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Call a session's script on the connection for reads."""
        return self._reads.call(name, self.keys.of_session(session_id), (now, session_id, *arguments))

    def call(self, name: str, keys: tuple[str, ...], *arguments: Argument) -> asyncio.Future[Reply]:
        """Call a script that is not about one session; ``keys`` are whole names."""
        return self._reads.call(name, keys, arguments)

    async def check(self) -> None:
        """Load a script, and run one with every kind of key and every command that turns need."""
        limits = (self.keys.name(kind, _CHECKED) for kind in "bmu")
        await asyncio.gather(
            self._writes.load("check"), self._writes.call("check", (*self.keys.of_session(_CHECKED), *limits), ())
        )

    async def check_announcements(self) -> None:
        """Announce something to ourselves, on the line of every session's announcements; return when it has come."""
        self._subscriber.add(self._probe_channel)
        try:
            await self._subscriber.confirmed(self._probe_channel)
            self._probe = new_id().encode()
            self._probe_arrived.clear()
            await self._writes.call("announce", (self._probe_channel,), (self._probe,))
            await self._probe_arrived.wait()
        finally:
            self._subscriber.remove(self._probe_channel)

    def trouble(self) -> str:
        """Say why the store does not serve at the moment; empty if nothing is known."""
        failure = self._writes.failure or self._subscriber.failure
        return "" if failure is None else reason(failure)

    # Watching.

    def watch(self, session_id: str) -> FeedHandle:
        """Follow a session's announcements: within the block none is missed, unless the line breaks.

        Raises:
            StoreUnavailable: (when entered) the store did not answer in time.
        """
        return FeedHandle(self, session_id)

    async def acquire(self, session_id: str) -> SessionFeed:
        """Do what ``watch`` does, until ``leave``."""
        watch = self._watches.get(session_id)
        if watch is None:
            watch = self._watches[session_id] = self._new_watch(session_id)
        channel = self.keys.of_session(session_id).channel
        watch.users += 1
        try:
            self._subscriber.add(channel)
            async with asyncio.timeout(self._bounds.lease_seconds):
                await self._subscriber.confirmed(channel)
        except BaseException as exc:
            self.release(watch)
            if isinstance(exc, TimeoutError):
                raise StoreUnavailable from exc
            raise
        return watch

    def release(self, watch: SessionFeed) -> None:
        """Follow no more. The watch is kept for a moment: who reloads a page is back at once."""
        watch.users -= 1
        if not watch.users:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._drop, watch)

    def watched(self, session_id: str) -> SessionFeed | None:
        """Give the watch of a session that somebody follows here, or did a moment ago."""
        return self._watches.get(session_id)

    def feed(self, session_id: str, epoch: bytes, after: int, frames: list[Frame]) -> None:
        """Give frames that the store has confirmed to those who watch here, without the way round."""
        watch = self._watches.get(session_id)
        if watch is not None and frames:
            watch.feed(epoch.decode(), after, frames)

    async def close(self) -> None:
        """Stop the tasks and close the connections."""
        await cancel_and_wait(*self._tasks)
        await self._subscriber.close()
        await self._writes.close()
        await self._reads.close()

    def start(self) -> None:
        """Compare with the store now and then, and see whether it takes writes, until ``close``."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._compare_for_ever(), name="compare with the store"),
                asyncio.create_task(self._check_writes_for_ever(), name="check the store's writes"),
            ]

    def _new_watch(self, session_id: str) -> SessionFeed:
        bounds = self._bounds
        return SessionFeed(session_id, self._foreign, max_frames=bounds.max_frames, max_bytes=bounds.max_bytes)

    def _drop(self, watch: SessionFeed) -> None:
        if not watch.users and self._watches.get(watch.session_id) is watch:
            del self._watches[watch.session_id]
            self._subscriber.remove(self.keys.of_session(watch.session_id).channel)

    # Announcements.

    def _on_message(self, channel: str, data: bytes) -> None:
        if channel == self.orders.channel:
            self.orders.hear(data)
            return
        watch = self._watches.get(self.keys.session_of(channel))
        if watch is None:
            if channel == self._probe_channel and data == self._probe:  # not an older one, come late
                self._probe_arrived.set()
            return
        try:
            deliver(data, watch)
        except Exception as exc:  # bytes that anybody may have published
            logger.debug("session %s: announcement unreadable: %s", watch.session_id, type(exc).__name__)
            self._foreign.report(f"session {watch.session_id}", "format")
            watch.lose_position()  # perhaps a newer version has announced something: the log knows

    def _on_line(self, is_up: bool) -> None:
        for watch in list(self._watches.values()):
            if is_up:
                watch.fail(None)
                watch.lose_position()
                watch.recheck_cancels()
            else:
                watch.fail(StoreUnavailable())

    # A store may answer every read and announce nothing, because it takes no writes.

    async def _check_writes_for_ever(self) -> None:
        """End every tail here once the store has taken no write for a lease, as if it were out of reach."""
        lease_seconds = self._bounds.lease_seconds
        taken_at = time.monotonic()
        while True:
            await asyncio.sleep(lease_seconds / 4 * random.uniform(0.75, 1))  # noqa: S311 - no secret
            asked_at = time.monotonic()
            if not any(watch.users for watch in self._watches.values()):
                taken_at = asked_at
                continue
            try:
                await self.check()
            except StoreUnavailable as exc:
                if time.monotonic() - taken_at >= lease_seconds:
                    taken_at = time.monotonic()
                    for watch in list(self._watches.values()):
                        watch.end(exc)
            else:
                taken_at = asked_at

    # An announcement may be lost without a trace: only the store knows.

    async def _compare_for_ever(self) -> None:
        interval_seconds = self._bounds.viewer_seconds / 3
        while True:
            await asyncio.sleep(interval_seconds * random.uniform(0.75, 1))  # noqa: S311 - no secret
            try:
                await self.compare()
            except StoreUnavailable:
                continue  # the subscriber notices too
            except Exception:
                logger.exception("comparison of watched sessions with the store failed")

    async def compare(self) -> None:
        """Compare each watched session's position with the store's, once for all its viewers."""
        asked = [(watch, watch.position) for watch in self._watches.values() if watch.users and watch.position]
        replies = await asyncio.gather(
            *(self._reads.call("position", (self.keys.of_session(watch.session_id).session,), ()) for watch, _ in asked)
        )
        for (watch, position), (epoch, newest) in zip(asked, replies, strict=True):
            if position is not watch.position or position is None:
                continue  # it has moved meanwhile: it is not deaf
            if epoch is None or (epoch.decode(), int(newest or 0)) != (position.epoch, position.offset):
                metrics.PUBSUB_GAPS.labels("comparison").inc()
                logger.info("session %s: announcement lost", watch.session_id)
                watch.lose_position()


class FeedHandle:
    """A session's watch in use. (A generator would hold 0.4 kB more for each open socket.)"""

    __slots__ = ("_session_id", "_store", "_watch")

    def __init__(self, store: Store, session_id: str) -> None:
        self._store = store
        self._session_id = session_id

    async def __aenter__(self) -> SessionFeed:
        self._watch = await self._store.acquire(self._session_id)
        return self._watch

    async def __aexit__(self, *_: object) -> None:
        self._store.release(self._watch)
