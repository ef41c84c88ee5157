"""Writes log lines to a stream that may block, such as a pipe whose reader hangs; the event loop does not wait."""

from __future__ import annotations

import io
import logging
import os
import select
import sys
import time
from typing import Final, TextIO

from relay.observability import metrics

PIECE_BYTES: Final = select.PIPE_BUF  # POSIX: a writable pipe takes so many without blocking
MAX_WAITING_BYTES: Final = 1_048_576
FLUSH_SECONDS: Final = 1.0


class PatientHandler(logging.Handler):
    """Writes what the stream takes at once; the rest waits for the next line, and lines above a bound are dropped.

    The order is kept. Dropped lines are counted, and a line tells their number as soon as there is room.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = sys.stderr if stream is None else stream
        self._waiting = bytearray()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, and write what the stream takes."""
        try:
            self._write()
            if self._dropped and len(self._waiting) < MAX_WAITING_BYTES:
                self._take(_about_dropped(self._dropped))
                self._dropped = 0
            if len(self._waiting) < MAX_WAITING_BYTES:
                self._take(record)
                self._write()
            else:
                self._dropped += 1
                metrics.LOG_LINES_DROPPED.inc()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write queued lines, as far as the stream takes them within a moment: the process may be ending."""
        self.acquire()
        try:
            self._write(FLUSH_SECONDS)
        finally:
            self.release()

    def _take(self, record: logging.LogRecord) -> None:
        self._waiting += f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _write(self, seconds: float = 0) -> None:
        give_up_at = time.monotonic() + seconds
        try:
            descriptor = self._stream.fileno()
            while self._waiting and _can_write(descriptor, give_up_at - time.monotonic()):
                del self._waiting[: os.write(descriptor, self._waiting[:PIECE_BYTES])]
        except io.UnsupportedOperation:  # a stream in memory
            self._stream.write(self._waiting.decode())
            self._waiting.clear()
        except BrokenPipeError:  # the reader is gone for good
            self._waiting.clear()


def _can_write(descriptor: int, seconds: float) -> bool:
    return bool(select.select((), (descriptor,), (), max(seconds, 0))[1])


def _about_dropped(number: int) -> logging.LogRecord:
    words = "%d log lines dropped: the reader of standard error was blocked"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, (number,), None)
