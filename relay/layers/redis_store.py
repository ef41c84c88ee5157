"""One store, as one event loop uses it: two connections for calls, one for announcements, the watched sessions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final

from relay.exceptions import StoreUnavailable
from relay.frames import Frame
from relay.layers.bounds import Bounds
from relay.layers.redis_commit import GroupCommit
from relay.layers.redis_connection import Argument, Reply
from relay.layers.redis_frames import SEPARATOR, decode_all
from relay.layers.redis_scripts import Scripts
from relay.layers.redis_subscriber import Subscriber
from relay.layers.redis_watch import Watch

logger = logging.getLogger(__name__)

LINGER_SECONDS: Final = 5.0  # a watch outlives its last user for so long: a reload comes back, the next turn begins
_PARTS: Final = ("s", "l", "x", "w", "c", "t", "q", "n", "o", "v", "a", "e", "d", "m")
_INDEXES: Final = ("w", "a", "e")


class Store:
    """Calls scripts, and keeps the watches that announcements go to.

    Reads have a connection of their own, so that a long replay does not hold up a token.
    """

    def __init__(self, url: str, prefix: str, bounds: Bounds, scripts: Scripts) -> None:
        self.prefix = prefix
        self._bounds = bounds
        self._watches: dict[str, Watch] = {}
        self._comparing: asyncio.Task[None] | None = None
        limits = {"timeout_seconds": bounds.lease_seconds / 2, "patience_seconds": bounds.lease_seconds}
        self._writes = GroupCommit(url, scripts, **limits)
        self._reads = GroupCommit(url, scripts, **limits)
        self._subscriber = Subscriber(url, on_message=self._on_message, on_line=self._on_line, **limits)
        self.keys = lru_cache(4096)(self._keys)

    def _keys(self, session_id: str) -> tuple[str, ...]:
        """Name a session's keys, in the order in which the scripts know them."""
        return tuple(
            f"{self.prefix}:{part}" if part in _INDEXES else f"{self.prefix}:{part}:{session_id}" for part in _PARTS
        )

    # Calls.

    def write(
        self, name: str, session_id: str, now: str, *arguments: Argument, call_id: str = ""
    ) -> asyncio.Future[Reply]:
        """Call a session's script. ``call_id`` names the call where the store must know its repetition by it."""
        keys = self.keys(session_id)
        if call_id:
            keys = (*keys[:-1], f"{keys[-1]}:{call_id}")
        return self._writes.call(name, keys, (now, session_id, *arguments))

    def append(self, session_id: str, now: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Call ``append``, which needs few keys."""
        return self._writes.call("append", self.keys(session_id)[:5], (now, session_id, *arguments))

    def read(self, name: str, session_id: str, now: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Call a session's script on the connection for reads."""
        return self._reads.call(name, self.keys(session_id), (now, session_id, *arguments))

    def call(self, name: str, keys: tuple[str, ...], *arguments: Argument) -> asyncio.Future[Reply]:
        """Call a script that is not about one session; names of keys are given without the prefix."""
        return self._reads.call(name, tuple(f"{self.prefix}:{key}" for key in keys), arguments)

    # Watching.

    @asynccontextmanager
    async def watch(self, session_id: str) -> AsyncGenerator[Watch, None]:
        """Follow a session's announcements: from here on none is missed, unless the line breaks.

        Raises:
            StoreUnavailable: the store did not answer in time.
        """
        watch = self._watches.get(session_id)
        if watch is None:
            watch = self._watches[session_id] = Watch(session_id, self._bounds.max_frames)
        confirmed = self._subscriber.add(self.keys(session_id)[4])
        watch.users += 1
        try:
            if not confirmed.is_set():
                await self._wait_confirmed(confirmed)
            yield watch
        finally:
            watch.users -= 1
            if not watch.users:
                asyncio.get_running_loop().call_later(LINGER_SECONDS, self._drop, watch)

    def feed(self, session_id: str, epoch: bytes, after: int, frames: list[Frame]) -> None:
        """Give frames that the store has confirmed to those who watch here, without the way round."""
        watch = self._watches.get(session_id)
        if watch is not None and frames:
            watch.feed(epoch.decode(), after, frames)

    async def close(self) -> None:
        """Hang up."""
        if self._comparing is not None:
            self._comparing.cancel()
            await asyncio.gather(self._comparing, return_exceptions=True)
        await self._subscriber.close()
        await self._writes.close()
        await self._reads.close()

    def start(self) -> None:
        """Begin to compare with the store now and then."""
        if self._comparing is None:
            self._comparing = asyncio.create_task(self._compare_for_ever(), name="compare with the store")

    async def _wait_confirmed(self, confirmed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._bounds.lease_seconds):
                await confirmed.wait()
        except TimeoutError as exc:
            raise StoreUnavailable from exc

    def _drop(self, watch: Watch) -> None:
        if not watch.users and self._watches.get(watch.session_id) is watch:
            del self._watches[watch.session_id]
            self._subscriber.remove(self.keys(watch.session_id)[4])

    # Announcements.

    def _on_message(self, channel: str, data: bytes) -> None:
        watch = self._watches.get(channel.removeprefix(f"{self.prefix}:c:"))
        if watch is None:
            return
        head, _, rest = data.partition(b"\n")
        if not head.startswith(b"!"):
            _feed(watch, head.decode(), rest)
        elif head == b"!cancel":
            watch.cancelled(rest.decode())
        elif head == b"!deleted":
            watch.delete()
        elif head == b"!epoch":
            watch.lose_position()

    def _on_line(self, is_up: bool) -> None:
        for watch in list(self._watches.values()):
            if is_up:
                watch.fail(None)
                watch.lose_position()
                watch.cancelled(None)
            else:
                watch.fail(StoreUnavailable())

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
                logger.exception("the watched sessions could not be compared with the store")

    async def compare(self) -> None:
        """Compare each watched session's position with the store's, once for all its viewers."""
        asked = [(watch, watch.position) for watch in self._watches.values() if watch.users and watch.position]
        replies = await asyncio.gather(
            *(self._reads.call("position", self.keys(watch.session_id)[:1], ()) for watch, _ in asked)
        )
        for (watch, position), (epoch, newest) in zip(asked, replies, strict=True):
            if position is not watch.position or position is None:
                continue  # it has moved meanwhile: it is not deaf
            if epoch is None or (epoch.decode(), int(newest)) != (position.epoch, position.offset):
                logger.info("session %s: an announcement was lost", watch.session_id)
                watch.lose_position()


def _feed(watch: Watch, epoch: str, rest: bytes) -> None:
    after, _, data = rest.partition(b"\n")
    offset = int(after)
    position = watch.position
    if position is not None and position.epoch == epoch and offset + data.count(SEPARATOR) < position.offset:
        return  # our own append, or a late one: not worth reading
    watch.feed(epoch, offset, decode_all(data.split(SEPARATOR), offset))
