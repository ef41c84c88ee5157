"""Something that is to be done at a moment, by a task that has an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

MAX_SECONDS: Final = 86_400.0  # an event loop's timers do not reach as far as a credential may


class Timer:
    """Runs ``callback`` once after each ``schedule``; it may schedule itself again. Cheaper than a task that sleeps."""

    __slots__ = ("_callback", "_is_stopped", "_running", "_timer")

    def __init__(self, callback: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_stopped = False

    def schedule(self, seconds: float) -> None:
        """Ring after so many seconds, or after a day: who needs more looks at the time, and sets it again."""
        if not self._is_stopped:
            self._timer = asyncio.get_running_loop().call_later(min(seconds, MAX_SECONDS), self._begin)

    async def stop(self) -> None:
        """Ring no more, and wait until what was being done has ended."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _begin(self) -> None:
        self._running = asyncio.create_task(self._callback())
