"""Writes log lines to a stream that may block, such as a pipe whose reader hangs; the event loop does not wait.

Lines below WARNING gather for a moment and are written together: at full speed the write costs as much as the rest of a
line. A warning or an error is written at once, and all lines before it.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import select
import sys
import time
from typing import Final, TextIO

from relay.observability import metrics
from relay.tasks import running_loop

PIECE_BYTES: Final = select.PIPE_BUF  # POSIX: a writable pipe takes so many without blocking
MAX_WAITING_BYTES: Final = 1_048_576
FLUSH_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 0.01  # or as long as the event loop stands still; only a process that is killed loses lines


class PatientHandler(logging.Handler):
    """Writes what the stream takes at once; the rest waits for the next line, and lines above a bound are dropped.

    The order is kept. Outside an event loop nothing gathers. Dropped lines are counted, and a line tells their number
    as soon as there is room.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = sys.stderr if stream is None else stream
        self._waiting = bytearray()
        self._dropped = 0
        self._gathering_in: asyncio.AbstractEventLoop | None = None  # it will write what waits

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, and write what the stream takes: now, or in a moment together with other lines."""
        try:
            if self._dropped or len(self._waiting) >= MAX_WAITING_BYTES:
                self._write()
            if self._dropped and len(self._waiting) < MAX_WAITING_BYTES:
                self._take(_about_dropped(self._dropped))
                self._dropped = 0
            if len(self._waiting) < MAX_WAITING_BYTES:
                self._take(record)
                if record.levelno >= logging.WARNING or not self._gather():
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

    def _gather(self) -> bool:
        """Have what waits written in a moment. Returns whether an event loop, which can do that, runs here."""
        try:
            loop = running_loop()
        except RuntimeError:
            return False
        if self._gathering_in is not loop:  # another one may have ended before its moment
            self._gathering_in = loop
            loop.call_later(GATHER_SECONDS, self._write_gathered)
        return True

    def _write_gathered(self) -> None:
        self.acquire()
        try:
            self._gathering_in = None
            self._write()
        except Exception:
            self.handleError(_about_unwritten(len(self._waiting)))
        finally:
            self.release()

    def _take(self, record: logging.LogRecord) -> None:
        self._waiting += f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _write(self, seconds: float = 0) -> None:
        give_up_at = time.monotonic() + seconds
        try:
            descriptor = self._stream.fileno()
            while self._waiting and _can_write(descriptor, give_up_at - time.monotonic()):
                del self._waiting[: os.write(descriptor, _piece(self._waiting))]
        except io.UnsupportedOperation:  # a stream in memory
            self._stream.write(self._waiting.decode())
            self._waiting.clear()
        except BrokenPipeError:  # the reader is gone
            self._waiting.clear()


def _piece(waiting: bytearray) -> bytearray:
    """Return what to write at once: whole lines if possible, so that no other process writes between their parts."""
    return waiting[: waiting.rfind(b"\n", 0, PIECE_BYTES) + 1 or PIECE_BYTES]


def _can_write(descriptor: int, seconds: float) -> bool:
    return bool(select.select((), (descriptor,), (), max(seconds, 0))[1])


def _about_dropped(number: int) -> logging.LogRecord:
    return _warning("%d log lines dropped: the reader of standard error was blocked", number)


def _about_unwritten(size: int) -> logging.LogRecord:
    return _warning("%d bytes of log lines cannot be written", size)


def _warning(words: str, number: int) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, (number,), None)
