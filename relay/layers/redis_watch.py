"""One session as this process sees it: the newest frames, shared by all who watch it here.

What is announced is only a hint. A frame counts when its offset follows the last one; after a hole, another epoch or
a lost line the position is unknown, and every tail goes back to reading the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from relay.cursor import Cursor
from relay.exceptions import RelayError, SessionDeleted
from relay.frames import Frame
from relay.layers.redis_values import EpochDeleted

WINDOW_FRAMES: Final = 512  # kept for viewers that are a little behind; the others read the log
TAIL_BATCH_FRAMES: Final = 256

Read = Callable[[Cursor, int], Awaitable[list[Frame]]]


class Watch:
    """The tails of one session, and those who wait for a turn's cancel.

    ``users`` counts who needs it; it is kept for a while after the last has left.
    """

    def __init__(self, session_id: str, max_frames: int) -> None:
        self.session_id = session_id
        self.users = 0
        self.position: Cursor | None = None  # of the newest frame that is known; ``None``: unknown
        self._max_frames = min(WINDOW_FRAMES, max_frames)
        self._window: list[Frame] = []
        self._version = 0
        self._lives = 0  # how often it was erased
        self._failure: RelayError | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._cancel_waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._reads: dict[Cursor, asyncio.Task[list[Frame]]] = {}
        self._loop = asyncio.get_running_loop()

    # What comes.

    def feed(self, epoch: str, after: int, frames: list[Frame]) -> None:
        """Take in numbered frames that follow ``after``; those that are known already are passed over."""
        end = after + len(frames)
        position = self.position
        if position is not None and position.epoch == epoch:
            if end <= position.offset:
                return
            if after <= position.offset:
                self._extend(epoch, frames[position.offset - after :])
                return
        self._window = []  # a hole: the tails read what is missing, and go on here
        self._extend(epoch, frames)

    def lose_position(self) -> None:
        """Forget what was known: every tail reads the log."""
        self.position = None
        self._window = []
        self._wake()

    def fail(self, failure: RelayError | None) -> None:
        """End every tail with an error, those that come later too; ``None``: go on."""
        if failure is not None or self._failure is not None:
            self._failure = failure
            self._wake()

    def delete(self) -> None:
        """End the tails there are: the session was erased. A later one sees its next life."""
        self._lives += 1
        self.lose_position()
        self.cancelled(None)

    def cancelled(self, turn_id: str | None) -> None:
        """Wake who waits for a turn's cancel; ``None``: all, because something may have been missed."""
        names = list(self._cancel_waiters) if turn_id is None else [turn_id]
        for name in names:
            _wake(self._cancel_waiters.pop(name, []))

    # Who waits.

    def cancel_waiter(self, turn_id: str) -> asyncio.Future[None]:
        """Give what is done when a turn may have been cancelled; cancel it to wait no longer."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        waiters = [other for other in self._cancel_waiters.get(turn_id, []) if not other.done()]
        self._cancel_waiters[turn_id] = [*waiters, waiter]
        return waiter

    async def tail(self, after: Cursor, read: Read) -> AsyncGenerator[list[Frame], None]:
        """Give what follows a position, from the window or by ``read``, then what comes."""
        life, has_begun = self._lives, False
        while True:
            if self._failure is not None:
                raise self._failure
            if self._lives != life:
                raise SessionDeleted
            version = self._version
            batch = self._after(after)
            if batch is None:
                batch = await self._read_followed(after, read, has_begun=has_begun)
                has_begun = True
                if not batch and version == self._version:
                    self._settle(after)
            if batch:
                after = Cursor(after.epoch, batch[-1].offset)
                yield batch
            elif version == self._version:
                await self._wait()

    async def _read_followed(self, after: Cursor, read: Read, *, has_begun: bool) -> list[Frame]:
        """Read the log; a tail that has begun learns that the session was erased, also before it is announced."""
        try:
            return await self._read(after, read)
        except EpochDeleted as exc:
            if has_begun:
                raise SessionDeleted from exc
            raise

    def _after(self, cursor: Cursor) -> list[Frame] | None:
        """Give frames of the window; empty at its end, ``None`` where only the log knows."""
        position = self.position
        if position is None or position.epoch != cursor.epoch:
            return None
        begin = len(self._window) - (position.offset - cursor.offset)
        if begin < max(0, len(self._window) - self._max_frames) or begin > len(self._window):
            return None  # also where the log itself would report a gap
        return self._window[begin : begin + TAIL_BATCH_FRAMES]

    def _settle(self, newest: Cursor) -> None:
        """Know the position again, from a read that gave nothing more."""
        if self.position is None:
            self.position = newest

    async def _read(self, after: Cursor, read: Read) -> list[Frame]:
        """Read the log, once for all tails that are at the same position."""
        reading = self._reads.get(after)
        if reading is None:
            reading = self._reads[after] = self._loop.create_task(self._read_once(after, read))
        return await asyncio.shield(reading)

    async def _read_once(self, after: Cursor, read: Read) -> list[Frame]:
        try:
            return await read(after, TAIL_BATCH_FRAMES)
        finally:
            del self._reads[after]

    def _extend(self, epoch: str, frames: list[Frame]) -> None:
        self._window.extend(frames)
        if len(self._window) > 2 * self._max_frames:  # seldom, because it moves what stays
            del self._window[: -self._max_frames]
        self.position = Cursor(epoch, frames[-1].offset)
        self._wake()

    def _wake(self) -> None:
        self._version += 1
        waiters, self._waiters = self._waiters, []
        _wake(waiters)

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            raise


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
