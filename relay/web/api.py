"""REST: sessions, their turns and their logs. JSON in and out.

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

from relay.access.auth import limited_network
from relay.access.rate_limits import take_message
from relay.conf import conf
from relay.delivery.sse import session_events
from relay.delivery.subscription import resume, with_history
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ClientMessageInvalid, Forbidden, RelayError, ShuttingDown, Unauthorized
from relay.layers.values import new_turn
from relay.policies import ticket_signing
from relay.process import lifecycle
from relay.protocol.client_messages import StartTurn, parse_turn
from relay.protocol.frames import ReplayGap
from relay.protocol.request_headers import IDEMPOTENCY_KEY, TRACEPARENT
from relay.turns import recorder
from relay.web import frame_schemas, message_schemas, rest_schemas
from relay.web.callers import admitted_reader, by_policy, use_up
from relay.web.clients_api import router as clients
from relay.web.json_io import refusal
from relay.web.ninja_api import json_only_urls, make_api
from relay.web.operator_api import router as operators
from relay.web.rest_schemas import SESSION, SessionPath, answers, client_answers
from relay.web.sessions_api import found_session
from relay.web.sessions_api import router as sessions

DEFAULT_LIMIT: Final = 256

Limit = Annotated[int, Query(ge=1, le=rest_schemas.MAX_LIMIT)]

api = make_api()
api.add_router("", operators)
api.add_router("", sessions)
api.add_router("", clients)


def api_urls() -> tuple[list[URLPattern | URLResolver], str, str]:
    """Return the paths, for Django's ``path``."""
    return json_only_urls(api)


# Turns: for services, and for clients as the access policy decides.


@api.post(
    f"{SESSION}/messages",
    auth=by_policy,
    response=client_answers({202: frame_schemas.AcceptedFields}, 400, 409, 413, 429, 503),
)
async def send_message(
    request: HttpRequest, session_id: SessionPath, fields: rest_schemas.MessageBody
) -> Status[dict[str, object]] | HttpResponse:
    """Start a turn; that of a service runs to its end even without viewers. `Idempotency-Key`: `client_message_id`."""
    handshake, reader = await admitted_reader(request, session_id)
    message = _read_message(request, fields)
    new = new_turn(
        message,
        subject=reader.subject,
        is_detached=reader.is_service,
        outer_traceparent=request.headers.get(TRACEPARENT),
    )
    try:
        gateway = await lifecycle.current()
        if gateway.is_draining:
            raise ShuttingDown
        await within_store_timeout(take_message(gateway.layer.limits, session_id, limited_network(handshake)))
        await use_up(handshake)  # before the message is stored: of two with the same ticket one is
        accepted = await within_store_timeout(gateway.accept(session_id, new))
    except (Forbidden, Unauthorized):
        raise
    except RelayError as exc:
        recorder.message_refused(exc)
        return refusal(exc, message.client_message_id)
    return Status(202, {"client_message_id": message.client_message_id, **msgspec.structs.asdict(accepted)})


@api.post(
    f"{SESSION}/cancel", auth=by_policy, response=client_answers({200: frame_schemas.CancelAckFields}, 400, 413, 503)
)
async def cancel_turn(
    request: HttpRequest,
    session_id: SessionPath,
    fields: Annotated[message_schemas.CancelFields, Body()] = rest_schemas.CANCEL,
) -> dict[str, object]:
    """Stop a turn: the named one, otherwise the turn in flight, otherwise the head of the queue."""
    handshake, reader = await admitted_reader(request, session_id)
    await use_up(handshake)
    layer = (await lifecycle.current()).layer
    ack = await within_store_timeout(layer.cancel(session_id, fields.turn_id, reader.subject))
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
    auth=by_policy,
    response=client_answers({200: None, 204: None}, 400, 503),
    openapi_extra={"responses": {200: {"content": {"text/event-stream": {}}}}},
)
async def watch_events(
    request: HttpRequest, session_id: SessionPath, last_event_id: str = "", coalesce: str = ""
) -> HttpResponseBase:
    """Stream the log as server-sent events; the header `Last-Event-ID`, otherwise `last_event_id`, is the cursor."""
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
    return parse_turn(
        fields,
        forward_types=conf.further_kinds,
        message_fields=conf.message_fields,
        max_depth=conf.max_json_depth,
    )
