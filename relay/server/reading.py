"""Received bytes, handled in small slices: a client that sends many small pieces keeps no other waiting.

A read takes up to 64 KiB, which may be 10,900 frames of a WebSocket or as many chunks of a body. So one pass over a
connection's bytes is bounded in slices and in time, and all connections share a time in each iteration of the event
loop. The rest waits for a pass in a later iteration, and the transport is not read meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any, Final, Protocol

from relay.server import limits

logger = logging.getLogger(__name__)

MAX_SLICES: Final = 16  # in one pass over one connection
PASS_SECONDS: Final = 0.001  # of one connection, at most, while others may wait
ITERATION_SECONDS: Final = 0.005  # of all connections together, in one iteration of the event loop
HELD_BYTES: Final = 16_384  # of a connection that cannot handle them yet; up to there, its end is noticed


class Receiver(Protocol):
    """The part of a connection's protocol that its ``ReadBuffer`` uses."""

    transport: Any  # Twisted's, plain or TLS

    @property
    def is_held(self) -> bool:
        """Must received bytes wait: for an answer, or for the application?"""

    @property
    def slice_bytes(self) -> int:
        """How many bytes cost little to handle, whatever they are."""

    def handle_slice(self, data: bytes) -> None:
        """Handle some received bytes."""


class ReadScheduler:
    """Shares the event loop's time among the connections that have received more than is handled at once."""

    def __init__(self) -> None:
        self._waiting: deque[ReadBuffer] = deque()
        self._is_scheduled = False
        self._spent_seconds = 0.0  # in this iteration

    @property
    def has_time(self) -> bool:
        """May another connection be handled in this iteration?"""
        return self._spent_seconds < ITERATION_SECONDS

    def spend(self, seconds: float) -> None:
        """Count the time of a pass."""
        if not self._spent_seconds:
            asyncio.get_running_loop().call_soon(self._end_iteration)
        self._spent_seconds += seconds

    def add(self, buffer: ReadBuffer) -> None:
        """Queue a buffer for a pass in a later iteration."""
        self._waiting.append(buffer)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _end_iteration(self) -> None:
        self._spent_seconds = 0.0

    def _run(self) -> None:
        """Give passes, then rest for as long as they took: half of the time is left for other work."""
        started_at = time.monotonic()
        seconds = 0.0
        for _ in range(len(self._waiting)):
            buffer = self._waiting.popleft()
            try:
                buffer.handle_waiting()
            except Exception:
                logger.exception("received bytes could not be handled")
                buffer.abort()
            seconds = time.monotonic() - started_at
            if seconds > ITERATION_SECONDS:
                break
        self._is_scheduled = bool(self._waiting)
        if self._waiting:
            asyncio.get_running_loop().call_later(seconds, self._run)


class ReadBuffer:
    """One connection's bytes that are received and not handled. It alone decides when the transport is read.

    To Twisted it is the transport's side of flow control (``IPushProducer``).
    """

    __slots__ = (
        "_discardable",
        "_is_handling",
        "_is_paused",
        "_is_reading",
        "_is_waiting",
        "_receiver",
        "_scheduler",
        "_unread",
    )

    def __init__(self, receiver: Receiver, scheduler: ReadScheduler) -> None:
        self._receiver = receiver
        self._scheduler = scheduler
        self._unread = bytearray()
        self._is_reading = True
        self._is_paused = False
        self._is_handling = False
        self._is_waiting = False  # for a pass of the scheduler
        self._discardable: int | None = None  # so many bytes are still read and dropped; None: they are handled

    def __len__(self) -> int:
        return len(self._unread)

    @property
    def is_discarding(self) -> bool:
        """Are all bytes dropped from now on?"""
        return self._discardable is not None

    def receive(self, data: bytes) -> None:
        """Take bytes that were read, and handle some of them now if there is time."""
        if self._discardable is not None:
            self._discardable -= len(data)
            if self._discardable < 0:
                self._set_reading(False)
            return
        self._unread += data
        if self._is_waiting or self._is_handling:
            return
        if self._is_held or not self._scheduler.has_time:
            self._go_on()
        else:
            self._handle()

    def put_back(self, data: bytes) -> None:
        """Take back bytes that could not be handled yet, in front of all others."""
        self._unread[:0] = data

    def handle_soon(self) -> None:
        """Go on with bytes that wait: they can be handled now."""
        if not self._is_handling:
            self._go_on()

    def handle_waiting(self) -> None:
        """Give the pass that the scheduler was asked for."""
        self._is_waiting = False
        if self._unread and not self._is_held:
            self._handle()
        else:
            self._go_on()

    def take_over(self) -> bytes:
        """Return the bytes that are not handled, for another protocol, which reads from now on; end this buffer."""
        rest = bytes(self._unread)
        self._unread.clear()
        self._discardable = 0
        self._is_reading = False
        return rest

    def discard(self) -> None:
        """Drop all bytes from now on. Some are still read, so that the client sees the answer and not a reset."""
        self._unread.clear()
        self._discardable = limits.DISCARD_BYTES
        self._set_reading(True)

    def abort(self) -> None:
        """End the connection at once."""
        self.take_over()
        self._receiver.transport.abortConnection()

    # Twisted's IPushProducer, and the rest of what HTTPChannel calls on its transport.

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._is_paused = True
        self._set_reading(False)

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._is_paused = False
        self.handle_soon()

    def unregisterProducer(self) -> None:  # noqa: N802 - Twisted's name
        self._receiver.transport.unregisterProducer()

    @property
    def _is_held(self) -> bool:
        return self._is_paused or self._receiver.is_held

    def _handle(self) -> None:
        """Handle slices until the pass is over."""
        started_at = time.monotonic()
        self._is_handling = True
        try:
            for _ in range(MAX_SLICES):
                size = self._receiver.slice_bytes
                data = bytes(self._unread[:size])
                del self._unread[:size]
                self._receiver.handle_slice(data)
                if not self._unread or self._is_held or time.monotonic() - started_at > PASS_SECONDS:
                    break
        finally:
            self._is_handling = False
            self._scheduler.spend(time.monotonic() - started_at)
        self._go_on()

    def _go_on(self) -> None:
        """Read the transport, queue for a pass, or wait until bytes may be handled."""
        if self._discardable is not None:
            return
        is_held = self._is_held
        if self._unread and not is_held and not self._is_waiting:
            self._is_waiting = True
            self._scheduler.add(self)
        self._set_reading(not self._is_paused and len(self._unread) <= (HELD_BYTES if is_held else 0))

    def _set_reading(self, is_reading: bool) -> None:
        if is_reading == self._is_reading:
            return
        self._is_reading = is_reading
        if is_reading:
            self._receiver.transport.resumeProducing()
        else:
            self._receiver.transport.pauseProducing()
