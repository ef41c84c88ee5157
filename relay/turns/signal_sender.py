"""Sends the signal ``turn_ended`` in a thread of its own: receivers may block, or use the database."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from typing import Final

from django.db import close_old_connections

from relay.observability.outage_log import OutageLog
from relay.signals import TurnEnded, turn_ended

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000  # signals, while a receiver blocks
LAST_SECONDS: Final = 1.0  # at the end of the process, for signals that wait


class SignalSender:
    """Sends signals one after another. Without receivers there is no thread."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[TurnEnded | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._outages = OutageLog(logger)

    @property
    def has_receivers(self) -> bool:
        """Is there a receiver?"""
        return bool(turn_ended.receivers)

    def send(self, ended: TurnEnded) -> None:
        """Queue a signal. Never waits; a signal without room is dropped."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="turn_ended", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(ended)
        except queue.Full:
            self._outages.failed("signal turn_ended dropped: %s", "its receivers are too slow")

    async def stop(self) -> None:
        """Let the receivers have what waits, for a moment, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return  # a daemon: it does not keep the process from ending
        await asyncio.to_thread(thread.join, LAST_SECONDS)

    def _work(self) -> None:
        while (ended := self._waiting.get()) is not None:
            close_old_connections()
            turn_ended.send_robust(sender=TurnEnded, turn=ended)
            close_old_connections()
