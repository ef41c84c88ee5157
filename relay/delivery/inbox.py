"""What a client has said and is not answered yet: handled one after another, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from relay.delivery.socket_writer import ClientGone
from relay.exceptions import RateLimited, RelayError
from relay.observability import metrics
from relay.protocol.client_messages import Cancel, StartTurn

MAX_WAITING: Final = 64  # messages of one socket that wait for the store; more are refused
FINISH_SECONDS: Final = 2.0  # as long as one message may wait for the store

Received = StartTurn | Cancel | RelayError
"""A client's message, or why one is refused: refusals keep their place, too."""


class MessageQueue:
    """One socket's inbox. A consumer handles one message at a time, so what takes longer is done here, in a task."""

    __slots__ = ("_handle", "_reading", "_waiting")

    def __init__(self, handle: Callable[[Received], Awaitable[None]]) -> None:
        self._handle = handle
        self._waiting: deque[Received] | None = None  # most sockets only watch
        self._reading: asyncio.Task[None] | None = None

    def put(self, received: Received) -> bool:
        """Take what came. Returns whether the client may go on; one that pays no heed to refusals may not."""
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= 2 * MAX_WAITING:
            return False
        if len(self._waiting) >= MAX_WAITING and not isinstance(received, RelayError):
            metrics.RATE_LIMITED.labels("inbox").inc()
            received = RateLimited()
        self._waiting.append(received)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(self._waiting))
        return True

    async def finish(self) -> None:
        """Handle what is left, for a moment: who says something and leaves has said it."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=FINISH_SECONDS)

    async def stop(self) -> None:
        """Handle nothing more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, waiting: deque[Received]) -> None:
        try:
            while waiting:
                with contextlib.suppress(ClientGone):  # it is not told, but what it said after that counts, too
                    await self._handle(waiting.popleft())
        finally:
            self._reading = None
