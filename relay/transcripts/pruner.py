"""Erases old transcripts while the gateway runs: some worker of a deployment, about once an hour, a few at a time."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from relay.conf import conf
from relay.exceptions import StoreUnavailable
from relay.layers.limits import Limits
from relay.tasks import BackgroundTask
from relay.transcripts import rows
from relay.transcripts.writer import Transcripts

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 3_600.0
STEP_ROWS: Final = 500  # erased at once; turns that have ended are written between two steps
STEP_PAUSE_SECONDS: Final = 0.2
LEASE: Final = "transcripts pruned"  # used once in an interval, by the worker that prunes


class Pruner:
    """Keeps transcripts for ``TRANSCRIPT_DAYS``."""

    def __init__(self, transcripts: Transcripts, limits: Limits) -> None:
        self._transcripts = transcripts
        self._limits = limits
        self._task = BackgroundTask()

    def start(self) -> None:
        """Start to prune, unless transcripts are kept forever."""
        if conf.transcripts and conf.transcript_days:
            self._task.start(self._prune_for_ever(), "pruner")

    async def stop(self) -> None:
        """Stop pruning."""
        await self._task.stop()

    async def prune(self) -> int:
        """Erase all that is too old, unless another worker does. Returns how many rows.

        Raises:
            StoreUnavailable: the store or the database refused.
        """
        if not await self._limits.use_once(LEASE, INTERVAL_SECONDS / 2):
            return 0
        before, count = datetime.now(UTC) - timedelta(days=conf.transcript_days), 0
        while erased := await self._transcripts.ask(partial(rows.prune, before, STEP_ROWS), 0):
            count += erased
            await asyncio.sleep(STEP_PAUSE_SECONDS)
        return count

    async def _prune_for_ever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            try:
                if count := await self.prune():
                    logger.info("transcripts pruned: %d rows", count)
            except StoreUnavailable:
                pass  # it was logged where it happened
            except Exception:
                logger.exception("transcripts not pruned; the next attempt follows")
