"""The HTTP transport to the agent: httpx' interface, and a response's body handed out as it comes.

A connection serves one request. A kept-alive one may close in the instant a message goes out on it; then nobody knows
whether the agent acted on the message, and it must not be sent again.

Written because every token passes here: docs/decisions.md has what other transports cost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final

import h11
import httpx

from relay.agent.http_body import Body, BodyBroken, body_of
from relay.agent.portions import portion_size

READ: Final = "relay.read"  # a response's extension: `read` of its body
ALIVE: Final = "relay.alive"  # a request's extension: called for each interim response, such as 102 Processing
HANDSHAKE_SECONDS: Final = 10.0  # a server without TLS may wait for ever for a line that it understands
MAX_INTERIM_RESPONSES: Final = 1_000  # each costs 50 µs, and an answer that has only those is none
MAX_WAITING_BYTES: Final = 64 * 1024  # of a body, that nobody has read yet; more is left to the kernel
PORTS: Final = {"http": 80, "https": 443}

ByteSink = Callable[[bytes], bool]

_HTTP: Final = b"HTTP/1."  # RFC 9112 §2.3: how every response begins

# What OpenSSL says of a certificate, and of a server that answers a TLS handshake with something else.
_CERTIFICATE_CAUSES: Final = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself, which is not trusted here",
    19: "its certificate is signed by an authority that is not trusted here",
    20: "its certificate is signed by an authority that is not trusted here",
    21: "its certificate is signed by an authority that is not trusted here",
    23: "its certificate was revoked",
    62: "its certificate is for another host",
    64: "its certificate is for another host",
}
_PLAIN_REASONS: Final = frozenset(
    ["WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"]
)
NO_TLS: Final = "it answers without TLS"
NO_HANDSHAKE: Final = "it does not answer a TLS handshake, so it may not speak TLS"


class TlsFailed(httpx.ConnectError):
    """The server is there, but no TLS connection to it can be trusted. Its text is the cause, without any address."""


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends each request over a connection of its own.

    Has no time limit but that of a TLS handshake, which tells why there is none; else the caller's task is cancelled.
    """

    def __init__(self, handshake_seconds: float = HANDSHAKE_SECONDS) -> None:
        self._handshake_seconds = handshake_seconds
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the head of its response.

        Raises:
            httpx.ConnectError: there is no connection, so nothing was sent.
            httpx.RemoteProtocolError: the answer is not HTTP.
            httpx.ReadError: the connection broke before a response had come.
        """
        exchange = await self._connect(request.url)
        try:
            exchange.send(request, await request.aread())
            head = await exchange.head()
        except BaseException:
            exchange.close()
            raise
        return httpx.Response(
            head.status_code, headers=head.headers.raw_items(), stream=exchange, extensions={READ: exchange.read}
        )

    async def reach(self, url: httpx.URL) -> None:
        """Open a connection, over TLS where the address says so, and close it.

        Raises:
            httpx.ConnectError: there is none.
        """
        (await self._connect(url)).leave()

    async def _connect(self, url: httpx.URL) -> _Exchange:
        port, is_tls = url.port or PORTS[url.scheme], url.scheme == "https"
        try:
            _, exchange = await asyncio.get_running_loop().create_connection(
                _Exchange,
                url.host,
                port,
                ssl=self._tls_context() if is_tls else None,
                ssl_handshake_timeout=self._handshake_seconds if is_tls else None,
            )
        except ssl.SSLError as exc:
            raise TlsFailed(_tls_cause(exc)) from exc
        except OSError as exc:
            if is_tls and isinstance(exc, ConnectionAbortedError):  # the event loop's word for a handshake that lasts
                raise TlsFailed(NO_HANDSHAKE) from exc
            raise httpx.ConnectError(str(exc)) from exc
        return exchange

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def _tls_cause(exc: ssl.SSLError) -> str:
    """Say why a TLS handshake failed, in words that go on after "the agent is there, but"."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _CERTIFICATE_CAUSES.get(exc.verify_code, f"its certificate is not accepted (OpenSSL: {exc.verify_code})")
    if exc.reason in _PLAIN_REASONS:
        return NO_TLS
    return f"the TLS handshake fails (OpenSSL: {exc.reason})"


class _Exchange(asyncio.Protocol, httpx.AsyncByteStream):
    """One connection: a request, then its response."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.CLIENT)  # of the request and the head of the response
        self._head: h11.Response | None = None
        self._body: Body | None = None
        self._undecoded = b""  # of a large read, for the next iterations of the event loop
        self._received = bytearray()
        self._failure: httpx.TransportError | None = None
        self._is_over = False  # nothing more will come
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._take: ByteSink | None = None  # of the read that waits
        self._alive: Callable[[], None] | None = None
        self._interim_responses = 0

    # What the caller does.

    def send(self, request: httpx.Request, content: bytes) -> None:
        """Send the request."""
        self._alive = request.extensions.get(ALIVE)
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        events = (head, h11.Data(content), h11.EndOfMessage())
        self._transport.write(b"".join(self._http.send(event) or b"" for event in events))

    async def head(self) -> h11.Response:
        """Wait for the head of the response."""
        while self._head is None:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._head

    async def read(self, max_bytes: int, take: ByteSink | None = None) -> bytes:
        """Wait for bytes of the body, and give what has come, at most ``max_bytes`` and no more than a portion;
        ``b""`` at its end.

        Args:
            take: is offered what comes while this waits, and says whether it took that; then this waits on. It never
                raises, and never waits.

        Raises:
            httpx.TransportError: it broke off, or is framed wrongly.
        """
        while not self._received:
            if self._failure is not None:
                raise self._failure
            if self._is_over:
                return b""
            self._take = take
            try:
                await self._wait()
            finally:
                self._take = None
        size = min(max_bytes, portion_size(self._received))
        data = bytes(self._received[:size])
        del self._received[:size]
        if self._is_paused:
            self._update_reading()
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read(MAX_WAITING_BYTES):
            yield data

    def leave(self) -> None:
        """Take leave of a server that was asked nothing: with TLS' own goodbye, if it is there."""
        self._transport.close()

    async def aclose(self) -> None:
        """Hang up, whatever is still to come."""
        self.close()

    def close(self) -> None:
        """Hang up, whatever is still to come."""
        self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # What the connection does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # of a stream

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._undecoded:
            self._undecoded += data
            return
        size = portion_size(data)
        if size < len(data):
            self._undecoded = data[size:]
            self._loop.call_soon(self._decode_next)
            data = data[:size]
        self._decode(data)
        if self._undecoded:
            self._update_reading()

    def _decode_next(self) -> None:
        data, self._undecoded = self._undecoded, b""
        if data and not self._is_over and self._failure is None:
            self.data_received(data)
        self._update_reading()

    def _decode(self, data: bytes) -> None:
        try:
            body = self._body
            if body is None:
                body, data = self._take_head(data)
                if body is None:
                    return
            content = body.feed(data)
        except BodyBroken as exc:
            self._received += exc.content
            self._fail(httpx.RemoteProtocolError(str(exc)))
            return
        except h11.RemoteProtocolError as exc:
            self._fail(httpx.RemoteProtocolError(str(exc)))
            return
        if body.is_over:
            self._is_over = True
        elif self._take is not None and not self._received and self._take(content):
            return
        self._received += content
        self._update_reading()
        self._wake()

    def _update_reading(self) -> None:
        """Read while little waits."""
        must_pause = bool(self._undecoded) or len(self._received) > MAX_WAITING_BYTES
        if must_pause != self._is_paused:
            self._is_paused = must_pause
            if must_pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        if self._undecoded:
            data, self._undecoded = self._undecoded, b""
            self._decode(data)
        if self._is_over or (exc is None and self._body is not None and self._body.ends_with_connection):
            self._is_over = True
            self._wake()
        elif self._body is None and not _HTTP.startswith(self._http.trailing_data[0][: len(_HTTP)]):
            self._fail(httpx.RemoteProtocolError("no HTTP"))
        else:
            self._fail(httpx.ReadError("the connection broke off"))

    def _take_head(self, data: bytes) -> tuple[Body | None, bytes]:
        """Take bytes of the head; when it is whole, give the body and its first bytes."""
        self._http.receive_data(data)
        event = self._http.next_event()
        while isinstance(event, h11.InformationalResponse):
            self._take_interim_response()
            event = self._http.next_event()
        if not isinstance(event, h11.Response):
            return None, b""
        self._head = event
        self._body = body_of(event.status_code, event.headers)
        return self._body, self._http.trailing_data[0]

    def _take_interim_response(self) -> None:
        self._interim_responses += 1
        if self._interim_responses > MAX_INTERIM_RESPONSES:
            raise h11.RemoteProtocolError("too many interim responses")
        if self._alive is not None:
            self._alive()

    def _fail(self, failure: httpx.TransportError) -> None:
        self._failure = self._failure or failure
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
