"""Frames and responses on their way out: those sent in one iteration of the event loop are written at its end, in one
piece.

For each piece Twisted would register and unregister a writer with the event loop: two system calls and an iteration.
Here the socket is written to directly; only bytes that it does not take go through Twisted's buffer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from relay.server.daphne_internals import write_at_once

logger = logging.getLogger(__name__)

MAX_PIECES_BYTES: Final = 64 * 1024  # Twisted's own mark: above it flow control must see that the client is slow


class WriteBatcher:
    """Calls functions at the end of the event loop's iteration; all of them cost one handle."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # known when the server runs

    def call(self, function: Callable[[], None]) -> None:
        """Call a function once, soon. An exception in it does not affect the others."""
        if not self._calls:
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._call_all)
        self._calls.append(function)

    def _call_all(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception:
                logger.exception("write to a client failed")


class FrameWriter:
    """The frames of one connection, or the pieces of its responses.

    ``transport`` is Twisted's, plain or TLS; it has no type.

    ``is_full``: so much was written in this iteration that other tasks must run before more is.
    """

    __slots__ = ("_pieces", "_size", "_transport", "_write_batcher", "is_full")

    def __init__(self, transport: Any, write_batcher: WriteBatcher) -> None:
        self._transport = transport
        self._write_batcher = write_batcher
        self._pieces: list[bytes] = []
        self._size = 0
        self.is_full = False

    def write(self, piece: bytes) -> None:
        """Write at the end of this iteration."""
        if not self._pieces:
            self._write_batcher.call(self._end_iteration)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_PIECES_BYTES:
            self.is_full = True
            self.flush()

    def flush(self) -> None:
        """Write now. Needed before other bytes are written, and before the connection is closed."""
        if not self._pieces:
            return
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        written = write_at_once(self._transport, data)
        if written < len(data):
            self._transport.write(data[written:])

    def _end_iteration(self) -> None:
        self.is_full = False
        self.flush()
