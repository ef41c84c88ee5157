"""The store, as one event loop uses it: its nodes, and the watched sessions."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection
from typing import Final

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis.announcements import deliver
from relay.layers.redis.connection import Argument
from relay.layers.redis.feed import SessionFeed
from relay.layers.redis.foreign import ForeignMessages
from relay.layers.redis.group_commit import ReplyHandler
from relay.layers.redis.keys import Bucket, Keys, ScriptKeys
from relay.layers.redis.node import Node, NodeOptions
from relay.layers.redis.nodes import Nodes
from relay.layers.redis.orders import Orders
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.values import position_text
from relay.layers.redis.wire import Reply
from relay.layers.values import AgentPosition, new_id, question_body
from relay.protocol.cursor import Cursor
from relay.protocol.frames import CallFrame, Frame
from relay.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

LINGER_SECONDS: Final = 5.0  # a feed outlives its last user for so long: a page is reloaded, the next turn starts
_CHECKED: Final = "!"  # no session's name


class Store:
    """Calls scripts in the nodes that serve their keys, and keeps the feeds that announcements go to."""

    def __init__(self, url: str, namespace: str, bounds: Bounds, scripts: Scripts) -> None:
        self.keys = Keys(namespace)
        self._bounds = bounds
        self._feeds: dict[str, SessionFeed] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._probes: dict[str, asyncio.Future[None]] = {}  # by channel: its announcement has arrived
        self._foreign = ForeignMessages()
        self._nodes = Nodes(
            url,
            NodeOptions(
                scripts,
                on_message=self._on_message,
                on_connection=self._on_connection,
                timeout_seconds=bounds.lease_seconds / 2,
                patience_seconds=bounds.lease_seconds,
            ),
        )
        self.orders = Orders(self.keys.orders, self._nodes, self._foreign)

    # Calls.

    def write(
        self,
        name: str,
        session_id: str,
        now: str,
        *arguments: Argument,
        call_id: str = "",
        with_outbox: bool = False,
    ) -> asyncio.Future[Reply]:
        """Call a session's script. ``call_id`` names the call where the store must know its repetition by it."""
        keys = self.keys.of_session(session_id).for_call(call_id, with_outbox=with_outbox)
        return self._nodes.of(keys.bucket).writes.call(name, keys, (now, session_id, *arguments))

    def append(self, handler: ReplyHandler, session_id: str, now: str, *arguments: Argument) -> None:
        """Call ``append``, which needs few keys."""
        keys = self.keys.of_session(session_id).for_append
        self._nodes.of(keys.bucket).writes.submit(handler, "append", keys, (now, session_id, *arguments))

    def append_at(
        self, handler: ReplyHandler, session_id: str, now: str, *arguments: Argument, position: AgentPosition
    ) -> None:
        """Call ``append_at``: an append that keeps the agent's position."""
        arguments = (now, session_id, *arguments, position_text(position))
        keys = self.keys.of_session(session_id).for_append
        self._nodes.of(keys.bucket).writes.submit(handler, "append_at", keys, arguments)

    def append_calls(
        self,
        handler: ReplyHandler,
        session_id: str,
        now: str,
        *arguments: Argument,
        calls: list[CallFrame],
        position: AgentPosition | None,
    ) -> None:
        """Call ``append_calls``: an append of which some frames ask, or settle what was asked."""
        limit = self._bounds.max_question_bytes
        asked = [text for frame in calls for text in (frame.call_id, question_body(frame, limit))]
        arguments = (now, session_id, *arguments, *asked, len(calls))
        keys = self.keys.of_session(session_id).for_script
        writes = self._nodes.of(keys.bucket).writes
        if position is None:
            writes.submit(handler, "append_calls", keys, arguments)
        else:
            writes.submit(handler, "append_calls_at", keys, (*arguments, position_text(position)))

    def keep(self, handler: ReplyHandler, session_id: str, now: str, *arguments: Argument) -> None:
        """Call ``keep``, which needs few keys, and is called for each viewer again and again."""
        keys = self.keys.bucket(session_id).presence(session_id)
        self._nodes.of(keys.bucket).writes.submit(handler, "keep", keys, (now, session_id, *arguments))

    def read(self, name: str, session_id: str, now: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Call a session's script on the connection for reads."""
        keys = self.keys.of_session(session_id).for_script
        return self._nodes.of(keys.bucket).reads.call(name, keys, (now, session_id, *arguments))

    def call(self, name: str, keys: ScriptKeys, *arguments: Argument) -> asyncio.Future[Reply]:
        """Call a script that is not about one session."""
        return self._nodes.of(keys.bucket).reads.call(name, keys, arguments)

    async def check(self) -> None:
        """Load a script, and run one on each node with every kind of key and every command that turns need."""
        await self._nodes.check()
        await asyncio.gather(*(self._check_node(node, buckets[0]) for node, buckets in self.buckets_by_node().items()))

    async def _check_node(self, node: Node, bucket: Bucket) -> None:
        await asyncio.gather(node.writes.load("check"), node.writes.call("check", bucket.checked(_CHECKED), ()))

    async def check_announcements(self) -> None:
        """See ``SessionLayer``; each node announces something."""
        await asyncio.gather(*(self._probe(buckets[0]) for buckets in self.buckets_by_node().values()))

    async def _probe(self, bucket: Bucket) -> None:
        keys = bucket.session(f"{_CHECKED}{new_id()}")
        channel = keys.names.channel
        arrived = self._probes[channel] = asyncio.get_running_loop().create_future()
        try:
            await self._subscribed(bucket.number, channel)
            await self._nodes.of(bucket.number).writes.call("announce", keys.only(channel), (b"",))
            await arrived
        finally:
            del self._probes[channel]
            self._nodes.of(bucket.number).subscriber.remove(channel)

    def trouble(self) -> str:
        """Say why the store does not serve at the moment; empty if nothing is known."""
        return self._nodes.trouble()

    def buckets_by_node(self) -> dict[Node, list[Bucket]]:
        """Return all buckets, by the node that serves them."""
        found: dict[Node, list[Bucket]] = {}
        for bucket in self.keys.buckets:
            found.setdefault(self._nodes.of(bucket.number), []).append(bucket)
        return found

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
        feed.users += 1
        try:
            async with asyncio.timeout(self._bounds.lease_seconds):
                await self._subscribed(feed.bucket, self.keys.of_session(session_id).names.channel)
        except BaseException as exc:
            self.release(feed)
            if isinstance(exc, TimeoutError):
                raise StoreUnavailable(self.trouble()) from exc
            raise
        return feed

    async def _subscribed(self, bucket: int, channel: str) -> None:
        subscriber = self._nodes.of(bucket).subscriber
        subscriber.add(channel)
        await subscriber.confirmed(channel)

    def release(self, feed: SessionFeed) -> None:
        """End what ``acquire`` started. The feed is kept for a moment: a reloaded page is back at once."""
        feed.users -= 1
        if not feed.users:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._drop, feed)

    def watched(self, session_id: str) -> SessionFeed | None:
        """Return the feed of a session that is watched in this process, or was a moment ago; otherwise ``None``."""
        return self._feeds.get(session_id)

    def feed(self, session_id: str, epoch: bytes, after: int, frames: list[Frame]) -> None:
        """Pass frames that the store has confirmed to this process's viewers, before they are announced."""
        feed = self._feeds.get(session_id)
        if feed is not None and frames:
            feed.feed(epoch.decode(), after, frames)

    async def close(self) -> None:
        """Stop the tasks and close the connections."""
        await cancel_and_wait(*self._tasks)
        await self._nodes.close()

    def start(self) -> None:
        """Compare with the store at intervals, and check that it takes writes, until ``close``."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._compare_for_ever(), name="compare with the store"),
                asyncio.create_task(self._check_writes_for_ever(), name="check the store's writes"),
            ]

    def _new_feed(self, session_id: str) -> SessionFeed:
        bounds = self._bounds
        bucket = self.keys.of_session(session_id).for_script.bucket
        return SessionFeed(session_id, bucket, self._foreign, max_frames=bounds.max_frames, max_bytes=bounds.max_bytes)

    def _drop(self, feed: SessionFeed) -> None:
        if not feed.users and self._feeds.get(feed.session_id) is feed:
            del self._feeds[feed.session_id]
            self._nodes.of(feed.bucket).subscriber.remove(self.keys.of_session(feed.session_id).names.channel)

    # Announcements.

    def _on_message(self, channel: str, data: bytes) -> None:
        if channel == self.orders.channel:
            self.orders.hear(data)
            return
        feed = self._feeds.get(self.keys.session_of(channel))
        if feed is None:
            arrived = self._probes.get(channel)
            if arrived is not None and not arrived.done():
                arrived.set_result(None)
            return
        try:
            deliver(data, feed)
        except Exception as exc:  # bytes that any program may have published
            logger.debug("session %s: announcement unreadable: %s", feed.session_id, type(exc).__name__)
            self._foreign.report(f"session {feed.session_id}", "format")
            feed.lose_position()  # perhaps a newer version has announced something: the log knows

    def _on_connection(self, channels: Collection[str], is_up: bool) -> None:
        for feed in filter(None, (self._feeds.get(self.keys.session_of(channel)) for channel in channels)):
            if is_up:
                feed.fail(None)
                feed.lose_position()
                feed.recheck_cancels()
            else:
                feed.fail(StoreUnavailable())

    # A node that takes no writes may answer every read, and announces nothing.

    async def _check_writes_for_ever(self) -> None:
        """End every tail of buckets that took no write for a lease, as if their node were out of reach."""
        taken_at = [time.monotonic()] * len(self.keys.buckets)
        while True:
            await asyncio.sleep(self._bounds.lease_seconds / 4 * random.uniform(0.75, 1))  # noqa: S311 - no secret
            watched = {feed.bucket for feed in self._feeds.values() if feed.users}
            await asyncio.gather(
                *(
                    self._check_writes(node, buckets, watched, taken_at)
                    for node, buckets in self.buckets_by_node().items()
                )
            )

    async def _check_writes(self, node: Node, buckets: list[Bucket], watched: set[int], taken_at: list[float]) -> None:
        asked_at = time.monotonic()
        served = {bucket.number for bucket in buckets}
        if not served.isdisjoint(watched):
            try:
                await self._check_node(node, buckets[0])
            except StoreUnavailable as exc:
                late = time.monotonic() - self._bounds.lease_seconds
                # A node that was replaced refuses its check at that moment; its buckets are checked at its successor.
                served = {number for number in served if self._nodes.of(number) is node and taken_at[number] <= late}
                asked_at = time.monotonic()
                for feed in list(self._feeds.values()):
                    if feed.bucket in served:
                        feed.end(exc)
        for number in served:
            taken_at[number] = asked_at

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
        """Compare each watched session's position with the store's, unless its viewers have done that since.

        Raises:
            StoreUnavailable: a node did not answer; the sessions of the others are compared nevertheless.
        """
        asked: dict[Node, list[tuple[SessionFeed, Cursor]]] = {}
        for feed in self._feeds.values():
            is_compared, feed.is_compared = feed.is_compared, False
            if feed.users and feed.position and not is_compared:
                asked.setdefault(self._nodes.of(feed.bucket), []).append((feed, feed.position))
        compared = await asyncio.gather(*map(self._compare, asked.values()), return_exceptions=True)
        for failure in filter(None, compared):
            raise failure

    async def _compare(self, asked: list[tuple[SessionFeed, Cursor]]) -> None:
        sessions = [self.keys.of_session(feed.session_id) for feed, _ in asked]
        replies = await asyncio.gather(*(self.call("position", keys.only(keys.names.session)) for keys in sessions))
        for (feed, position), (epoch, newest) in zip(asked, replies, strict=True):
            feed.compare(position, Cursor("" if epoch is None else epoch.decode(), int(newest or 0)))


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
