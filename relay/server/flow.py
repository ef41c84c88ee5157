"""Flow control: the gateway does not write faster than clients read, nor read faster than consumers handle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from relay.server import limits
from relay.server.waiting import LightEvent, LightQueue

Message = dict[str, Any]  # an ASGI message: its keys depend on its type


class WriteFlowControl:
    """Flow control towards a client: a Twisted push producer, paused while too many bytes wait in the transport.

    The transport pauses it above its ``bufferSize``, and resumes it when its buffer is empty.
    """

    __slots__ = ("_on_pause", "_on_resume", "_open", "_progress", "is_paused")

    def __init__(self, on_pause: Callable[[], None] | None = None, on_resume: Callable[[], None] | None = None) -> None:
        self.is_paused = False
        self._on_pause = on_pause
        self._on_resume = on_resume
        self._open = LightEvent()
        self._progress: tuple[object, float] = (None, 0.0)

    async def wait(self) -> None:
        """Wait until the transport's buffer is empty, or the client has disconnected."""
        while self.is_paused:
            await self._open.wait()

    def stalled_seconds(self, transport: Any) -> float:
        """Return for how long the transport's buffer has not shrunk, as far as earlier calls have observed."""
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
        if self._on_pause is not None:
            self._on_pause()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.stopProducing()
        if self._on_resume is not None:
            self._on_resume()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.is_paused = False
        self._open.set()


class ReceiveQueue(LightQueue[Message]):
    """Flow control towards a consumer: the messages that it has not received yet.

    ``pause`` is called when more than ``MAX_WAITING_BYTES`` wait, ``resume`` when half of that is left.
    """

    __slots__ = ("_pause", "_resume", "_waiting_bytes", "is_paused", "paused_at")

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        super().__init__()
        self.is_paused = False
        self.paused_at = 0.0
        self._pause = pause
        self._resume = resume
        self._waiting_bytes = 0

    def hung_seconds(self) -> float:
        """Return for how long the consumer has received nothing while the queue is paused."""
        return time.monotonic() - self.paused_at if self.is_paused else 0.0

    def put_nowait(self, item: Message) -> None:
        """Add a message; pause if that is too much."""
        super().put_nowait(item)
        self._waiting_bytes += _size(item)
        if self._waiting_bytes > limits.MAX_WAITING_BYTES and not self.is_paused:
            self.is_paused, self.paused_at = True, time.monotonic()
            self._pause()

    def get_nowait(self) -> Message:
        """Remove and return the oldest message; resume if little is left. (``get`` calls this.)"""
        item = super().get_nowait()
        self._waiting_bytes -= _size(item)
        self.paused_at = time.monotonic()
        if self.is_paused and self._waiting_bytes <= limits.MAX_WAITING_BYTES // 2:
            self.is_paused = False
            self._resume()
        return item


def _size(message: Message) -> int:
    content = message.get("text") or message.get("bytes") or ""
    return limits.MESSAGE_OVERHEAD_BYTES + len(content)
