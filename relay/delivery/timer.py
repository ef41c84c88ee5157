"""Something that is to be done at a moment, by a task that has an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

MAX_SECONDS: Final = 86_400.0  # an event loop's timers do not reach as far as a credential may


class Alarm:
    """Runs ``ring`` once after each ``set``; it may set the alarm again. A timer costs less than a task that sleeps."""

    __slots__ = ("_is_stopped", "_ring", "_ringing", "_timer")

    def __init__(self, ring: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._is_stopped = False

    def set(self, seconds: float) -> None:
        """Ring after so many seconds, or after a day: who needs more looks at the time, and sets it again."""
        if not self._is_stopped:
            self._timer = asyncio.get_running_loop().call_later(min(seconds, MAX_SECONDS), self._begin)

    async def stop(self) -> None:
        """Ring no more, and wait until what was being done has ended."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._ringing is not None:
            self._ringing.cancel()
            await asyncio.gather(self._ringing, return_exceptions=True)

    def _begin(self) -> None:
        self._ringing = asyncio.create_task(self._ring())
