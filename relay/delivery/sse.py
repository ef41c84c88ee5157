"""A session's log as server-sent events: ``gateway.v1`` for clients that cannot, or need not, open a socket.

``id:`` is the cursor, so a browser's ``EventSource`` comes back by itself where it was. It would come back after a
``disconnect`` that says not to, too; HTML lets a server stop it with 204 (§9.2.3). So that ``disconnect`` has the id
``closed``, which every process answers with 204 without knowing the session. For clients that keep only the ids of
frames, the process that told them of a deletion remembers the epoch for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, Final, TypeVar

from asgiref.sync import SyncToAsync
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from relay.access.auth import admit, has_internal_key, limited_network, read_handshake, redeem
from relay.access.connection_limits import check_session_limit
from relay.access.origin_check import is_origin_allowed
from relay.conf import conf
from relay.delivery.subscription import ResumableSubscription, runs
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import (
    Forbidden,
    NotOwner,
    RateLimited,
    RelayError,
    ServerRestart,
    SessionDeleted,
    StoreUnavailable,
    Unauthorized,
)
from relay.layers.values import new_id
from relay.observability import metrics
from relay.policies import Identity
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.protocol import frames, json_text
from relay.protocol.event_stream import encode_comment, encode_event
from relay.protocol.frames import CloseCode, Frame, Snapshot
from relay.protocol.request_headers import LAST_EVENT_ID

T = TypeVar("T")

logger = logging.getLogger(__name__)

CLOSED_ID: Final = "closed"
FROM_THE_BEGIN: Final = ":0"
RETRY_MS: Final = (1_000, 4_000)  # spread, so that clients that lost their line do not return all at once
CHUNK_BYTES: Final = 65_536  # of a viewer that is behind; a slow one holds one chunk, not a whole batch
LEAVE_SECONDS: Final = 2.0
BLOCKED_SECONDS: Final = 30.0  # a client that takes nothing for so long is gone, or means harm
MAX_DELETED_EPOCHS: Final = 10_000

_deleted_epochs: OrderedDict[str, None] = OrderedDict()


async def session_events(request: HttpRequest, session_id: str) -> HttpResponseBase:
    """Stream a session's log; ``Last-Event-ID``, or else ``?last_event_id=``, is the cursor.

    Raises:
        Unauthorized, Forbidden, StoreUnavailable: what the policy says no with.
    """
    try:
        return await _opened(request, session_id)
    except RelayError as exc:
        metrics.DISCONNECTS.labels(exc.code).inc()
        logger.info("event stream refused: %s", exc.code)
        raise


async def _opened(request: HttpRequest, session_id: str) -> HttpResponseBase:
    last_event_id = request.headers.get(LAST_EVENT_ID) or request.GET.get("last_event_id", "")
    epoch, offset = _cursor(last_event_id)
    if last_event_id == CLOSED_ID:
        return HttpResponse(status=204)
    assert isinstance(request, ASGIRequest)  # noqa: S101 - there is no other way in
    if not (is_origin_allowed(request.scope) or has_internal_key(request)):
        raise Forbidden
    handshake = read_handshake(request.scope, session_id, has_cursor=bool(last_event_id), cursor_epoch=epoch)
    policy = (await lifecycle.current()).policy
    identity = await admit(handshake, policy)
    if epoch in _deleted_epochs:
        return HttpResponse(status=204)
    is_coalescing = request.GET.get("coalesce") == "1"
    cursor = {"epoch": epoch, "offset": offset}
    network = limited_network(handshake)
    use_up = partial(redeem, handshake, policy)
    stream = EventStream(session_id, cursor, identity, network, use_up, is_coalescing=is_coalescing)
    return EventStreamResponse(stream.chunks())


def operator_events(request: HttpRequest, session_id: str, *, seconds: float) -> HttpResponseBase:
    """Stream all of a session's log to an operator whom the admin has let in; for so long, then it is asked again."""
    last_event_id = request.headers.get(LAST_EVENT_ID, FROM_THE_BEGIN)
    if last_event_id == CLOSED_ID:
        return HttpResponse(status=204)
    epoch, offset = _cursor(last_event_id)
    identity = Identity(expires_at=time.time() + seconds)
    cursor = {"epoch": epoch, "offset": offset}
    network = ""  # none: the operator is trusted
    stream = EventStream(session_id, cursor, identity, network, _use_nothing_up, is_coalescing=True)
    return EventStreamResponse(stream.chunks())


class EventStreamResponse(StreamingHttpResponse):
    """A response that closes its stream when it ends, however it ends. Django leaves that to the garbage collector."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would keep tokens back
        super().__init__(chunks, content_type="text/event-stream", headers=headers)
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        _give_thread_back()
        async with aclosing(self._chunks):
            async for chunk in self._chunks:
                with _leave_if_stuck():
                    yield chunk


class EventStream:
    """One viewer over HTTP, from its ``welcome`` to the end of its line.

    Args:
        use_up: uses the credential up, given the epoch of the log; called when nothing else can refuse the client.
    """

    def __init__(
        self,
        session_id: str,
        cursor: dict[str, str],
        identity: Identity,
        network: str,
        use_up: Callable[[str], Awaitable[None]],
        *,
        is_coalescing: bool,
    ) -> None:
        self.session_id = session_id
        self._cursor = cursor
        self._identity = identity
        self._network = network
        self._use_up = use_up
        self._is_coalescing = is_coalescing
        self._viewer_id = new_id()
        self._interval_seconds = conf.heartbeat_seconds
        self._sent_at = self._beat_at = 0.0
        self._seen_offset = 0
        self._called = asyncio.Event()  # there is something to tell, or to leave for
        self._told: deque[str] = deque()
        self._leaving: RelayError | None = None
        self._left = asyncio.Event()
        self._gateway: Gateway
        self._subscription: ResumableSubscription

    def has_seen(self, offset: int) -> bool:
        """Was everything up to ``offset`` handed to the server?"""
        return self._seen_offset >= offset

    async def notify(self, text: str) -> None:
        """Send a frame that is not the log's."""
        self._told.append(text)
        self._called.set()

    async def disconnect(self, reason: RelayError | None = None) -> None:
        """Say why, by default that the server restarts, and end; a client that takes nothing is not waited for."""
        self._leave(reason or ServerRestart())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._left.wait()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Give the response's body. Never raises: a server may not survive that in mid-response."""
        try:
            self._gateway = await lifecycle.current()
            self._subscription = ResumableSubscription(self._gateway.layer, self.session_id, self._identity.subject)
            if self._gateway.is_draining:
                raise ServerRestart
            with self._gateway.connection_limiter.acquired(self._network):
                async with aclosing(self._attached()) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except RelayError as exc:
            logger.info("event stream ended: %s", exc.code)
            yield self._disconnect_frame(exc)
        except Exception:
            logger.exception("event stream failed")
        finally:
            self._left.set()

    async def _attached(self) -> AsyncGenerator[bytes, None]:
        viewers = await within_store_timeout(self._attach())
        try:
            self._enter()
            check_session_limit(viewers)
            async with aclosing(self._watch()) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await self._detach()

    async def _watch(self) -> AsyncGenerator[bytes, None]:
        welcome = await within_store_timeout(self._subscription.begin(**self._cursor))
        await self._use_up(self._subscription.log_epoch)
        yield self._welcome(welcome)
        self._seen_offset = self._subscription.position.offset
        self._sent_at = time.monotonic()
        self._beat_at = self._sent_at + self._interval_seconds
        async with (
            aclosing(self._subscription.batches()) as batches,
            aclosing(_with_pauses(batches, self._pause_seconds, self._called)) as batches_and_pauses,
        ):
            async for batch in batches_and_pauses:
                if batch is not None:
                    for chunk in self._encoded(batch):
                        yield chunk
                    self._sent_at = time.monotonic()
                    self._seen_offset = self._subscription.position.offset
                if self._has_expired():
                    raise Unauthorized
                self._called.clear()
                while self._told:
                    yield encode_event(self._told.popleft())
                if self._leaving is not None:
                    raise self._leaving
                if time.monotonic() >= self._beat_at and await self._beat():
                    yield encode_comment()

    # What is sent.

    def _welcome(self, text: str) -> bytes:
        after = json_text.decode(text)["after"]
        event_id = None if after is None else f"{self._subscription.position.epoch}:{after}"
        return encode_event(text, event_id=event_id, retry_milliseconds=random.randint(*RETRY_MS))  # noqa: S311 - no secret

    def _encoded(self, batch: list[Frame] | Snapshot) -> Iterator[bytes]:
        epoch = self._subscription.position.epoch
        if isinstance(batch, Snapshot):
            yield encode_event(batch.v1, event_id=f"{epoch}:{batch.offset}")
            return
        chunk = bytearray()
        for run in runs(batch) if self._is_coalescing else ([frame] for frame in batch):
            chunk += encode_event(frames.merged_tokens(run), event_id=f"{epoch}:{run[-1].offset}")
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
        if chunk:
            yield bytes(chunk)

    def _disconnect_frame(self, reason: RelayError) -> bytes:
        """Say why the stream ends; a reason that nobody thought of is one to come back from."""
        close_code = frames.close_code(reason)
        if close_code is CloseCode.INTERNAL:
            close_code = CloseCode.SERVER_RESTART
        metrics.DISCONNECTS.labels(reason.code).inc()
        delay_ms = random.randint(*RETRY_MS)  # noqa: S311 - no secret
        if isinstance(reason, RateLimited):
            delay_ms += round(1000 * reason.retry_after_seconds)
        if close_code in frames.COME_BACK:
            return encode_event(frames.disconnect(reason, close_code, delay_ms=delay_ms), retry_milliseconds=delay_ms)
        if isinstance(reason, SessionDeleted) and self._subscription.position.epoch:
            _remember_deleted(self._subscription.position.epoch)
        return encode_event(frames.disconnect(reason, close_code), event_id=CLOSED_ID)

    # Signs of life.

    def _pause_seconds(self) -> float:
        seconds = self._beat_at - time.monotonic()
        if self._identity.expires_at is not None:
            seconds = min(seconds, self._identity.expires_at - time.time())
        return max(seconds, 0.05)

    def _has_expired(self) -> bool:
        return self._identity.expires_at is not None and self._identity.expires_at <= time.time()

    async def _beat(self) -> bool:
        """Keep the viewer entered. Returns whether the line was quiet for a whole interval."""
        try:
            await within_store_timeout(self._attach())
        except NotOwner:  # the session was deleted, and is somebody else's now
            raise
        except StoreUnavailable:  # the next heartbeat tries again; the layer logs why
            logger.debug("heartbeat failed: store unavailable")
        except Exception as exc:
            logger.warning("heartbeat failed: %s", type(exc).__name__)
        now = time.monotonic()
        is_quiet = now - self._sent_at >= self._interval_seconds
        if is_quiet:
            self._sent_at = now
        self._beat_at = self._sent_at + self._interval_seconds
        return is_quiet

    async def _attach(self) -> int:
        return await self._gateway.layer.attach(self.session_id, self._viewer_id, self._identity.subject)

    def _enter(self) -> None:
        self._gateway.connections.add(self)
        metrics.EVENT_STREAMS.inc()
        if self._gateway.is_draining:  # since the first look at it
            self._leave(ServerRestart())

    def _leave(self, reason: RelayError) -> None:
        self._leaving = reason
        self._called.set()

    async def _detach(self) -> None:
        self._gateway.connections.discard(self)
        metrics.EVENT_STREAMS.dec()
        try:
            if await within_store_timeout(self._gateway.layer.detach(self.session_id, self._viewer_id)) == 0:
                self._gateway.on_disconnect.last_viewer_left(self.session_id)
        except StoreUnavailable:  # its entry lapses by itself; the layer logs why
            logger.debug("viewer not detached: store unavailable")
        except Exception as exc:
            logger.warning("viewer not detached: %s", type(exc).__name__)


async def _use_nothing_up(epoch: str) -> None:
    """An operator's login is not good once."""


def _cursor(last_event_id: str) -> tuple[str, str]:
    """Take an id apart; what is not ``<epoch>:<offset>`` gives a cursor that ``cursor.resume`` finds malformed."""
    epoch, _, offset = last_event_id.partition(":")
    return epoch, offset or ("-" if last_event_id else "")


def _remember_deleted(epoch: str) -> None:
    _deleted_epochs[epoch] = None
    if len(_deleted_epochs) > MAX_DELETED_EPOCHS:
        _deleted_epochs.popitem(last=False)


def _give_thread_back() -> None:
    """End the thread that this request's synchronous middleware ran in: Django keeps it as long as the response."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.pop(context, None) if context is not None else None
    if executor is not None:
        executor.shutdown(wait=False)  # it is idle; what is synchronous at the end gets a new one


@contextlib.contextmanager
def _leave_if_stuck() -> Iterator[None]:
    """End the response if its client takes nothing; only the server's flow control can tell."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - an async generator runs in a task
    timer = asyncio.get_running_loop().call_later(BLOCKED_SECONDS, _cut, task)
    try:
        yield
    finally:
        timer.cancel()


def _cut(task: asyncio.Task[Any]) -> None:
    metrics.SLOW_VIEWERS.labels("cut").inc()
    task.cancel()


async def _with_pauses(
    items: AsyncGenerator[T, None], pause_seconds: Callable[[], float], called: asyncio.Event
) -> AsyncGenerator[T | None, None]:
    """Give what comes, and ``None`` when nothing came for so long or while ``called`` is set; no item is lost."""
    calling: asyncio.Future[Any] | None = None
    upcoming: asyncio.Future[T] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(items))
            calling = calling or asyncio.ensure_future(called.wait())
            either: list[asyncio.Future[Any]] = [upcoming, calling]
            await asyncio.wait(either, timeout=pause_seconds(), return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                calling = None
            if upcoming.done():
                arrived, upcoming = upcoming, None
                yield arrived.result()
            else:
                yield None
    finally:
        unfinished = [future for future in (calling, upcoming) if future is not None]
        for future in unfinished:
            future.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
