"""Looks for sessions that have work and nobody who does it, and wakes this process's runner."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from relay.conf import conf
from relay.exceptions import StoreUnavailable
from relay.layers.base import SessionLayer
from relay.observability.outage_log import OutageLog
from relay.turns.runner import Runner

logger = logging.getLogger(__name__)

SWEEP_SESSIONS: Final = 1_000  # a sweep: what a worker that dies may leave; the rest waits for the next


class Sweeper:
    """Sweeps every half lease or so; jittered, so that many workers do not sweep together."""

    def __init__(self, layer: SessionLayer, runner: Runner) -> None:
        self._layer = layer
        self._runner = runner
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._task = asyncio.create_task(self._sweep_for_ever(), name="sweeper")

    async def stop(self) -> None:
        """End sweeping."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sweep(self) -> None:
        """Look once."""
        for session_id in await self._layer.pending(SWEEP_SESSIONS):
            self._runner.wake(session_id)

    async def _sweep_for_ever(self) -> None:
        outages = OutageLog(logger)
        while True:
            await asyncio.sleep(conf.lease_seconds * random.uniform(0.25, 0.75))  # noqa: S311 - no secret
            try:
                await self.sweep()
            except StoreUnavailable as exc:
                outages.failed("sweep waits for the store: %s", exc.reason or "it does not answer")
            except Exception:
                logger.exception("sweep failed; the next one follows")
