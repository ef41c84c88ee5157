"""Finds sessions that have work but no worker, and wakes this process's runner for them."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from relay.conf import conf
from relay.exceptions import StoreUnavailable
from relay.layers.base import SessionLayer
from relay.observability import places
from relay.observability.outage_log import OutageLog
from relay.tasks import BackgroundTask
from relay.turns.runner import Runner

logger = logging.getLogger(__name__)

SWEEP_SESSIONS: Final = 1_000  # in one sweep, as many as a worker that dies may leave; the rest waits for the next


class Sweeper:
    """Sweeps about every half lease; jittered, so that many workers do not sweep at the same time."""

    def __init__(self, layer: SessionLayer, runner: Runner) -> None:
        self._layer = layer
        self._runner = runner
        self._task = BackgroundTask()

    def start(self) -> None:
        """Start to sweep."""
        self._task.start(self._sweep_for_ever(), "sweeper")

    async def stop(self) -> None:
        """Stop sweeping."""
        await self._task.stop()

    async def sweep(self) -> None:
        """Sweep once."""
        for session_id in await self._layer.pending(SWEEP_SESSIONS):
            self._runner.wake(session_id)

    async def _sweep_for_ever(self) -> None:
        outages = OutageLog(logger, store=places.store())
        while True:
            await asyncio.sleep(conf.lease_seconds * random.uniform(0.25, 0.75))  # noqa: S311 - no secret
            try:
                await self.sweep()
            except StoreUnavailable as exc:
                outages.failed("sweep waits for the store: %s", exc.reason or "it does not answer")
            except Exception:
                logger.exception("sweep failed; the next one follows")
