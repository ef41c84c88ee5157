"""The outgoing side of one socket: texts to the client, and how the client takes them."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import monotonic
from typing import Any, Final

from autobahn.exception import Disconnected

from relay.protocol.frames import CloseCode

LAST_TEXT: Final = "relay.last_text"  # of ``websocket.close``: our own, beside what ASGI has

_Coroutine = types.CoroutineType


class ClientGone(Exception):
    """The client left, or was sent away: nothing more reaches it."""


class SocketWriter:
    """Sends texts over an ASGI socket; several tasks may, one frame is never within another.

    Args:
        send: ASGI's ``send``; it takes events of any shape, hence ``Any``.
    """

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._may_send_now = True  # not closed, and as far as is known ``send`` gives coroutines
        self._sending = 0
        self._moved_at = monotonic()
        self._is_closed = False
        self._finishing: asyncio.Task[None] | None = None

    @property
    def idle_seconds(self) -> float:
        """How long nothing has been sent."""
        return monotonic() - self._moved_at

    @property
    def blocked_seconds(self) -> float:
        """How long a frame has been waiting for the client to take it; 0 if none waits."""
        return self.idle_seconds if self._sending else 0.0

    async def send(self, text: str) -> None:
        """Send one frame; wait while the client does not take it.

        Raises:
            ClientGone: it left.
        """
        if self._is_closed:
            raise ClientGone
        if not self._sending:
            self._moved_at = monotonic()
        self._sending += 1
        try:
            if self._finishing is not None:
                await asyncio.wait([self._finishing])
            await self._send({"type": "websocket.send", "text": text})
            self._moved_at = monotonic()
        except (OSError, Disconnected) as exc:  # uvicorn's way and daphne's
            raise ClientGone from exc
        finally:
            self._sending -= 1

    def send_now(self, text: str) -> bool:
        """Send one frame within this call. Returns whether it was taken; if not, ``send`` tells why.

        The server's ``send`` is a coroutine that seldom waits: it runs here up to its end or its first wait, so that
        a frame costs no task. Only for the rest, once the client does not keep up, one is made. ASGI allows any other
        awaitable; calling ``send`` may then have sent the frame already, so it is not called again.
        """
        if self._sending or not self._may_send_now:
            return False
        try:
            sending = self._send({"type": "websocket.send", "text": text})
            if type(sending) is not _Coroutine and not asyncio.iscoroutine(sending):
                self._may_send_now = False
                self._leave_to_task(sending)
                return True
            awaited = sending.send(None)
        except StopIteration:
            self._moved_at = monotonic()
            return True
        except Exception:
            return False
        self._leave_to_task(_rest_of(sending, awaited))
        return True

    def _leave_to_task(self, sending: Awaitable[None]) -> None:
        self._sending += 1
        self._moved_at = monotonic()
        self._finishing = asyncio.create_task(self._finish(sending))

    async def _finish(self, sending: Awaitable[None]) -> None:
        try:
            await sending
            self._moved_at = monotonic()
        except (OSError, Disconnected):
            pass  # the next one to send is told
        finally:
            self._sending -= 1
            self._finishing = None

    async def stop(self) -> None:
        """Send nothing more, also not what the client has kept waiting."""
        self._is_closed = True
        self._may_send_now = False
        if self._finishing is not None:
            self._finishing.cancel()
            await asyncio.wait([self._finishing])

    async def close(self, code: CloseCode, last_text: str | None = None) -> None:
        """Close the socket, once; a client that has left already is no error.

        Args:
            last_text: a frame that goes out in front of the close frame, though the client does not read. Servers
                that do not know ``LAST_TEXT`` leave it out.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._may_send_now = False
        message: dict[str, Any] = {"type": "websocket.close", "code": int(code)}
        if last_text is not None:
            message[LAST_TEXT] = last_text
        with contextlib.suppress(OSError, Disconnected):  # it was faster
            await self._send(message)


@types.coroutine
def _rest_of(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that has run up to where it awaits a future."""
    try:
        yield awaited
        yield from coroutine
    finally:
        coroutine.close()
