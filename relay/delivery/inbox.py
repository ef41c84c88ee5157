"""Messages of one socket that are not answered yet: handled one after another, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from relay.delivery.client_writer import ClientGone
from relay.exceptions import RateLimited, RelayError
from relay.observability import metrics
from relay.protocol.client_messages import ClientMessage
from relay.tasks import cancel_and_wait, running_loop

MAX_WAITING: Final = 64  # messages of one socket; more are refused
FINISH_SECONDS: Final = 2.0  # as long as one message may wait for the store

Received = ClientMessage | RelayError
"""A client's message, or the reason why one is refused: a refusal keeps its place among the answers."""


class MessageQueue:
    """Handles messages in a task of its own, because a consumer must return from each at once."""

    __slots__ = ("_handle", "_handling", "_waiting")

    def __init__(self, handle: Callable[[Received], Awaitable[None]]) -> None:
        self._handle = handle
        self._waiting: deque[Received] | None = None  # most sockets send nothing
        self._handling: asyncio.Task[None] | None = None

    def put(self, received: Received) -> bool:
        """Add a message. Returns ``False`` if the client must be disconnected: it continues in spite of refusals."""
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= 2 * MAX_WAITING:
            return False
        if len(self._waiting) >= MAX_WAITING and not isinstance(received, RelayError):
            metrics.RATE_LIMITED.labels("inbox").inc()
            received = RateLimited()
        self._waiting.append(received)
        if self._handling is None:
            self._handling = running_loop().create_task(self._handle_all(self._waiting))
        return True

    async def finish(self) -> None:
        """Handle what the client sent before it disconnected, for up to ``FINISH_SECONDS``."""
        if self._handling is not None:
            await asyncio.wait([self._handling], timeout=FINISH_SECONDS)

    async def stop(self) -> None:
        """Handle nothing more."""
        if self._handling is not None:
            await cancel_and_wait(self._handling)

    async def _handle_all(self, waiting: deque[Received]) -> None:
        try:
            while waiting:
                with contextlib.suppress(ClientGone):  # it gets no answer, but its later messages are handled too
                    await self._handle(waiting.popleft())
        finally:
            self._handling = None
