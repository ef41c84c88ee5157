"""Sends the signals of ``relay.signals`` in a thread of its own: receivers may block, or use the database."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from typing import Any, Final

from django.db import close_old_connections
from django.dispatch import Signal

from relay.observability.outage_log import OutageLog
from relay.signals import MessageAccepted, TurnEnded, message_accepted, turn_ended

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000  # signals, while a receiver blocks
LAST_SECONDS: Final = 1.0  # at the end of the process, for signals that wait

# Each signal with its name, and the name under which receivers get what is sent.
_SIGNALS: Final[dict[type[Any], tuple[Signal, str, str]]] = {
    MessageAccepted: (message_accepted, "message_accepted", "message"),
    TurnEnded: (turn_ended, "turn_ended", "turn"),
}


class SignalSender:
    """Sends signals one after another. Without receivers there is no thread."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[MessageAccepted | TurnEnded | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._outages = OutageLog(logger)

    @staticmethod
    def has_receivers(signal: Signal) -> bool:
        """Is there a receiver?"""
        return bool(signal.receivers)

    def send(self, sent: MessageAccepted | TurnEnded) -> None:
        """Queue a signal. Never waits; a signal without room is dropped."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="signals", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(sent)
        except queue.Full:
            _, name, _ = _SIGNALS[type(sent)]
            self._outages.failed("signal %s dropped: its receivers are too slow", name)

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
        while (sent := self._waiting.get()) is not None:
            signal, _, argument = _SIGNALS[type(sent)]
            close_old_connections()
            signal.send_robust(sender=type(sent), **{argument: sent})
            close_old_connections()
