"""The tails that wait for a session's next frames.

New frames are pushed to them in the call that appends the frames, so that no task is woken for a token. A tail whose
sink does not accept them is woken instead, and reads the log.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from relay.protocol.frames import Frame

MAX_PUSHED_FRAMES: Final = 32  # in one call, to each tail; more are read from the log, a tail's task at a time


class FrameSink(Protocol):
    """Receives frames on the road of a token: from the agent's answer to the log, and from the log to a viewer."""

    def push(self, frames: list[Frame]) -> bool:
        """Accept all of the frames at once, or none. Returns whether they were accepted.

        Never raises, and never waits. Refused frames reach their destination by the task that awaits them.
        """


class _Subscriber:
    __slots__ = ("offset", "sink", "woken")

    def __init__(self, offset: int, sink: FrameSink | None, woken: asyncio.Future[None]) -> None:
        self.offset = offset
        self.sink = sink
        self.woken = woken

    def notify(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)

    def accepts(self, frames: list[Frame]) -> bool:
        """Push frames that follow this tail's offset; a tail that was cancelled receives nothing more."""
        if self.sink is None or self.offset != frames[0].offset - 1 or self.woken.done() or not self.sink.push(frames):
            self.notify()
            return False
        self.offset = frames[-1].offset
        return True


class LiveSubscribers:
    """The waiting tails of one session."""

    __slots__ = ("_subscribers",)

    def __init__(self) -> None:
        self._subscribers: list[_Subscriber] = []

    def push(self, frames: list[Frame]) -> None:
        """Push frames that were appended together to each tail; wake the tails that do not accept them."""
        if len(frames) > MAX_PUSHED_FRAMES:
            self.notify()
        elif self._subscribers:
            self._subscribers = [subscriber for subscriber in self._subscribers if subscriber.accepts(frames)]

    def notify(self) -> None:
        """Wake all tails, so that each reads the log."""
        waiting, self._subscribers = self._subscribers, []
        for subscriber in waiting:
            subscriber.notify()

    async def wait(self, offset: int, sink: FrameSink | None, loop: asyncio.AbstractEventLoop) -> int:
        """Wait for frames after ``offset`` that are not accepted by ``sink``.

        Returns:
            The offset of the last frame that was accepted meanwhile, or ``offset``.
        """
        subscriber = _Subscriber(offset, sink, loop.create_future())
        self._subscribers.append(subscriber)
        try:
            await subscriber.woken
        except asyncio.CancelledError:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
            raise
        return subscriber.offset
