"""uvicorn's WebSocket connection with the extension ``SEND_NOW``, for uvicorn's option ``--ws MODULE:CLASS``.

A server's process imports this module before Django is set up, and needs neither daphne nor Twisted for it. No other
module of the gateway imports uvicorn, which is not a dependency.
"""

from __future__ import annotations

import math
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import OPEN

from relay.delivery.client_writer import SEND_NOW
from relay.server.data_frames import TEXT, data_frame
from relay.server.waiting import LightEvent, LightQueue

__all__ = ["WebSocket"]


PING_GROUP_SECONDS: Final = 0.1  # 25 pings of 5,000 sockets, at uvicorn's default of one in 20 s


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's own connection; the consumer may also send texts within a call, without a task.

    Everything else is uvicorn's: handshake, limits, pings, flow control, close and shutdown. An idle socket holds less.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take uvicorn's arguments, which differ between its versions; hence ``Any``."""
        super().__init__(*args, **kwargs)
        self.queue = LightQueue()  # type: ignore[assignment]  # has the methods that uvicorn calls
        self.writable = LightEvent()  # type: ignore[assignment]  # as above
        self.writable.set()

    def handle_connect(self, event: Request) -> None:
        """Start the consumer, whose scope has the extension, and which runs only later."""
        super().handle_connect(event)
        event.headers.clear()  # the scope has them; the library would keep them as long as the socket is open
        if self.response.status_code == 101:
            self.scope["extensions"][SEND_NOW] = self.send_now  # type: ignore[assignment]  # uvicorn knows dicts only

    def start_keepalive(self) -> None:
        """Send pings from now on: the consumer has accepted the socket."""
        super().start_keepalive()
        self.response.headers.clear()  # they are sent

    def schedule_ping(self) -> None:
        """Send the next ping together with those of other sockets, which is at most ``PING_GROUP_SECONDS`` later.

        Alone it takes an iteration of the event loop for itself and, soon after, one for its pong.
        """
        super().schedule_ping()
        timer = self.ping_timer
        if timer is not None:
            timer.cancel()
            due = math.ceil(timer.when() / PING_GROUP_SECONDS) * PING_GROUP_SECONDS
            self.ping_timer = self.loop.call_at(due, self.send_keepalive_ping)

    async def send(self, message: Any) -> None:
        """See ASGI, hence ``Any``. A text takes the short way of ``send_now`` where uvicorn would not wait either."""
        if message["type"] == "websocket.send" and not self.conn.extensions:
            text = message.get("text")
            if text is not None and self.send_now([text]):
                return
        await super().send(message)

    def send_now(self, texts: list[str]) -> bool:
        """Send text frames within this call; the consumer's extension ``SEND_NOW``.

        They are not compressed, even if the client offers it, as each message may or may not be (RFC 7692 §6).

        Returns:
            False, and nothing was sent, if the client is behind or has left, or the socket is not open.
        """
        if not self.writable.is_set() or self.conn.state is not OPEN or self.transport.is_closing():
            return False
        self.transport.write(b"".join([data_frame(TEXT, text.encode()) for text in texts]))
        return True
