"""A session's log as the body of one HTTP response: the transport of a ``SessionConnection`` without its words.

A subclass writes the frames of its protocol; everything that a response needs to live and to end is here. As with a
socket, a task delivers the log to a writer; the server's task takes from that writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Any, ClassVar, Final

from asgiref.sync import SyncToAsync
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from prometheus_client import Gauge

from relay.delivery.body_writer import BodyWriter
from relay.delivery.client_writer import SEND_NOW
from relay.delivery.session_connection import SessionConnection, Welcome, record_refusal
from relay.delivery.subscription import Subscription
from relay.delivery.timeouts import run_to_completion
from relay.exceptions import RelayError
from relay.layers.base import SessionLayer
from relay.observability import metrics
from relay.policies import Handshake, Identity
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame, Snapshot
from relay.tasks import cancel_and_wait, end_of_time, running_loop

logger = logging.getLogger(__name__)

LEAVE_SECONDS: Final = 2.0  # for the client to take the last event before the response is cut


class StreamBroken(Exception):
    """The body may not end here, because its client would take that for the end of the answer: break the connection."""


class HttpStream(ABC):
    """One viewer over HTTP.

    Args:
        handshake: presented by the client; ``None`` for an operator whom the admin has admitted.
        network: as of ``SessionConnection``.
        identity: the client's; it was admitted before the response started.
    """

    gauge: Gauge = metrics.EVENT_STREAMS
    has_idle_timeout: bool = False
    is_gone: bool = False
    is_cut: bool = False
    is_opened_first: ClassVar[bool] = False  # is the connection open before the body is read, which starts empty then?
    may_end_early: ClassVar[bool] = True  # does ``encode_disconnect`` tell the client that there was more?
    content_type: ClassVar[str] = "text/event-stream"

    def __init__(self, session_id: str, handshake: Handshake | None, network: str, identity: Identity) -> None:
        self.connection = SessionConnection(session_id, self, handshake, network, identity)
        self.writer = BodyWriter()
        self._leaving: RelayError | None = None
        self._closed = asyncio.Event()
        self._cutting: asyncio.TimerHandle | None = None
        self._serving: asyncio.Task[Any] | None = None
        self._delivering: asyncio.Task[None] | None = None

    # For a subclass: the protocol's encoding.

    @abstractmethod
    async def subscribe(
        self, layer: SessionLayer, session_id: str, subject: str | None
    ) -> tuple[Subscription, Welcome]:
        """Take up position in the log. Returns the subscription, and the fields of ``welcome``."""

    def encode_welcome(self, fields: dict[str, Any]) -> bytes:
        """Write the start of the body; nothing in a protocol without it."""
        return b""

    @abstractmethod
    def encode(self, batch: list[Frame] | Snapshot) -> Iterable[bytes]:
        """Write a part of the log, in pieces of bounded size."""

    def encode_notice(self, text: str) -> bytes:
        """Write a frame that is not in the log; nothing in a protocol without such frames."""
        return b""

    @abstractmethod
    def encode_heartbeat(self) -> bytes:
        """Write a sign of life."""

    @abstractmethod
    def encode_disconnect(self, reason: RelayError) -> bytes:
        """Write the end of the body."""

    def refuse(self, reason: RelayError) -> bytes:
        """Write the body of a client that is refused as its connection opens."""
        record_refusal(reason)
        return self.encode_disconnect(reason)

    @property
    def is_over(self) -> bool:
        """Was everything written that the client requested? A log has no end."""
        return False

    # The transport of the connection.

    @property
    def idle_seconds(self) -> float:
        """See ``Transport``."""
        return self.writer.idle_seconds

    @property
    def blocked_seconds(self) -> float:
        """See ``Transport``."""
        return self.writer.blocked_seconds

    async def notify(self, text: str) -> None:
        """See ``Transport``."""
        self._put(self.encode_notice(text))

    def send_heartbeat_now(self, newest: Cursor) -> bool:
        """See ``Transport``."""
        self._put(self.encode_heartbeat())
        return True

    async def send_heartbeat(self) -> None:
        """See ``Transport``."""
        self._put(self.encode_heartbeat())

    async def leave(self, reason: RelayError) -> None:
        """See ``Transport``. A client that does not take its last event is cut, as a socket is closed.

        It is not cut because the process stood still, and has not sent it that event.
        """
        self._leaving = reason
        self.writer.finish()
        loop = running_loop()
        ends_at = loop.time() + LEAVE_SECONDS
        self._cutting = loop.call_at(ends_at, self._time_is_over, ends_at)

    async def wait_closed(self) -> None:
        """See ``Transport``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._closed.wait()

    # The body.

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body. Never raises: a server may not survive that within a response."""
        self._serving = asyncio.current_task()
        try:
            try:
                welcome = await self.connection.open(self.subscribe)
            except RelayError as exc:
                if refusal := self.refuse(exc):
                    yield refusal
                return
            if self.is_opened_first:
                yield b""
            await self._start(welcome)
            while (piece := await self.writer.take()) is not None:
                yield piece
            if self._leaving is not None and not self.is_over:
                yield self.encode_disconnect(self._leaving)
        except Exception:
            logger.exception("event stream failed")
        finally:
            await run_to_completion(self._end())  # a server may cancel it: the client leaves as the body ends

    async def _start(self, welcome: Welcome) -> None:
        subscription = self.connection.subscription
        assert subscription is not None  # noqa: S101 - the connection is open
        if welcome is not None:
            self._put(self.encode_welcome(welcome))
        await self.connection.start()
        if self._leaving is None:
            name = f"deliver {self.connection.session_id}"
            self._delivering = asyncio.create_task(self._deliver(subscription), name=name)

    async def _deliver(self, subscription: Subscription) -> None:
        try:
            await subscription.deliver(self.writer, self._pieces)
        except RelayError as exc:
            await self.writer.drain()  # the limit of ``leave`` is for the last event, not for those before it
            await self.connection.leave(exc)
        except Exception:
            logger.exception("event stream failed")
            self.writer.finish()

    def _pieces(self, batch: list[Frame] | Snapshot) -> Iterator[bytes]:
        yield from self.encode(batch)
        if self.is_over:
            self.writer.finish()

    async def _end(self) -> None:
        if self._cutting is not None:
            self._cutting.cancel()
        self._serving = None
        if self._delivering is not None:
            await cancel_and_wait(self._delivering)
        await self.connection.end()
        self._closed.set()

    def _put(self, piece: bytes) -> None:
        if piece:
            self.writer.put(piece)

    def _time_is_over(self, ends_at: float) -> None:
        self._cutting = running_loop().call_at(end_of_time(ends_at), self._cut)

    def _cut(self) -> None:
        """End the response of a client that reads nothing: it waits in the server's flow control."""
        if self._serving is not None:
            metrics.SLOW_VIEWERS.labels("cut").inc()
            self.is_cut = True
            self._serving.cancel()  # Django's task, or the server's; the response turns it into ``StreamBroken``


class HttpStreamResponse(StreamingHttpResponse):
    """A response that closes its stream when it ends, however it ends. Django leaves that to the garbage collector.

    Args:
        request: the stream uses the server's extension ``SEND_NOW`` if the scope has it.
        body: the stream's ``chunks``, if they were started already.
    """

    def __init__(
        self, request: HttpRequest, stream: HttpStream, body: AsyncGenerator[bytes, None] | None = None
    ) -> None:
        assert isinstance(request, ASGIRequest)  # noqa: S101 - there is no other way in
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would keep tokens back
        stream.writer.use(request.scope.get("extensions", {}).get(SEND_NOW))
        forbid_compression(request)
        self._stream = stream
        self._chunks = body or stream.chunks()
        super().__init__(self._chunks, content_type=stream.content_type, headers=headers)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        release_thread()
        try:
            async with aclosing(self._chunks):
                async for chunk in self._chunks:
                    yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            if not self._stream.is_cut or _end_cancelling():
                raise
            raise StreamBroken from None
        if not (self._stream.is_over or self._stream.may_end_early):
            raise StreamBroken


def _end_cancelling() -> bool:
    """Take back one request to cancel this task; return whether there is another, of the server."""
    task = asyncio.current_task()
    return task is not None and task.uncancel() > 0


def forbid_compression(request: HttpRequest) -> None:
    """Keep a host's ``GZipMiddleware`` away from a body that is sent piece by piece.

    It would say in the head that the body is compressed, and could not reach the pieces. If it could, each of them
    would be a compressed file of its own, of which browsers read the first only.
    """
    request.META.pop("HTTP_ACCEPT_ENCODING", None)


def release_thread() -> None:
    """End the thread that this request's synchronous middleware ran in: Django keeps it as long as the response."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.pop(context, None) if context is not None else None
    if executor is not None:
        executor.shutdown(wait=False)  # it is idle; synchronous code at the end of the response gets a new one
