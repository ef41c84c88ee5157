"""The outgoing side of one socket: texts to the client, and how the client takes them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from autobahn.exception import Disconnected

from relay.frames import CloseCode


class ClientGone(Exception):
    """The client left, or was sent away: nothing more reaches it."""


class Line:
    """Sends texts over an ASGI socket; several tasks may, one frame is never within another.

    Args:
        send: ASGI's ``send``; it takes events of any shape, hence ``Any``.
    """

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._sending = 0
        self._moved_at = time.monotonic()
        self._is_closed = False

    @property
    def quiet_seconds(self) -> float:
        """How long nothing has been sent."""
        return time.monotonic() - self._moved_at

    @property
    def stuck_seconds(self) -> float:
        """How long a frame has been waiting for the client to take it; 0 if none waits."""
        return self.quiet_seconds if self._sending else 0.0

    async def send(self, text: str) -> None:
        """Send one frame; wait while the client does not take it.

        Raises:
            ClientGone: it left.
        """
        if self._is_closed:
            raise ClientGone
        if not self._sending:
            self._moved_at = time.monotonic()
        self._sending += 1
        try:
            await self._send({"type": "websocket.send", "text": text})
            self._moved_at = time.monotonic()
        except (OSError, Disconnected) as exc:  # uvicorn's way and daphne's
            raise ClientGone from exc
        finally:
            self._sending -= 1

    async def close(self, code: CloseCode) -> None:
        """Close the socket, once; a client that has left already is no error."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(OSError, Disconnected):  # it was faster
            await self._send({"type": "websocket.close", "code": int(code)})
