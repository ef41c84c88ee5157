"""REST: sessions, their turns and their logs, for services that hold the internal key. JSON in and out.

Bodies are read by the parser that reads sockets' frames, so a message means the same here and there.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver
from ninja import Body, Query, Status

from relay.access.rate_limits import take_message
from relay.conf import conf
from relay.delivery.sse import session_events
from relay.delivery.subscription import resume, with_history
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ClientMessageInvalid, RelayError, ShuttingDown
from relay.layers.values import new_turn
from relay.policies import ticket_signing
from relay.process import lifecycle
from relay.protocol.client_messages import StartTurn, parse_turn
from relay.protocol.frames import ReplayGap
from relay.protocol.request_headers import IDEMPOTENCY_KEY, TRACEPARENT
from relay.turns import recorder
from relay.web import frame_schemas, rest_schemas
from relay.web.clients_api import router as clients
from relay.web.json_io import refusal
from relay.web.ninja_api import json_only_urls, make_api
from relay.web.operator_api import router as operators
from relay.web.rest_schemas import SESSION, SessionPath, answers
from relay.web.sessions_api import found_session
from relay.web.sessions_api import router as sessions

DEFAULT_LIMIT: Final = 256

Limit = Annotated[int, Query(ge=1, le=rest_schemas.MAX_LIMIT)]

api = make_api()
api.add_router("", operators)
api.add_router("", sessions)
api.add_router("", clients)


def api_urls() -> tuple[list[URLPattern | URLResolver], str, str]:
    """Give the paths, for Django's ``path``."""
    return json_only_urls(api)


# Turns.


@api.post(
    f"{SESSION}/messages",
    response=answers({202: frame_schemas.AcceptedFields}, 400, 409, 413, 429, 503),
)
async def send_message(
    request: HttpRequest, session_id: SessionPath, fields: rest_schemas.MessageBody
) -> Status[dict[str, object]] | HttpResponse:
    """Start a turn, which runs to its end with or without viewers. `Idempotency-Key` means `client_message_id`."""
    message = _read_message(request, fields)
    try:
        gateway = await lifecycle.current()
        if gateway.is_draining:
            raise ShuttingDown
        await within_store_timeout(take_message(gateway.layer.limits, session_id))
        new = new_turn(message, is_detached=True, outer_traceparent=request.headers.get(TRACEPARENT))
        accepted = await within_store_timeout(gateway.layer.enqueue(session_id, new))
    except RelayError as exc:
        recorder.message_refused(exc)
        return refusal(exc, message.client_message_id)
    recorder.message_accepted(session_id, accepted)
    gateway.runner.wake(session_id)
    return Status(202, {"client_message_id": message.client_message_id, **msgspec.structs.asdict(accepted)})


@api.post(f"{SESSION}/cancel", response=answers({200: frame_schemas.CancelAckFields}, 400, 413, 503))
async def cancel_turn(
    request: HttpRequest,
    session_id: SessionPath,
    fields: Annotated[frame_schemas.CancelFields, Body()] = rest_schemas.CANCEL,
) -> dict[str, object]:
    """Stop a turn: the named one, or else the turn in flight, or else the queue's head."""
    gateway = await lifecycle.current()
    ack = await within_store_timeout(gateway.layer.cancel(session_id, fields.turn_id))
    return msgspec.structs.asdict(ack)


# The log.


@api.get(f"{SESSION}/frames", response=answers({200: rest_schemas.FramePage | rest_schemas.SnapshotPage}, 400, 503))
async def read_frames(
    request: HttpRequest, session_id: SessionPath, epoch: str = "", offset: str = "", limit: Limit = DEFAULT_LIMIT
) -> HttpResponse:
    """Read the log after a cursor, or the snapshot if frames are gone. Without a cursor: read the turn in flight."""
    state = await found_session(session_id)
    layer = (await lifecycle.current()).layer
    start = (await within_store_timeout(resume(layer, state, epoch, offset))).after
    try:
        found = await within_store_timeout(layer.read(session_id, start, limit))
    except ReplayGap as gap:
        epoch, members = gap.snapshot.epoch, f'"snapshot":{with_history(gap.snapshot).v1}'
    else:
        epoch, members = start.epoch, f'"frames":[{",".join(frame.v1 for frame in found)}]'
    # The frames are JSON text already; ninja would have them parsed and written again.
    return HttpResponse(f'{{"epoch":"{epoch}",{members}}}', content_type="application/json")


@api.get(
    f"{SESSION}/events",
    auth=None,  # the access policy decides, after the key
    response=rest_schemas.client_answers({200: None, 204: None}, 400, 503),
    openapi_extra={"responses": {200: {"content": {"text/event-stream": {}}}}},
)
async def watch_events(
    request: HttpRequest, session_id: SessionPath, last_event_id: str = "", coalesce: str = ""
) -> HttpResponseBase:
    """Stream the log as server-sent events; the header `Last-Event-ID`, or else `last_event_id`, is the cursor."""
    return await session_events(request, session_id)


# Tickets.


@api.post("/tickets", response=answers({201: rest_schemas.IssuedTicket}, 400, 413, in_session=False))
async def issue_ticket(
    request: HttpRequest, fields: Annotated[rest_schemas.TicketRequest, Body()]
) -> Status[dict[str, object]]:
    """Issue a ticket with which a browser may open one session: once, and for a short time."""
    lifetime_seconds = fields.expires_in or math.ceil(conf.ticket_seconds)
    ticket = ticket_signing.issue(fields.session_id, fields.subject, lifetime_seconds)
    return Status(201, {"ticket": ticket, "expires_in": lifetime_seconds})


# Requests.


def _read_message(request: HttpRequest, body: dict[str, Any]) -> StartTurn:
    fields = {"type": "user_message", **body}
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None:
        key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key  # a structured field is quoted
        if fields.get("client_message_id") not in (None, key):
            raise ClientMessageInvalid
        fields["client_message_id"] = key
    return parse_turn(fields, forward_types=frozenset(conf.forward_types), max_depth=conf.max_json_depth)
