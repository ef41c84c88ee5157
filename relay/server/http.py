"""An HTTP connection and its requests: daphne's classes with flow control, and with limits of size and time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from daphne.http_protocol import HTTPFactory
from twisted.protocols.policies import ProtocolWrapper

from relay.delivery.client_writer import SEND_NOW
from relay.server import limits
from relay.server.daphne_internals import Channel, Request
from relay.server.flow import Message, WriteFlowControl
from relay.server.proxies import client_address, forwarded_scheme
from relay.server.reading import ReadBuffer
from relay.server.request_head import (
    Fields,
    RequestHead,
    RequestRefused,
    WebSocketRequest,
    has_token,
    read_head,
    read_websocket_request,
)
from relay.server.writing import FrameWriter

logger = logging.getLogger(__name__)

MAX_LENGTH_DIGITS: Final = 18


class HttpConnection(Channel):
    """A connection: one request after another, each within its limits.

    Twisted's own timeout only ends silent connections: a client that sends a byte now and then would stay forever.
    """

    max_body_bytes = limits.BODY_ROOM_BYTES
    _deadline: Any = None  # Twisted's DelayedCall
    is_refused = False  # bytes that are received later are dropped
    _has_asked = False
    slice_bytes = limits.HTTP_SLICE_BYTES
    upgraded_to: Any = None  # a WebSocket's protocol

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self._made_at = time.monotonic()
        self.frame_writer = FrameWriter(self.transport, self.factory.server.write_batcher)
        self.factory.open_connections.add(self)
        self.read_buffer = ReadBuffer(self, self.factory.server.read_scheduler)
        super().connectionMade()
        self.network_producer = self.read_buffer

    @property
    def is_awaited(self) -> bool:
        """Should the end of the process wait for it: is it new, or still reading its last response?"""
        if not self._has_asked:
            return time.monotonic() - self._made_at < limits.FIRST_REQUEST_SECONDS
        return not self.is_refused and bool(self.is_handling_request or not self.persistent)

    # Twisted continues parsing bytes that it has read, even after a refusal; these overrides stop at one.

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self.read_buffer.receive(data)

    @property
    def is_held(self) -> bool:
        """Must received bytes wait: for the response to an earlier request, or because the connection is closing?"""
        return bool(self.is_handling_request or self.transport.disconnecting)

    def handle_slice(self, data: bytes) -> None:
        """Parse some received bytes; those that follow an upgrade go to the new protocol."""
        if self.is_refused:
            return
        if self._deadline is None:
            self._set_deadline(limits.HEAD_SECONDS)
        super().dataReceived(data)
        if self.upgraded_to is not None:
            rest = self.take_pipelined() + self.read_buffer.take_over()
            if rest:
                self.upgraded_to.dataReceived(rest)

    def requestDone(self, request: HttpRequest) -> None:  # noqa: N802 - Twisted's name
        self.frame_writer.flush()
        self.read_buffer.put_back(self.take_pipelined())  # else Twisted would handle all of them within this call
        super().requestDone(request)
        self.read_buffer.handle_soon()

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        if self.header_bytes + len(line) > self.totalHeadersSize:
            self._refuse_head()
        if not self.is_refused:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self._refuse_head()

    def headerReceived(self, line: bytes) -> bool:  # noqa: N802 - Twisted's name
        if self.header_count == self.maxHeaders:
            self._refuse_head()
        return not self.is_refused and bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        if self.length is not None and self.length > self.max_body_bytes:
            self.refuse(413)
        if not self.is_refused:
            self._set_deadline(limits.BODY_SECONDS)
            super().allHeadersReceived()

    def checkPersistence(self, request: Any, version: bytes) -> bool:  # noqa: N802 - Twisted's name
        """May another request follow? (Twisted takes ``close, x`` for one word, and reads one header only.)"""
        values = request.requestHeaders.getRawHeaders(b"Connection", [])
        if has_token([(b"connection", value) for value in values], b"connection", b"close"):
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        if not self.is_refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:  # noqa: N802 - Twisted's name
        if self.is_refused:
            return
        self._set_deadline(None)
        self._has_asked = True
        super().allContentReceived()

    def choose_framing(self, header: bytes, data: bytes) -> bool:
        """Find out where the body ends, and refuse a request that leaves it ambiguous (RFC 9112 §6.3)."""
        if header == b"Transfer-Encoding" and (data.lower() != b"chunked" or self.http_version == b"HTTP/1.0"):
            return self.refuse_framing()  # Twisted would let ``identity`` pass, beside a length
        if header == b"Content-Length" and data.isdigit() and len(data.lstrip(b"0")) > MAX_LENGTH_DIGITS:
            self.refuse(413)  # Python does not convert so many digits
            return False
        is_known = super().choose_framing(header, data)
        if is_known and header == b"Transfer-Encoding":
            self.limit_trailers(limits.TRAILER_BYTES)  # each line is an object until the end
        return is_known

    def _refuse_head(self) -> None:
        self.refuse(431 if self.has_request_line else 414)

    # A response is written here. Twisted would register and unregister a writer for each of its pieces.

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:  # noqa: N802 - Twisted's name
        fields = [b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        self.frame_writer.write(b"%b %b %b\r\n%b\r\n" % (version, code, reason, b"".join(fields)))

    def write(self, data: bytes) -> None:
        """Write a piece of a body, as it goes to the client."""
        self.frame_writer.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:  # noqa: N802 - Twisted's name
        self.frame_writer.write(b"".join(iovec))

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.frame_writer.flush()
        super().loseConnection()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self._set_deadline(None)
        self.factory.open_connections.discard(self)
        self.read_buffer.take_over()
        super().connectionLost(reason)

    def refuse(self, status: int, headers: Fields = ()) -> None:
        """Answer in place of the application and end the connection; bytes that are received later are dropped."""
        if self.is_refused:
            return
        self.is_refused = True
        self.read_buffer.discard()
        self.clearLineBuffer()
        self.setTimeout(None)
        more = b"".join(b"%b: %b\r\n" % header for header in headers)
        answer = b"HTTP/1.1 %d %b\r\n%bContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.frame_writer.write(answer % (status, HTTPStatus(status).phrase.encode(), more))
        self.frame_writer.flush()  # at once: Twisted would drop it if the client has closed its side
        self.network_producer.unregisterProducer()
        self.transport.loseWriteConnection()  # a full close would be a reset, which could overtake the answer
        self._set_deadline(limits.CLOSE_SECONDS)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.callLater(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        if self.is_refused:
            self.transport.abortConnection()
        else:
            self.refuse(408)


class HttpRequest(Request):
    """A request and its response."""

    transport: Any  # Twisted's; ``None`` once it is a WebSocket's
    rests_until: float | None = None  # see the watchdog: a request never rests
    _is_encoded = False  # the body, by a middleware of the application

    def __init__(self, channel: HttpConnection, queued: object = False) -> None:
        self.write_flow = WriteFlowControl()
        self.frame_writer = channel.frame_writer
        self._received_bytes = 0
        super().__init__(channel, queued, parsePOSTFormSubmission=False)  # Django parses bodies

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._received_bytes += len(data)
        if self._received_bytes > self.channel.max_body_bytes:
            self.channel.refuse(413)
        elif not self.channel.is_refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """Start the answer to a complete request. (Twisted and daphne would each parse its target again.)"""
        self.request_start = time.time()
        try:
            head = read_head(command, path, version, list(self._fields()))
            socket = read_websocket_request(head)
        except RequestRefused as exc:
            logger.info("request refused with %d: %s", exc.status, exc)
            self.channel.refuse(exc.status, exc.headers)
            return
        self.method, self.clientproto, self.path = command, version, head.path
        self.uri = b"?".join([head.path, head.query]) if head.query else head.path
        if socket is None:
            self._answer(head)
        else:
            self._become_socket(head, socket)

    def _fields(self) -> Iterator[tuple[bytes, bytes]]:
        for name, values in self.requestHeaders.getAllRawHeaders():
            if name.lower() != b"daphne-root-path":  # daphne would let any client set the root path
                yield from ((name, value) for value in values)

    def _scope(self, head: RequestHead) -> dict[str, Any]:
        """Return the part of the ASGI scope that requests and sockets share."""
        has_address = hasattr(self.client, "host")  # a Unix socket has none
        return {
            "path": unquote(head.path.decode("ascii")),
            "raw_path": head.path,
            "root_path": self.server.root_path,
            "query_string": head.query,
            "headers": head.fields,
            "client": [str(self.client.host), self.client.port] if has_address else None,
            "server": [str(self.host.host), self.host.port] if has_address else None,
        }

    def _answer(self, head: RequestHead) -> None:
        scope = {
            **self._scope(head),
            "type": "http",
            "http_version": head.version.removeprefix(b"HTTP/").decode("ascii"),
            "method": head.method.decode("ascii"),
            "scheme": "https" if self.isSecure() else "http",
        }
        self.application_queue = self.server.create_application(self, scope)
        self.content.seek(0)
        more_body = True
        while more_body:
            body = self.content.read(self.server.request_buffer_size)
            more_body = len(body) == self.server.request_buffer_size
            self.application_queue.put_nowait({"type": "http.request", "body": body, "more_body": more_body})

    def _become_socket(self, head: RequestHead, request: WebSocketRequest) -> None:
        """Hand the connection over to a WebSocket, which answers the handshake."""
        socket = self.server.ws_factory.buildProtocol(self.transport.getPeer())
        transport, self.transport = self.transport, None
        if isinstance(transport, ProtocolWrapper):  # TLS
            transport.wrappedProtocol = socket
        else:
            transport.protocol = socket
        socket.makeConnection(transport)
        self.channel.factory.open_connections.discard(self.channel)
        self.channel.upgraded_to = socket
        socket.start({**self._scope(head), "type": "websocket"}, request)
        self.server.protocol_disconnected(self)
        self.channel.network_producer.resumeProducing()

    def amend_scope(self, scope: dict[str, Any]) -> None:
        """Set scheme and client as the trusted proxies report them, and the extension ``SEND_NOW``."""
        trusted = self.server.trusted_proxies
        scope["scheme"] = forwarded_scheme(scope["client"], scope["headers"], trusted) or scope["scheme"]
        scope["client"] = self.client_addr = client_address(scope["client"], scope["headers"], trusted)
        scope["extensions"] = {**scope.get("extensions", {}), SEND_NOW: self.send_now}

    def handle_reply(self, message: Message) -> None:
        """Handle a message of the application; raise ``ValueError`` if ASGI does not allow it at this moment."""
        if self.server.is_stopping and not self.is_response_started and self.channel is not None:
            self.channel.persistent = False  # a later request on this connection could be lost
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        super().handle_reply(message)
        if message["type"] == "http.response.start" and self.producer is None and not self.finished:
            self._is_encoded = self.responseHeaders.hasHeader(b"Content-Encoding")
            self.registerProducer(self.write_flow, True)

    def send_now(self, pieces: list[bytes]) -> bool:
        """Send a part of the body within this call; the application's extension ``SEND_NOW``.

        Returns:
            False, and nothing was sent, if the response has not started or has ended, if the client is behind or has
            left, if other connections come first, or if a middleware of the application encodes the body.
        """
        if (
            not self.startedWriting
            or self.finished
            or self.channel is None
            or self.write_flow.is_paused
            or self.frame_writer.is_full
            or self._is_encoded
        ):
            return False
        self.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        return True

    def finish(self) -> None:
        """End the response."""
        self.write_flow.stopProducing()
        if self.producer is not None:
            self.unregisterProducer()
        if self.has_client_left:
            self.server.protocol_disconnected(self)
        else:
            super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self.write_flow.stopProducing()
        super().connectionLost(reason)

    def application_ended(self, error: BaseException | None) -> None:
        """Answer 500 if the application sent nothing; abort a response that it left incomplete."""
        if self.finished or self.channel is None:
            return
        if not self.is_response_started:
            self.handle_exception(error)
        elif self.chunked:
            self.channel.loseConnection()  # the last chunk is missing: the client sees it
        else:
            self.abort()

    def check_timeouts(self) -> None:
        """Abort a response that the client does not read; called about once a second."""
        if self.channel is not None and not self.finished:
            if self.write_flow.stalled_seconds(self.channel.transport) > limits.STALLED_SECONDS:
                self.abort()
            elif self.server.http_timeout and time.time() - self.request_start > self.server.http_timeout:
                super().check_timeouts()

    def abort(self) -> None:
        """End the connection at once."""
        if self.channel is not None:
            self.channel.transport.abortConnection()


class HttpConnections(HTTPFactory):  # type: ignore[misc]  # daphne has no types
    """Makes HTTP connections."""

    def __init__(self, server: Any, *, max_body_bytes: int) -> None:
        super().__init__(server)
        self.open_connections: set[HttpConnection] = set()
        self._max_body_bytes = max_body_bytes

    def protocol(self) -> HttpConnection:
        """Make a connection. (Twisted's own class would negotiate HTTP/2, which needs TLS.)"""
        connection = HttpConnection()
        connection.max_body_bytes = self._max_body_bytes
        return connection

    def buildProtocol(self, addr: Any) -> HttpConnection:  # noqa: N802 - Twisted's name
        connection: HttpConnection = super().buildProtocol(addr)
        connection.requestFactory = HttpRequest
        return connection
