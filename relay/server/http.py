"""One HTTP connection and its requests: daphne's, with flow control, and limits of size and time."""

from __future__ import annotations

import time
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.web.http import HTTPChannel

from relay.server import limits
from relay.server.flow import Message, Outflow
from relay.server.proxies import client_address, forwarded_scheme

REFUSALS = {408: b"408 Request Timeout", 413: b"413 Content Too Large"}


class HttpConnection(HTTPChannel):  # type: ignore[misc]  # its bases have no types
    """A connection: one request after another, each within its limits.

    Twisted's own time-out looks only at silence; a client that sends a byte now and then would be served for ever.
    """

    max_body_bytes = limits.BODY_ROOM_BYTES
    _deadline: Any = None  # Twisted's DelayedCall
    _is_refused = False
    _has_asked = False

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self._made_at = time.monotonic()
        self.factory.open_connections.add(self)
        super().connectionMade()

    @property
    def is_awaited(self) -> bool:
        """Would the process' end cut it: has it just come, or not taken all of its last answer?"""
        if not self._has_asked:
            return time.monotonic() - self._made_at < limits.FIRST_REQUEST_SECONDS
        return not self._is_refused and bool(self._handlingRequest or not self.persistent)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        if self._is_refused:
            return
        if self._deadline is None and not self._handlingRequest:
            self._set_deadline(limits.HEAD_SECONDS)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        if self.length is not None and self.length > self.max_body_bytes:
            self.refuse(413)
            return
        self._set_deadline(limits.BODY_SECONDS)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:  # noqa: N802 - Twisted's name
        self._set_deadline(None)
        self._has_asked = True
        super().allContentReceived()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self._set_deadline(None)
        self.factory.open_connections.discard(self)
        super().connectionLost(reason)

    def refuse(self, status: int) -> None:
        """Answer in the application's place and end the connection; what still comes is not looked at."""
        if self._is_refused:
            return
        self._is_refused = True
        self.setTimeout(None)
        self.transport.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % REFUSALS[status])
        self._networkProducer.unregisterProducer()
        self.transport.loseWriteConnection()  # a close now would be a reset, and could overtake the answer
        self._set_deadline(limits.CLOSE_SECONDS)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.callLater(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        if self._is_refused:
            self.transport.abortConnection()
        else:
            self.refuse(408)


class HttpRequest(WebRequest):  # type: ignore[misc]  # daphne has no types
    """A request and its response."""

    def __init__(self, channel: HttpConnection, queued: object = False) -> None:
        self.outflow = Outflow()
        self._received_bytes = 0
        super().__init__(channel, queued, parsePOSTFormSubmission=False)  # bodies are Django's business

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._received_bytes += len(data)
        if self._received_bytes > self.channel.max_body_bytes:
            self.channel.refuse(413)
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        if self._received_bytes <= self.channel.max_body_bytes:
            super().requestReceived(command, path, version)

    def process(self) -> Any:
        """Begin to answer. (daphne would let any client set the root path.)"""
        self.requestHeaders.removeHeader(b"daphne-root-path")
        processing = super().process()
        if self.transport is None:  # it is a WebSocket's now
            self.channel.factory.open_connections.discard(self.channel)
        return processing

    def amend_scope(self, scope: dict[str, Any]) -> None:
        """Correct what daphne makes of the request."""
        trusted = self.server.trusted_proxies
        scope["scheme"] = forwarded_scheme(scope["client"], scope["headers"], trusted) or scope["scheme"]
        scope["client"] = self.client_addr = client_address(scope["client"], scope["headers"], trusted)

    def handle_reply(self, message: Message) -> None:
        """Do what the application says; ``ValueError`` if it is not what ASGI allows at this moment."""
        if self.server.is_stopping and not self._response_started and self.channel is not None:
            self.channel.persistent = False  # a request that came on it later could be lost
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        super().handle_reply(message)
        if message["type"] == "http.response.start" and self.producer is None and not self.finished:
            self.registerProducer(self.outflow, True)

    def finish(self) -> None:
        """End the response."""
        self.outflow.stopProducing()
        if self.producer is not None:
            self.unregisterProducer()
        if self._disconnected:
            self.server.protocol_disconnected(self)
        else:
            super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self.outflow.stopProducing()
        super().connectionLost(reason)

    def application_ended(self, error: BaseException | None) -> None:
        """Answer what the application left without an answer; a response that has begun is broken off."""
        if self.finished or self.channel is None:
            return
        if not self._response_started:
            self.handle_exception(error)
        elif self.chunked:
            self.channel.loseConnection()  # the last chunk is missing: the client sees it
        else:
            self.abort()

    def check_timeouts(self) -> None:
        """Break off a response that nobody reads; called every second or so."""
        if self.channel is not None and not self.finished:
            if self.outflow.stalled_seconds(self.channel.transport) > limits.STALLED_SECONDS:
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
        """Make one. (Twisted's would negotiate HTTP/2, for which TLS is needed.)"""
        connection = HttpConnection()
        connection.max_body_bytes = self._max_body_bytes
        return connection

    def buildProtocol(self, addr: Any) -> HttpConnection:  # noqa: N802 - Twisted's name
        connection: HttpConnection = super().buildProtocol(addr)
        connection.requestFactory = HttpRequest
        return connection
