"""Who waits for a session's next frame: tails that have seen all there is.

A frame that comes alone is offered to them in the call that appends it, so that no task is woken for a token. Who does
not take it is woken, and looks into the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.protocol.frames import Frame

Take = Callable[[Frame], bool]
"""Takes a frame at once and says so, or says no; it never raises, and never waits."""


class _Waiter:
    __slots__ = ("offset", "take", "woken")

    def __init__(self, offset: int, take: Take | None, woken: asyncio.Future[None]) -> None:
        self.offset = offset
        self.take = take
        self.woken = woken

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)

    def stays(self, frame: Frame) -> bool:
        """Offer the frame, if it is the next one; wake who does not take it. Who was cancelled takes nothing more."""
        if self.take is None or self.offset != frame.offset - 1 or self.woken.done() or not self.take(frame):
            self.wake()
            return False
        self.offset = frame.offset
        return True


class Waiters:
    """The waiting tails of one session."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []

    def offer(self, frame: Frame) -> None:
        """Offer a frame that was appended alone; wake who does not take it."""
        if self._waiting:
            self._waiting = [waiter for waiter in self._waiting if waiter.stays(frame)]

    def wake(self) -> None:
        """Let all look for themselves."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.wake()

    async def wait(self, offset: int, take: Take | None, loop: asyncio.AbstractEventLoop) -> int:
        """Wait for what follows ``offset``. Returns the offset up to which frames were taken meanwhile."""
        waiter = _Waiter(offset, take, loop.create_future())
        self._waiting.append(waiter)
        try:
            await waiter.woken
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            raise
        return waiter.offset
