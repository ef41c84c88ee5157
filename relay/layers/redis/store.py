"""One store, as one event loop uses it: two connections for calls, one for announcements, the watched sessions."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

from relay.addresses.place import place
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
from relay.layers.values import new_id, question_body
from relay.observability import metrics
from relay.observability.outage_log import OutageLog
from relay.protocol.frames import CallFrame, Frame
from relay.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

LINGER_SECONDS: Final = 5.0  # a feed outlives its last user for so long: a page is reloaded, the next turn starts
_CHECKED: Final = "!"  # no session's name


class Store:
    """Calls scripts, and keeps the feeds that announcements go to.

    Reads have a connection of their own, so that a long replay does not hold up a token.
    """

    def __init__(self, url: str, namespace: str, bounds: Bounds, scripts: Scripts) -> None:
        self.keys = Keys(namespace)
        self._bounds = bounds
        self._feeds: dict[str, SessionFeed] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._probe = b""
        self._probe_arrived = asyncio.Event()
        self._foreign = ForeignMessages()
        limits = {"timeout_seconds": bounds.lease_seconds / 2, "patience_seconds": bounds.lease_seconds}
        self.place = place(url)
        outages = OutageLog(logger, store=self.place)
        self._writes = GroupCommit(url, scripts, outages, **limits)
        self._reads = GroupCommit(url, scripts, outages, **limits)
        self._subscriber = Subscriber(
            url, outages, on_message=self._on_message, on_connection=self._on_connection, **limits
        )
        self.orders = Orders(self.keys.orders, self._writes, self._subscriber, self._foreign)
        self._probe_channel = self.keys.of_session(f"{_CHECKED}{new_id()}").channel

    # Calls.

    def write(
        self,
        name: str,
        session_id: str,
        now: str,
        *arguments: Argument,
        call_id: str = "",
        further_keys: tuple[str, ...] = (),
    ) -> asyncio.Future[Reply]:
        """Call a session's script. ``call_id`` names the call where the store must know its repetition by it."""
        keys = self.keys.of_session(session_id)
        if call_id:
            keys = keys.with_call(call_id)
        return self._writes.call(name, keys + further_keys if further_keys else keys, (now, session_id, *arguments))

    def append(self, handler: ReplyHandler, session_id: str, now: str, *arguments: Argument) -> None:
        """Call ``append``, which needs few keys."""
        self._writes.submit(
            handler, "append", self.keys.of_session(session_id).for_append, (now, session_id, *arguments)
        )

    def append_calls(
        self, handler: ReplyHandler, session_id: str, now: str, *arguments: Argument, calls: list[CallFrame]
    ) -> None:
        """Call ``append_calls``: an append of which some frames ask, or settle what was asked."""
        limit = self._bounds.max_question_bytes
        asked = [text for frame in calls for text in (frame.call_id, question_body(frame, limit))]
        arguments = (now, session_id, *arguments, *asked, len(calls))
        self._writes.submit(handler, "append_calls", self.keys.of_session(session_id), arguments)

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
        """See ``SessionLayer``."""
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

    def open_feed(self, session_id: str) -> FeedHandle:
        """Follow a session's announcements: within the block none is missed, unless the connection breaks.

        Raises:
            StoreUnavailable: (when entered) the store did not answer in time.
        """
        return FeedHandle(self, session_id)

    async def acquire(self, session_id: str) -> SessionFeed:
        """Follow a session's announcements until ``release``; see ``open_feed``."""
        feed = self._feeds.get(session_id)
        if feed is None:
            feed = self._feeds[session_id] = self._new_feed(session_id)
        channel = self.keys.of_session(session_id).channel
        feed.users += 1
        try:
            self._subscriber.add(channel)
            async with asyncio.timeout(self._bounds.lease_seconds):
                await self._subscriber.confirmed(channel)
        except BaseException as exc:
            self.release(feed)
            if isinstance(exc, TimeoutError):
                raise StoreUnavailable from exc
            raise
        return feed

    def release(self, feed: SessionFeed) -> None:
        """End what ``acquire`` started. The feed is kept for a moment: a reloaded page is back at once."""
        feed.users -= 1
        if not feed.users:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._drop, feed)

    def watched(self, session_id: str) -> SessionFeed | None:
        """Return the feed of a session that is watched in this process, or was a moment ago; else ``None``."""
        return self._feeds.get(session_id)

    def feed(self, session_id: str, epoch: bytes, after: int, frames: list[Frame]) -> None:
        """Give frames that the store has confirmed to this process's viewers, before they are announced."""
        feed = self._feeds.get(session_id)
        if feed is not None and frames:
            feed.feed(epoch.decode(), after, frames)

    async def close(self) -> None:
        """Stop the tasks and close the connections."""
        await cancel_and_wait(*self._tasks)
        await self._subscriber.close()
        await self._writes.close()
        await self._reads.close()

    def start(self) -> None:
        """Compare with the store at intervals, and check that it takes writes, until ``close``."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._compare_for_ever(), name="compare with the store"),
                asyncio.create_task(self._check_writes_for_ever(), name="check the store's writes"),
            ]

    def _new_feed(self, session_id: str) -> SessionFeed:
        bounds = self._bounds
        return SessionFeed(session_id, self._foreign, max_frames=bounds.max_frames, max_bytes=bounds.max_bytes)

    def _drop(self, feed: SessionFeed) -> None:
        if not feed.users and self._feeds.get(feed.session_id) is feed:
            del self._feeds[feed.session_id]
            self._subscriber.remove(self.keys.of_session(feed.session_id).channel)

    # Announcements.

    def _on_message(self, channel: str, data: bytes) -> None:
        if channel == self.orders.channel:
            self.orders.hear(data)
            return
        feed = self._feeds.get(self.keys.session_of(channel))
        if feed is None:
            if channel == self._probe_channel and data == self._probe:  # not an older one that comes late
                self._probe_arrived.set()
            return
        try:
            deliver(data, feed)
        except Exception as exc:  # bytes that any program may have published
            logger.debug("session %s: announcement unreadable: %s", feed.session_id, type(exc).__name__)
            self._foreign.report(f"session {feed.session_id}", "format")
            feed.lose_position()  # perhaps a newer version has announced something: the log knows

    def _on_connection(self, is_up: bool) -> None:
        for feed in list(self._feeds.values()):
            if is_up:
                feed.fail(None)
                feed.lose_position()
                feed.recheck_cancels()
            else:
                feed.fail(StoreUnavailable())

    # A store that takes no writes may answer every read, and announces nothing.

    async def _check_writes_for_ever(self) -> None:
        """End every tail here once the store has taken no write for a lease, as if it were out of reach."""
        lease_seconds = self._bounds.lease_seconds
        taken_at = time.monotonic()
        while True:
            await asyncio.sleep(lease_seconds / 4 * random.uniform(0.75, 1))  # noqa: S311 - no secret
            asked_at = time.monotonic()
            if not any(feed.users for feed in self._feeds.values()):
                taken_at = asked_at
                continue
            try:
                await self.check()
            except StoreUnavailable as exc:
                if time.monotonic() - taken_at >= lease_seconds:
                    taken_at = time.monotonic()
                    for feed in list(self._feeds.values()):
                        feed.end(exc)
            else:
                taken_at = asked_at

    # An announcement may be lost without a trace; only the store knows its newest offset.

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
        asked = [(feed, feed.position) for feed in self._feeds.values() if feed.users and feed.position]
        replies = await asyncio.gather(
            *(self._reads.call("position", (self.keys.of_session(feed.session_id).session,), ()) for feed, _ in asked)
        )
        for (feed, position), (epoch, newest) in zip(asked, replies, strict=True):
            if position is not feed.position or position is None:
                continue  # it has moved meanwhile, so announcements arrive
            if epoch is None or (epoch.decode(), int(newest or 0)) != (position.epoch, position.offset):
                metrics.PUBSUB_GAPS.labels("comparison").inc()
                logger.info("session %s: announcement lost", feed.session_id)
                feed.lose_position()


class FeedHandle:
    """A session's feed in use. (A generator would hold 0.4 kB more for each open socket.)"""

    __slots__ = ("_feed", "_session_id", "_store")

    def __init__(self, store: Store, session_id: str) -> None:
        self._store = store
        self._session_id = session_id

    async def __aenter__(self) -> SessionFeed:
        self._feed = await self._store.acquire(self._session_id)
        return self._feed

    async def __aexit__(self, *_: object) -> None:
        self._store.release(self._feed)
