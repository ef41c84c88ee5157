"""A WebSocket connection: daphne's protocol with flow control, every close code, and a time limit in every state."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from daphne.ws_protocol import WebSocketFactory

from relay.delivery.client_writer import SEND_NOW
from relay.delivery.socket_writer import LAST_TEXT
from relay.observability import metrics
from relay.protocol.frames import CloseCode
from relay.server import limits
from relay.server.data_frames import BINARY, TEXT, data_frame
from relay.server.flow import Message
from relay.server.proxies import client_address, forwarded_scheme
from relay.server.receiving_socket import ReceivingSocket
from relay.server.request_head import WEBSOCKET_VERSION, WebSocketRequest
from relay.server.writing import FrameWriter

logger = logging.getLogger(__name__)

PING: Final = 9  # an opcode (RFC 6455 §5.2)
PING_FRAME: Final = data_frame(PING, b"gateway")
UNSENDABLE_CODES: Final = frozenset({1004, 1005, 1006, 1015})  # RFC 6455 §7.4.1


class ClientLeft(OSError):
    """The socket is closed: nothing can be sent. (ASGI specification: ``send`` raises a kind of ``OSError``.)"""


class WebSocketConnection(ReceivingSocket):
    """A socket, from the upgrade of its HTTP connection to its loss."""

    client_addr: list[str | int] | None = None
    path: bytes = b""
    _is_answered = False  # is the handshake answered?

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self.server = self.factory.server_class
        self.server.protocol_connected(self)
        self.frame_writer = FrameWriter(self.transport, self.server.write_batcher)
        self._last_ping_at = self._connected_at = time.monotonic()
        super().connectionMade()
        self.transport.unregisterProducer()  # the HTTP connection's producer
        self.transport.registerProducer(self.write_flow, True)

    def start(self, scope: dict[str, Any], request: WebSocketRequest) -> None:
        """Start the consumer, which accepts or refuses. (autobahn would parse the request again, differently.)"""
        self.path = scope["raw_path"]
        self.set_handshake(request.key, int(WEBSOCKET_VERSION), request.subprotocols)
        queue = self.application_queue = self.server.create_application(self, scope)
        queue.put_nowait({"type": "websocket.connect"})
        self.server.log_action("websocket", "connecting", self._details())

    def amend_scope(self, scope: dict[str, Any]) -> None:
        """Set scheme and client as the trusted proxies report them, and the subprotocols."""
        trusted = self.server.trusted_proxies
        scope["scheme"] = "wss" if forwarded_scheme(scope["client"], scope["headers"], trusted) == "https" else "ws"
        scope["client"] = self.client_addr = client_address(scope["client"], scope["headers"], trusted)
        scope["subprotocols"] = self.websocket_protocols  # byte for byte: only such may be accepted
        scope["extensions"] = {**scope.get("extensions", {}), SEND_NOW: self.send_now}

    def _is_handshake_pending(self) -> bool:
        """Does the client wait for accept or close? Messages that it sends meanwhile are read after that."""
        return self.state == self.STATE_CONNECTING and not self._is_answered

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803 - autobahn's
        self.write_flow.stopProducing()
        self.read_buffer.take_over()
        self.server.protocol_disconnected(self)
        if self.application_queue is not None:
            code = 1005 if code is None else code  # RFC 6455 §7.1.5: no code was given
            self.application_queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason or ""})
            self.server.log_action("websocket", "disconnected", self._details())

    # Sent by the consumer.

    def handle_reply(self, message: Message) -> None:
        """Handle a message of the consumer.

        Raises:
            ClientLeft: the socket is closed.
            ValueError: the ASGI specification has no such message, or does not allow it at this moment.
        """
        match message["type"]:
            case "websocket.send":
                self._send_message(message)
            case "websocket.accept":
                self._accept(message.get("subprotocol"), message.get("headers") or ())
            case "websocket.close" if self.state == self.STATE_CONNECTING:
                self.deny(403)
            case "websocket.close":
                self.close(message.get("code"), message.get("reason") or "", message.get(LAST_TEXT))
            case kind:
                raise ValueError(f"a WebSocket has no message {kind!r}")

    def send_now(self, texts: list[str]) -> bool:
        """Send text frames within this call; the consumer's extension ``SEND_NOW``.

        Returns:
            False, and nothing was sent, if the client is behind or has left, or other connections come first.
        """
        if self.state != self.STATE_OPEN or self.write_flow.is_paused or self.frame_writer.is_full:
            return False
        for piece in [data_frame(TEXT, text.encode()) for text in texts]:
            self.frame_writer.write(piece)
        return True

    def _accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if not self._is_handshake_pending():
            raise ValueError("the socket was accepted or refused already")
        if subprotocol is not None and subprotocol not in self.websocket_protocols:
            raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
        fields: dict[str, list[str]] = {}
        for name, value in headers:
            if b"\r" in name + value or b"\n" in name + value:
                raise ValueError(f"the header {name!r} contains a line end")
            fields.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        self.succeedHandshake((subprotocol, fields))
        self._is_answered = True

    def _send_message(self, message: Message) -> None:
        if self.state == self.STATE_CONNECTING:
            raise ValueError("the socket is not accepted yet")
        if self.state != self.STATE_OPEN:
            raise ClientLeft
        text, data = message.get("text"), message.get("bytes")
        if text is not None:  # the empty text is a message too
            self.frame_writer.write(data_frame(TEXT, text.encode()))
        elif data is not None:
            self.frame_writer.write(data_frame(BINARY, data))
        else:
            raise ValueError("a message has text or bytes")

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802 - autobahn's
        self.frame_writer.flush()  # earlier frames are written first
        self.transport.write(data)  # past autobahn's debug line, as in Socket.parse

    # The end.

    def close(self, code: int | None, reason: str = "", last_text: str | None = None) -> None:
        """Start the closing handshake with any code that may be sent; a long reason is cut.

        Args:
            last_text: a text frame to send before the close frame, however many bytes wait for the client.
        """
        code = int(CloseCode.SESSION_DELETED) if code is None else code  # 1000
        if code in UNSENDABLE_CODES or not 1000 <= code <= 4999:
            raise ValueError(f"{code} is not a close code that may be sent")
        if last_text is not None and self.state == self.STATE_OPEN:
            self.frame_writer.write(data_frame(TEXT, last_text.encode()))
        whole = reason.encode()[: limits.MAX_REASON_BYTES].decode(errors="ignore")
        self.sendCloseFrame(code=code, reasonUtf8=whole.encode())

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:  # noqa: N802, N803 - autobahn's
        if self.state != self.STATE_OPEN:
            return
        super().sendCloseFrame(code=code, reasonUtf8=reasonUtf8, isReply=isReply)
        self._closing_at = time.monotonic()
        self.end_rest()
        self.write_flow.stopProducing()  # a task that waits to send learns that the client has left
        self.transport.unregisterProducer()
        if self.failedByMe:  # the client learns why; its part of the handshake is not awaited
            self._end_reading()
        else:
            self.read_buffer.resumeProducing()  # for the client's close frame, even if the consumer is behind
            self._closing_bytes = len(self.read_buffer)
            self._check_closing_bytes()

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802 - autobahn's name
        """Close the connection. After a complete handshake without a reset, which could overtake the answer."""
        self._closing_at = self._closing_at or time.monotonic()
        self.end_rest()
        self.frame_writer.flush()
        super().dropConnection(abort=abort and not self.wasClean)

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()

    def deny(self, status: int) -> None:
        """Refuse the handshake, if it is not answered yet."""
        if self._is_handshake_pending():
            self._is_answered = True
            self.server.log_action("websocket", "rejected", self._details())
            self.failHandshake(HTTPStatus(status).phrase, status)

    def sendHttpErrorResponse(  # noqa: N802 - autobahn's name
        self,
        code: int,
        reason: str,
        responseHeaders: Iterable[tuple[str, str]] | None = None,  # noqa: N803 - autobahn's name
    ) -> None:
        """Refuse the handshake with a response whose end any HTTP client recognises."""
        headers = [*(responseHeaders or ()), ("Content-Length", "0"), ("Connection", "close")]
        super().sendHttpErrorResponse(code, HTTPStatus(code).phrase, headers)  # the reason may quote the client

    def application_ended(self, error: BaseException | None) -> None:
        """Refuse or close a socket that the consumer left open."""
        if self.state == self.STATE_CONNECTING:
            self.deny(500)
        elif self.state == self.STATE_OPEN:
            self.close(CloseCode.INTERNAL if error is not None else None)

    def check_timeouts(self) -> float | None:
        """End the socket if client or consumer exceeded a time limit; see the watchdog.

        Returns:
            The moment of the next ping, or of the last one's late pong, for a socket that may rest until then.
        """
        now = time.monotonic()
        self._start_second()
        if self.state == self.STATE_CONNECTING:
            if now - self._connected_at > limits.ACCEPT_SECONDS:
                self.deny(503)
        elif self._closing_at is not None:
            self._check_closing(now - self._closing_at)
        elif self.state == self.STATE_OPEN:
            self._check_client(now)
            self._check_consumer()
            return self._rest(now)
        return None

    def _check_closing(self, seconds: float) -> None:
        """Close first, abort later: buffered bytes, with the close frame last, still reach a client that is slow."""
        if seconds > limits.CLOSE_SECONDS + limits.LINGER_SECONDS and self.transport.disconnecting:
            self.abort()
        elif seconds > limits.CLOSE_SECONDS:
            self.transport.loseConnection()

    def _check_client(self, now: float) -> None:
        if self.write_flow.stalled_seconds(self.transport) > limits.STALLED_SECONDS:
            metrics.SLOW_VIEWERS.labels("cut").inc()
            self.close(CloseCode.TOO_SLOW)
        elif self._is_behind():
            pass  # the client's bytes are not read
        elif self._message is not None and now - self._message_started_at > limits.MESSAGE_SECONDS:
            self.fail_connection(CloseCode.POLICY_VIOLATION, "a message takes too long")
        elif self._pinged_at is not None:
            patience_seconds = limits.PONG_SECONDS + (limits.MESSAGE_SECONDS if self._message is not None else 0)
            if now - self._pinged_at > patience_seconds:
                self.abort()
        elif now - self._last_ping_at > limits.PING_SECONDS:
            self._pinged_at = self._last_ping_at = now
            self.frame_writer.write(PING_FRAME)

    def _rest(self, now: float) -> float | None:
        """Return until when nothing can exceed a time limit, unless something happens that ends the rest."""
        if self.state != self.STATE_OPEN or not self._is_quiet():
            return None
        next_ping_at = self._last_ping_at + limits.PING_SECONDS
        if self._pinged_at is None:
            return next_ping_at
        late_at = self._pinged_at + limits.PONG_SECONDS
        return late_at if next_ping_at <= now else min(next_ping_at, late_at)  # a pong alone does not end the rest

    def _check_consumer(self) -> None:
        if self.application_queue is not None and self.application_queue.hung_seconds() > limits.HUNG_SECONDS:
            logger.error("%r: consumer takes no messages", self)
            self.close(CloseCode.INTERNAL)

    def onOpen(self) -> None:  # noqa: N802 - autobahn's name
        self.read_buffer.handle_soon()
        self.server.log_action("websocket", "connected", self._details())

    def _details(self) -> dict[str, Any]:
        client = "{}:{}".format(*self.client_addr) if self.client_addr else None
        return {"path": self.path.decode("ascii", "replace"), "client": client}


class WebSocketConnections(WebSocketFactory):  # type: ignore[misc]  # daphne has no types
    """Makes sockets from upgraded HTTP connections."""

    protocol = WebSocketConnection

    def __init__(self, server: Any, *, name: str, max_message_bytes: int) -> None:
        super().__init__(server, server=name)
        self.setProtocolOptions(
            allowNullOrigin=True,  # the application checks origins
            autoPingTimeout=0,
            closeHandshakeTimeout=0,  # autobahn would reset the connection; check_timeouts does better
            echoCloseCodeReason=True,
            failByDrop=False,
            maxFramePayloadSize=max_message_bytes,
            maxMessagePayloadSize=max_message_bytes,
            openHandshakeTimeout=0,  # check_timeouts answers, where autobahn would only cut
        )
