"""Measures how late the event loop calls timers: code that blocks it delays every token of every session."""

from __future__ import annotations

import asyncio
from typing import Final

from relay.observability import metrics
from relay.tasks import BackgroundTask

INTERVAL_SECONDS: Final = 0.5


class LoopLagMonitor:
    """Calls itself at an interval, and observes by how much each call is late."""

    def __init__(self) -> None:
        self._task = BackgroundTask()

    def start(self) -> None:
        """Start to measure."""
        self._task.start(self._measure(), "measure loop lag")

    async def stop(self) -> None:
        """Stop measuring."""
        await self._task.stop()

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_at = loop.time() + INTERVAL_SECONDS
            await asyncio.sleep(INTERVAL_SECONDS)
            metrics.LOOP_LAG.observe(max(loop.time() - due_at, 0.0))
