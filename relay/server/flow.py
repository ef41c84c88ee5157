"""Flow control: what is not read must not be sent, what is not handled must not be read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from relay.server import limits

Message = dict[str, Any]  # an ASGI message: what is in it depends on its type


class WriteFlowControl:
    """A client's side: a Twisted push producer that is paused while too much waits to be read.

    The transport pauses it above its ``bufferSize``, and resumes it when all was taken.
    """

    __slots__ = ("_on_resume", "_open", "_progress", "is_paused")

    def __init__(self, on_resume: Callable[[], None] | None = None) -> None:
        self.is_paused = False
        self._on_resume = on_resume
        self._open = asyncio.Event()
        self._progress: tuple[object, float] = (None, 0.0)

    async def wait(self) -> None:
        """Wait until the client has taken what it was sent; also when it has left."""
        while self.is_paused:
            await self._open.wait()

    def stalled_seconds(self, transport: Any) -> float:
        """Say for how long the client has taken nothing, by what the transport still holds (seen at each call)."""
        if not self.is_paused:
            self._progress = (None, 0.0)
            return 0.0
        held = (len(transport.dataBuffer), transport.offset)
        if self._progress[0] != held:
            self._progress = (held, time.monotonic())
        return time.monotonic() - self._progress[1]

    # Twisted's IPushProducer.

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.is_paused = True
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.stopProducing()
        if self._on_resume is not None:
            self._on_resume()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.is_paused = False
        self._open.set()


class ReceiveQueue(asyncio.Queue[Message]):
    """A consumer's side: the messages that it has not taken yet.

    ``pause`` is called when more than ``MAX_WAITING_BYTES`` wait, ``resume`` when they have become half of that.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        super().__init__()
        self.is_paused = False
        self.paused_at = 0.0
        self._pause = pause
        self._resume = resume
        self._waiting_bytes = 0

    def hung_seconds(self) -> float:
        """Say for how long the consumer has not caught up."""
        return time.monotonic() - self.paused_at if self.is_paused else 0.0

    # asyncio.Queue calls these for each message in and out.

    def _put(self, item: Message) -> None:
        super()._put(item)
        self._waiting_bytes += _size(item)
        if self._waiting_bytes > limits.MAX_WAITING_BYTES and not self.is_paused:
            self.is_paused, self.paused_at = True, time.monotonic()
            self._pause()

    def _get(self) -> Message:
        item = super()._get()
        self._waiting_bytes -= _size(item)
        self.paused_at = time.monotonic()
        if self.is_paused and self._waiting_bytes <= limits.MAX_WAITING_BYTES // 2:
            self.is_paused = False
            self._resume()
        return item


def _size(message: Message) -> int:
    content = message.get("text") or message.get("bytes") or ""
    return limits.MESSAGE_OVERHEAD_BYTES + len(content)
