"""HTTP to the agent: one request and its response over a connection of its own; the body is pushed as it arrives.

A connection serves one request. A kept-alive connection may close in the instant a message goes out on it; then it is
unknown whether the agent acted on the message, and the message must not be sent again.

Written because every token passes here: docs/decisions.md has what other transports cost. Of httpx it uses the errors.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import httpx

from relay.agent import tls
from relay.agent.http_body import Body, BodyBroken, body_of
from relay.agent.http_head import HeadInvalid, read_response_head
from relay.agent.http_request import HttpRequest, Target
from relay.agent.portions import portion_size
from relay.tasks import running_loop

HANDSHAKE_SECONDS: Final = 10.0  # a server without TLS may wait forever for bytes that it understands
MAX_INTERIM_RESPONSES: Final = 1_000  # an answer that has only those is none
MAX_WAITING_BYTES: Final = 64 * 1024  # of a body, that no sink has received yet; more is left to the kernel

ByteSink = Callable[[bytes], bool]
"""Receives bytes of a body, and returns whether it is ready for more. Never raises, and never waits."""

_HTTP: Final = b"HTTP/1."  # RFC 9112 §2.3: how every response starts


class UpstreamTransport:
    """Sends each request over a connection of its own.

    Has no time limit but that of a TLS handshake; to end anything else, the caller's task is cancelled.
    """

    def __init__(self, handshake_seconds: float = HANDSHAKE_SECONDS) -> None:
        self._handshake_seconds = handshake_seconds
        self._tls: ssl.SSLContext | None = None

    async def send(self, request: HttpRequest, on_interim: Callable[[], None] | None = None) -> Exchange:
        """Send a request and wait for the head of its response. The caller closes the exchange.

        Args:
            on_interim: is called for each interim response, such as 102 Processing.

        Raises:
            httpx.ConnectError: there is no connection, so nothing was sent.
            httpx.RemoteProtocolError: the answer is not HTTP.
            httpx.ReadError: the connection broke before a response had come.
            ValueError: the request cannot be sent.
        """
        data = request.encode()
        exchange = await self._connect(request.target)
        try:
            exchange.send(data, on_interim)
            await exchange.wait_for_head()
        except BaseException:
            exchange.close()
            raise
        return exchange

    async def reach(self, target: Target) -> None:
        """Open a connection, over TLS where the address says so, and close it.

        Raises:
            httpx.ConnectError: no connection can be opened.
        """
        (await self._connect(target)).close_gracefully()

    async def _connect(self, target: Target) -> Exchange:
        is_tls = target.is_tls
        try:
            _, exchange = await running_loop().create_connection(
                Exchange,
                target.host,
                target.port,
                ssl=self._tls_context() if is_tls else None,
                ssl_handshake_timeout=self._handshake_seconds if is_tls else None,
            )
        except ssl.SSLError as exc:
            raise tls.failure(exc) from exc
        except OSError as exc:
            if is_tls and isinstance(exc, ConnectionAbortedError):  # event loops report a timeout so
                raise tls.TlsFailed(tls.NO_HANDSHAKE) from exc
            raise httpx.ConnectError(str(exc)) from exc
        return exchange

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls.client_context()
        return self._tls


class Exchange(asyncio.Protocol):
    """One connection: a request, then its response.

    Attributes:
        status_code: of the response; 0 before its head has arrived.
        headers: of the response, by names in lower case.
    """

    def __init__(self) -> None:
        self.status_code = 0
        self.headers: Mapping[str, str] = {}
        self._loop = running_loop()
        self._head = b""  # the start of the response, until its head is complete
        self._body: Body | None = None
        self._undecoded = b""  # of a large read, for the next iterations of the event loop
        self._received = bytearray()
        self._failure: httpx.TransportError | None = None
        self._is_over = False  # the body is complete
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._sink: ByteSink | None = None  # of the pump that waits
        self._pushed_bytes = 0  # in the push after which the sink was not ready for more
        self._on_interim: Callable[[], None] | None = None
        self._interim_responses = 0

    # The caller's side.

    def send(self, request: bytes, on_interim: Callable[[], None] | None) -> None:
        """Send the request."""
        self._on_interim = on_interim
        self._transport.write(request)

    async def wait_for_head(self) -> None:
        """Wait for the head of the response."""
        while not self.status_code:
            if self._failure is not None:
                raise self._failure
            await self._wait()

    async def pump(self, sink: ByteSink) -> int:
        """Push one portion of the bytes that have arrived. If there are none, push all that arrive from now on, in the
        calls that receive them, until the sink is not ready for more.

        Returns:
            How many bytes the last push had; 0 at the end of the body.

        Raises:
            httpx.TransportError: the body broke off, or is framed wrongly.
        """
        while not self._received:
            if self._failure is not None:
                raise self._failure
            if self._is_over:
                return 0
            self._sink, self._pushed_bytes = sink, 0
            try:
                await self._wait()
            finally:
                self._sink = None
            if self._pushed_bytes:
                return self._pushed_bytes
        size = portion_size(self._received)
        portion = bytes(self._received[:size])
        del self._received[:size]
        if self._is_paused:
            self._update_reading()
        sink(portion)
        return size

    def close_gracefully(self) -> None:
        """Close a connection without a request, with TLS' own closing messages."""
        self._transport.close()

    def close(self) -> None:
        """Close the connection at once, whatever is still to come."""
        self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # The connection's side.

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
        except HeadInvalid as exc:
            self._fail(httpx.RemoteProtocolError(str(exc)))
            return
        if body.is_over:
            self._is_over = True
        elif self._sink is not None:
            self._push(content, self._sink)
            return
        self._received += content
        self._update_reading()
        self._wake()

    def _push(self, content: bytes, sink: ByteSink) -> None:
        if content and not sink(content):
            self._sink, self._pushed_bytes = None, len(content)
            self._wake()

    def _update_reading(self) -> None:
        """Read from the connection only while few bytes wait."""
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
        elif isinstance(exc, ssl.SSLError) and not self.status_code:
            self._fail(tls.failure(exc))  # with TLS 1.3 an agent refuses a certificate once the request is out
        elif self._body is None and not _HTTP.startswith(self._head[: len(_HTTP)]):
            self._fail(httpx.RemoteProtocolError("no HTTP"))
        else:
            self._fail(httpx.ReadError("the connection broke off"))

    def _take_head(self, data: bytes) -> tuple[Body | None, bytes]:
        """Parse bytes of the head; once the head is complete, return the body and its first bytes."""
        self._head += data
        while (head := read_response_head(self._head)) is not None:
            rest = self._head[head.size :]
            if head.status >= HTTPStatus.OK:
                self.status_code, self.headers, self._head = head.status, head.fields, b""
                self._body = body_of(head.status, head.fields)
                return self._body, rest
            self._head = rest
            self._take_interim_response()
        return None, b""

    def _take_interim_response(self) -> None:
        self._interim_responses += 1
        if self._interim_responses > MAX_INTERIM_RESPONSES:
            raise HeadInvalid("too many interim responses")
        if self._on_interim is not None:
            self._on_interim()

    def _fail(self, failure: httpx.TransportError) -> None:
        self._failure = self._failure or failure
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
