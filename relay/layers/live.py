"""Who waits for a session's next frame: tails that have seen all there is.

A frame that comes alone is offered to them in the call that appends it, so that no task is woken for a token. Who does
not take it is woken, and looks into the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.protocol.frames import Frame

FrameSink = Callable[[Frame], bool]
"""Takes a frame at once and says so, or says no; it never raises, and never waits."""


class _Subscriber:
    __slots__ = ("offset", "take", "woken")

    def __init__(self, offset: int, take: FrameSink | None, woken: asyncio.Future[None]) -> None:
        self.offset = offset
        self.take = take
        self.woken = woken

    def notify(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)

    def stays(self, frame: Frame) -> bool:
        """Offer the frame, if it is the next one; wake who does not take it. Who was cancelled takes nothing more."""
        if self.take is None or self.offset != frame.offset - 1 or self.woken.done() or not self.take(frame):
            self.notify()
            return False
        self.offset = frame.offset
        return True


class LiveSubscribers:
    """The waiting tails of one session."""

    __slots__ = ("_subscribers",)

    def __init__(self) -> None:
        self._subscribers: list[_Subscriber] = []

    def push(self, frame: Frame) -> None:
        """Offer a frame that was appended alone; wake who does not take it."""
        if self._subscribers:
            self._subscribers = [subscriber for subscriber in self._subscribers if subscriber.stays(frame)]

    def notify(self) -> None:
        """Let all look for themselves."""
        waiting, self._subscribers = self._subscribers, []
        for subscriber in waiting:
            subscriber.notify()

    async def wait(self, offset: int, take: FrameSink | None, loop: asyncio.AbstractEventLoop) -> int:
        """Wait for what follows ``offset``. Returns the offset up to which frames were taken meanwhile."""
        subscriber = _Subscriber(offset, take, loop.create_future())
        self._subscribers.append(subscriber)
        try:
            await subscriber.woken
        except asyncio.CancelledError:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
            raise
        return subscriber.offset
