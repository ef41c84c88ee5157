"""A session's log as server-sent events: ``gateway.v1`` for clients that cannot, or need not, open a socket.

``id:`` is the cursor, so a browser's ``EventSource`` returns by itself to where it was. It would also return
after a ``disconnect`` that tells it not to; HTML lets a server stop it with 204 (§9.2.3). So that ``disconnect`` has
the id ``closed``, which every process answers with 204 without knowing the session. For clients that keep only the
ids of frames, the process that told them of a deletion remembers the epoch for a while.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from relay.access.auth import admit, has_internal_key, limited_network, read_handshake
from relay.access.origin_check import is_origin_allowed
from relay.delivery.dialects import reconnect_delay_ms
from relay.delivery.http_stream import HttpStream, HttpStreamResponse
from relay.delivery.session_connection import record_refusal
from relay.delivery.subscription import ResumableSubscription, Subscription, runs
from relay.exceptions import Forbidden, RelayError, SessionDeleted
from relay.layers.base import SessionLayer
from relay.policies import Handshake, Identity
from relay.process import lifecycle
from relay.protocol import frames, json_text
from relay.protocol.event_stream import encode_comment, encode_event
from relay.protocol.frames import CloseCode, Frame, Snapshot
from relay.protocol.request_headers import LAST_EVENT_ID

CLOSED_ID: Final = "closed"
FROM_THE_START: Final = ":0"
RETRY_MS: Final = (1_000, 4_000)  # spread, so that clients that lost their connection do not all return at once
CHUNK_BYTES: Final = 65_536  # of a viewer that is behind; a slow one holds one chunk, not a whole batch
MAX_DELETED_EPOCHS: Final = 10_000

_deleted_epochs: OrderedDict[str, None] = OrderedDict()


async def session_events(request: HttpRequest, session_id: str) -> HttpResponseBase:
    """Stream a session's log; ``Last-Event-ID``, otherwise ``?last_event_id=``, is the cursor.

    Raises:
        Unauthorized, Forbidden, StoreUnavailable: the policy refuses the client.
    """
    try:
        return await _opened(request, session_id)
    except RelayError as exc:
        record_refusal(exc)
        raise


async def _opened(request: HttpRequest, session_id: str) -> HttpResponseBase:
    last_event_id = request.headers.get(LAST_EVENT_ID) or request.GET.get("last_event_id", "")
    epoch, _ = _cursor(last_event_id)
    if last_event_id == CLOSED_ID:
        return HttpResponse(status=204)
    assert isinstance(request, ASGIRequest)  # noqa: S101 - there is no other way in
    if not (is_origin_allowed(request.scope) or has_internal_key(request)):
        raise Forbidden
    handshake = read_handshake(request.scope, session_id, has_cursor=bool(last_event_id), cursor_epoch=epoch)
    identity = await admit(handshake, (await lifecycle.current()).policy)
    if epoch in _deleted_epochs:
        return HttpResponse(status=204)
    is_coalescing = request.GET.get("coalesce") == "1"
    stream = EventStream(session_id, last_event_id, handshake, identity, is_coalescing=is_coalescing)
    return HttpStreamResponse(request, stream)


def operator_events(request: HttpRequest, session_id: str, *, seconds: float) -> HttpResponseBase:
    """Stream all of a session's log to an operator whom the admin has admitted, for so many seconds."""
    last_event_id = request.headers.get(LAST_EVENT_ID, FROM_THE_START)
    if last_event_id == CLOSED_ID:
        return HttpResponse(status=204)
    identity = Identity(expires_at=time.time() + seconds)
    stream = EventStream(session_id, last_event_id, None, identity, is_coalescing=True)
    return HttpStreamResponse(request, stream)


class EventStream(HttpStream):
    """One viewer over server-sent events."""

    def __init__(
        self,
        session_id: str,
        last_event_id: str,
        handshake: Handshake | None,
        identity: Identity,
        *,
        is_coalescing: bool,
    ) -> None:
        network = limited_network(handshake) if handshake is not None else ""  # an operator is not limited
        super().__init__(session_id, handshake, network, identity)
        self._last_event_id = last_event_id
        self._is_coalescing = is_coalescing

    async def subscribe(
        self, layer: SessionLayer, session_id: str, subject: str | None
    ) -> tuple[Subscription, dict[str, Any]]:
        """Start at the cursor of the last event."""
        epoch, offset = _cursor(self._last_event_id)
        subscription = ResumableSubscription(layer, session_id, subject, coalesce=self._is_coalescing)
        return subscription, await subscription.start(epoch=epoch, offset=offset)

    def encode_welcome(self, fields: dict[str, Any]) -> bytes:
        """Write ``welcome``, with the cursor that it stands for."""
        after, retry_ms = fields["after"], random.randint(*RETRY_MS)  # noqa: S311 - no secret
        event_id = None if after is None else f"{self._epoch}:{after}"
        return encode_event(json_text.encode(fields), event_id=event_id, retry_milliseconds=retry_ms)

    def encode(self, batch: list[Frame] | Snapshot) -> Iterator[bytes]:
        """Write frames, or a snapshot, each with its cursor."""
        epoch = self._epoch
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

    def encode_notice(self, text: str) -> bytes:
        """Write a frame without a cursor."""
        return encode_event(text)

    def encode_heartbeat(self) -> bytes:
        """Write a comment."""
        return encode_comment()

    def encode_disconnect(self, reason: RelayError) -> bytes:
        """Write ``disconnect``; after a failure of the gateway the client is told to return."""
        close_code = frames.close_code(reason)
        if close_code is CloseCode.INTERNAL:
            close_code = CloseCode.SERVER_RESTART
        if close_code in frames.COME_BACK:
            delay_ms = reconnect_delay_ms(reason, RETRY_MS)
            return encode_event(frames.disconnect(reason, close_code, delay_ms=delay_ms), retry_milliseconds=delay_ms)
        if isinstance(reason, SessionDeleted) and self._epoch:
            _remember_deleted(self._epoch)
        return encode_event(frames.disconnect(reason, close_code), event_id=CLOSED_ID)

    @property
    def _epoch(self) -> str:
        subscription = self.connection.subscription
        return subscription.position.epoch if subscription is not None else ""


def _cursor(last_event_id: str) -> tuple[str, str]:
    """Split an id; one that is not ``<epoch>:<offset>`` gives a cursor that ``SessionState.resume`` finds malformed."""
    epoch, _, offset = last_event_id.partition(":")
    return epoch, offset or ("-" if last_event_id else "")


def _remember_deleted(epoch: str) -> None:
    _deleted_epochs[epoch] = None
    if len(_deleted_epochs) > MAX_DELETED_EPOCHS:
        _deleted_epochs.popitem(last=False)
