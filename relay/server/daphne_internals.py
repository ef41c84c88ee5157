"""The private names of daphne, autobahn and Twisted that the server uses, under public ones.

No other module has one of them. Each class here is one of theirs, for the server to subclass; an update of these
libraries is compared with this file.
"""

from __future__ import annotations

from typing import Any

from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.web.http import HTTPChannel


class Channel(HTTPChannel):  # type: ignore[misc]  # its bases have no types
    """Twisted's HTTP connection. A subclass has ``refuse``, which answers in place of the application."""

    _dataBuffer: list[bytes]  # noqa: N815 - Twisted's: bytes after the request, in the same slice

    @property
    def is_handling_request(self) -> bool:
        """Is a complete request not answered yet?"""
        return bool(self._handlingRequest)

    @property
    def has_request_line(self) -> bool:
        """Is the request line complete?"""
        return hasattr(self, "_command")

    @property
    def http_version(self) -> bytes:
        """The version in the request line, as ``HTTP/1.1``."""
        version: bytes = self._version
        return version

    @property
    def header_count(self) -> int:
        """The number of header fields that were received."""
        count: int = self._receivedHeaderCount
        return count

    @property
    def header_bytes(self) -> int:
        """The size of the request line and the header fields that were received."""
        size: int = self._receivedHeaderSize
        return size

    @property
    def network_producer(self) -> Any:
        """Twisted's ``IPushProducer`` that the connection pauses and resumes: at first the transport."""
        return self._networkProducer

    @network_producer.setter
    def network_producer(self, producer: Any) -> None:
        self._networkProducer = producer

    def take_pipelined(self) -> bytes:
        """Return the bytes that were received after a complete request, and forget them."""
        data = b"".join(self._dataBuffer)
        self._dataBuffer = []
        return data

    def choose_framing(self, header: bytes, data: bytes) -> bool:
        """Find out from a header field where the body ends; return false if the request is refused."""
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def refuse_framing(self) -> bool:
        """Refuse the request as malformed, for ``choose_framing`` to return."""
        return bool(self._failChooseTransferDecoder())

    def limit_trailers(self, size: int) -> None:
        """Set how many bytes may follow the last chunk of a chunked body."""
        self._transferDecoder._maxTrailerHeadersSize = size

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:  # noqa: N802 - Twisted's name
        return self.choose_framing(header, data)

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802 - Twisted's name
        self.refuse(400)


class Request(WebRequest):  # type: ignore[misc]  # daphne has no types
    """Daphne's HTTP request and response."""

    @property
    def is_response_started(self) -> bool:
        """Has the application sent the response's head?"""
        return bool(self._response_started)

    @property
    def has_client_left(self) -> bool:
        """Is the connection lost?"""
        return bool(self._disconnected)


class Socket(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """Daphne's WebSocket."""

    def set_handshake(self, key: str, version: int, subprotocols: list[str]) -> None:
        """Set what autobahn would read from the request. No extension is supported, whatever the client offers."""
        self._wskey = key
        self.websocket_version = version
        self.websocket_protocols = subprotocols
        self.websocket_extensions: list[Any] = []

    def parse(self, data: bytes) -> None:
        """Parse received bytes, past autobahn's debug line, which is formatted at any log level."""
        self._dataReceived(data)

    def fail_connection(self, code: int, reason: str) -> None:
        """Send a close frame because of the client's violation (RFC 6455 §7.1.7)."""
        self._fail_connection(code, reason)


class SelectorReactor(AsyncioSelectorReactor):  # type: ignore[misc]  # see pyproject.toml
    """Twisted's reactor on an asyncio event loop."""

    def on_read(self, selectable: Any) -> None:
        """React to a read after which the selectable is still watched."""

    def _readOrWrite(self, selectable: Any, read: bool) -> None:  # noqa: N802 - Twisted's name
        super()._readOrWrite(selectable, read)
        if read and selectable in self._readers:
            self.on_read(selectable)


def write_at_once(transport: Any, data: bytes) -> int:
    """Write to a socket, past Twisted's buffer, unless something waits there. ``transport`` is Twisted's, plain or TLS.

    Returns:
        How many bytes the socket took. The rest is for ``transport.write``, which also notices a lost connection.
    """
    if (
        not hasattr(type(transport), "writeSomeData")  # TLS; the object itself has all that the wrapped one has
        or not transport.connected
        or transport.disconnecting
        or transport._writeDisconnected
        or transport._tempDataLen
        or len(transport.dataBuffer) != transport.offset
    ):
        return 0
    try:
        written: int = transport.socket.send(data)
    except OSError:
        return 0
    return written
