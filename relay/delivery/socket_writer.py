"""The outgoing side of one socket: texts to the client, and how fast the client takes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

from relay.delivery.client_writer import ClientGone, ClientWriter
from relay.protocol.frames import CloseCode
from relay.tasks import cancel_and_wait, running_loop

LAST_TEXT: Final = "relay.last_text"  # a key of ``websocket.close``, of our own
MAX_REASON_BYTES: Final = 123  # of a close frame


def _client_left() -> tuple[type[Exception], ...]:
    """Return the errors of a server's ``send`` once the client has left: uvicorn's, and daphne's if it is installed."""
    try:
        from autobahn.exception import Disconnected
    except ModuleNotFoundError:
        return (OSError,)
    return OSError, Disconnected


_CLIENT_LEFT: Final = _client_left()


class SocketWriter(ClientWriter[str]):
    """Sends texts over an ASGI socket. Several tasks may send; one frame is never within another.

    Args:
        send: ASGI's ``send``; it takes events of any shape, hence ``Any``.
        send_now: the server's extension ``SEND_NOW``, if it has it.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        send_now: Callable[[list[str]], bool] | None = None,
    ) -> None:
        super().__init__(send_now)
        self._send = send
        self._sending = 0
        self._is_closed = False
        self._failure: Exception | None = None  # of a send that no caller awaited
        self._task: asyncio.Task[None] | None = None  # sends the texts that ``send_now`` has accepted

    @property
    def is_sending(self) -> bool:
        """See ``ClientWriter``."""
        return self._sending > 0

    def can_send_now(self) -> bool:
        """See ``ClientWriter``: earlier frames do not wait."""
        return not (self._sending or self._is_closed or self._failure is not None)

    async def send(self, piece: str) -> None:
        """See ``ClientWriter``."""
        if self._is_closed:
            raise ClientGone
        if not self._sending:
            self._moved_at = monotonic()
        self._sending += 1
        try:
            if self._task is not None:
                await asyncio.wait([self._task])
            if self._failure is not None:
                raise self._failure
            await self._send({"type": "websocket.send", "text": piece})
            self._moved_at = monotonic()
        except _CLIENT_LEFT as exc:
            raise ClientGone from exc
        finally:
            self._sending -= 1

    def send_now(self, pieces: list[str]) -> bool:
        """Accept frames without waiting: all of them, or none while earlier ones wait for the client.

        Each accepted frame goes to the server once. Where the server has no extension, or no room, a task sends the
        frames, from the event loop's next iteration on. A failure is raised by the next ``send``.
        """
        if not self.can_send_now():
            return False
        if self._server_send_now is not None and self._server_send_now(pieces):
            self._moved_at = monotonic()
            return True
        self._sending += 1
        self._moved_at = monotonic()
        self._task = running_loop().create_task(self._send_all(pieces))
        return True

    async def _send_all(self, texts: list[str]) -> None:
        try:
            for text in texts:
                await self._send({"type": "websocket.send", "text": text})
                self._moved_at = monotonic()
        except Exception as exc:
            self._failure = exc
        finally:
            self._sending -= 1
            self._task = None

    async def stop(self) -> None:
        """Send nothing more, not even the frames that wait for the client."""
        self._is_closed = True
        if self._task is not None:
            await cancel_and_wait(self._task)
            self._sending, self._task = 0, None

    async def close(self, code: CloseCode, last_text: str | None = None, words: str = "") -> None:
        """Close the socket, once; a client that has left already is no error.

        Args:
            last_text: a frame that goes out in front of the close frame, though the client does not read. Servers
                that do not know ``LAST_TEXT`` leave it out.
            words: the reason in the close frame, for clients that read it; a long one is cut (RFC 6455 §5.5).
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._task is not None:
            await asyncio.sleep(0)  # the task starts only now, and its frames go out before
        message: dict[str, Any] = {"type": "websocket.close", "code": int(code)}
        if last_text is not None:
            message[LAST_TEXT] = last_text
        if words:
            message["reason"] = words.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        with contextlib.suppress(*_CLIENT_LEFT):
            await self._send(message)
