"""Runs a coroutine at a given time, in a task that has an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from relay.tasks import cancel_and_wait

MAX_SECONDS: Final = 86_400.0  # an event loop's timers do not reach as far as a credential may last


class Timer:
    """Runs ``callback`` once after each ``schedule``; it may schedule itself again. Cheaper than a task that sleeps."""

    __slots__ = ("_callback", "_is_stopped", "_running", "_timer")

    def __init__(self, callback: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_stopped = False

    def schedule(self, seconds: float) -> None:
        """Run the callback after so many seconds, at most a day; one that comes too early schedules itself again."""
        if not self._is_stopped:
            self._timer = asyncio.get_running_loop().call_later(min(seconds, MAX_SECONDS), self._start)

    async def stop(self) -> None:
        """Cancel what is scheduled or running, and wait until it has ended."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            await cancel_and_wait(self._running)

    def _start(self) -> None:
        self._running = asyncio.create_task(self._callback())
