"""REST: sessions, their turns and their logs, for services that hold the internal key. JSON in and out.

Bodies are read by the parser that reads sockets' frames, so a message means the same here and there.
"""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import Annotated, Any, Final

import msgspec
import pydantic
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI, Query
from ninja.errors import ValidationError
from ninja.security import APIKeyHeader

from relay.access.auth import has_internal_key
from relay.access.rate_limits import take_message
from relay.conf import conf
from relay.delivery.sse import session_events
from relay.delivery.subscription import listed_fields, welcome_fields
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ClientMessageInvalid, Forbidden, ParameterInvalid, RelayError, ShuttingDown, Unauthorized
from relay.layers.values import SessionState, new_turn
from relay.observability import logging_config
from relay.policies import ticket_signing
from relay.process import lifecycle
from relay.protocol.client_messages import StartTurn, parse_turn
from relay.protocol.cursor import Cursor, Resume, resume
from relay.protocol.frames import ReplayGap
from relay.protocol.request_headers import IDEMPOTENCY_KEY, INTERNAL_KEY, TRACEPARENT
from relay.turns import recorder
from relay.web import schemas, views
from relay.web.json_io import body_of, json_response, read_body, read_object, refusal
from relay.web.operator_api import router as operators

SyncView = Callable[[HttpRequest], HttpResponse]

logger = logging.getLogger(__name__)

DEFAULT_LIMIT: Final = 256
DESCRIPTION: Final = "Sessions, their turns and their logs. What the frames mean stands in docs/protocol.md."


class InternalKey(APIKeyHeader):
    """The internal key. (Where the gateway's middleware is in place, that has asked for it already.)"""

    param_name = INTERNAL_KEY

    def authenticate(self, request: HttpRequest, key: str | None) -> bool:
        return has_internal_key(request)


def _described_with_key(view: SyncView) -> SyncView:
    """Let only who has the key read the description; with ``DEBUG`` anybody: a browser cannot send the key."""

    @wraps(view)
    def respond(request: HttpRequest) -> HttpResponse:
        return view(request) if settings.DEBUG or has_internal_key(request) else views.unauthorized()

    return respond


api = NinjaAPI(
    title="Agent Gateway",
    version="1",
    description=DESCRIPTION,
    auth=InternalKey(),
    docs_url="/docs" if settings.DEBUG else None,
    docs_decorator=_described_with_key,
    urls_namespace="api",
)
api.add_router("", operators)
SESSION: Final = "/sessions/{session_id:session_id}"
Limit = Annotated[int, Query(ge=1, le=schemas.MAX_LIMIT)]


def api_urls() -> tuple[list[URLPattern | URLResolver], str, str]:
    """Give the paths, for ``path``; each answers JSON, also to a method that it does not have."""
    patterns, app_name, namespace = api.urls
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and iscoroutinefunction(pattern.callback):
            pattern.callback = _json_only(pattern.callback)
    return list(patterns), app_name, namespace


# Turns.


@api.post(
    f"{SESSION}/messages",
    response={202: schemas.AcceptedFields, (400, 409, 413, 429, 503): schemas.Refusal},
    openapi_extra=body_of(schemas.Message),
)
async def send_message(request: HttpRequest, session_id: str) -> HttpResponse:
    """Start a turn, which runs to its end whoever watches. `Idempotency-Key` is the same as `client_message_id`."""
    message = _read_message(request)
    try:
        gateway = await lifecycle.current()
        if gateway.is_draining:
            raise ShuttingDown
        await within_store_timeout(take_message(gateway.layer.limits, session_id))
        shown = request.headers.get(TRACEPARENT)
        new = new_turn(message, is_detached=True, shown_traceparent=shown)
        accepted = await within_store_timeout(gateway.layer.enqueue(session_id, new))
    except RelayError as exc:
        recorder.message_refused(exc)
        return refusal(exc, message.client_message_id)
    recorder.message_accepted(session_id, accepted)
    gateway.runner.wake(session_id)
    fields = {"client_message_id": message.client_message_id, **msgspec.structs.asdict(accepted)}
    return json_response(fields, status=202)


@api.post(
    f"{SESSION}/cancel",
    response={200: schemas.CancelAckFields, (400, 413, 503): schemas.Refusal},
    openapi_extra=body_of(schemas.CancelFields),
)
async def cancel(request: HttpRequest, session_id: str) -> HttpResponse:
    """Stop a turn; without `turn_id` the one in flight, else the queue's head."""
    fields = read_object(request) if read_body(request) else {}
    turn_id = fields.get("turn_id")
    if turn_id is not None and not isinstance(turn_id, str):
        raise ClientMessageInvalid
    gateway = await lifecycle.current()
    return json_response(msgspec.structs.asdict(await within_store_timeout(gateway.layer.cancel(session_id, turn_id))))


# Sessions.


@api.get("/sessions", response={200: schemas.SessionPage, (400, 503): schemas.Refusal})
async def list_sessions(request: HttpRequest, cursor: str = "", limit: Limit = DEFAULT_LIMIT) -> HttpResponse:
    """List the live sessions, a page a call: `next` is the cursor of the next page, null on the last."""
    gateway = await lifecycle.current()
    found, after = await within_store_timeout(gateway.layer.active(_read_page_cursor(cursor), limit))
    following = _page_cursor(after) if after else None
    return json_response({"sessions": [listed_fields(state) for state in found], "next": following})


@api.get(SESSION, response={200: schemas.SessionInfo, 404: schemas.Detail, 503: schemas.Refusal})
async def describe_session(request: HttpRequest, session_id: str) -> HttpResponse:
    """Describe a session, as `welcome` would to a client without a cursor."""
    return json_response(_info(await _found(session_id)))


@api.delete(SESSION, response={204: None, 404: schemas.Detail, 503: schemas.Refusal})
async def delete_session(request: HttpRequest, session_id: str) -> HttpResponse:
    """Erase a session and its transcripts: its turns end, its viewers are told, its log is gone."""
    gateway = await lifecycle.current()
    if not await within_store_timeout(gateway.control.delete(session_id)):
        raise Http404
    return HttpResponse(status=204)


# The log.


@api.get(
    f"{SESSION}/frames",
    response={
        200: schemas.FramePage | schemas.SnapshotPage,
        404: schemas.Detail,
        (400, 503): schemas.Refusal,
    },
)
async def read_frames(
    request: HttpRequest, session_id: str, epoch: str = "", offset: str = "", limit: Limit = DEFAULT_LIMIT
) -> HttpResponse:
    """Read the log after a cursor, or the snapshot where frames are gone. Without a cursor: the turn in flight."""
    state = await _found(session_id)
    start = _resume(state, epoch, offset)
    layer = (await lifecycle.current()).layer
    try:
        found = await within_store_timeout(layer.read(session_id, start, limit))
    except ReplayGap as gap:
        epoch, members = gap.snapshot.epoch, f'"snapshot":{gap.snapshot.v1}'
    else:
        epoch, members = start.epoch, f'"frames":[{",".join(frame.v1 for frame in found)}]'
    return HttpResponse(f'{{"epoch":"{epoch}",{members}}}', content_type="application/json")


@api.get(
    f"{SESSION}/events",
    auth=None,  # the policy's business; it also takes the key
    response={200: str, 204: None, (401, 403, 404): schemas.Detail, 503: schemas.Refusal},
    openapi_extra={"responses": {200: {"description": "The log", "content": {"text/event-stream": {}}}}},
)
async def watch_events(
    request: HttpRequest, session_id: str, last_event_id: str = "", coalesce: str = ""
) -> HttpResponseBase:
    """Stream the log as server-sent events; the header `Last-Event-ID`, or else `last_event_id`, is the cursor."""
    try:
        return await session_events(request, session_id)
    except Unauthorized:
        return views.unauthorized()
    except Forbidden as exc:
        return views.permission_denied(request, exc)


# Tickets.


@api.post(
    "/tickets",
    response={201: schemas.IssuedTicket, (400, 413): schemas.Refusal},
    openapi_extra=body_of(schemas.TicketRequest),
)
async def issue_ticket(request: HttpRequest) -> HttpResponse:
    """Issue a ticket for one session, for a browser that is to open it: good once, and for a short time."""
    wish = _read_ticket_request(request)
    lifetime_seconds = wish.expires_in or math.ceil(conf.ticket_seconds)
    ticket = ticket_signing.issue(wish.session_id, wish.subject, lifetime_seconds)
    response = json_response({"ticket": ticket, "expires_in": lifetime_seconds}, status=201)
    response["Cache-Control"] = "no-store"
    return response


# What comes in.


def _read_message(request: HttpRequest) -> StartTurn:
    fields = {"type": "user_message", **read_object(request)}
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None:
        key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key  # a structured field is quoted
        if fields.get("client_message_id") not in (None, key):
            raise ClientMessageInvalid
        fields["client_message_id"] = key
    return parse_turn(fields, forward_types=frozenset(conf.forward_types), max_depth=conf.max_json_depth)


def _read_ticket_request(request: HttpRequest) -> schemas.TicketRequest:
    try:
        return schemas.TicketRequest.model_validate(read_object(request))
    except pydantic.ValidationError as exc:
        raise ParameterInvalid(_sentences(exc.errors())) from exc


def _read_page_cursor(text: str) -> str:
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except ValueError as exc:  # binascii.Error and UnicodeError are such
        raise ParameterInvalid("cursor is not one that a page gave.") from exc


def _page_cursor(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


async def _found(session_id: str) -> SessionState:
    state = await within_store_timeout((await lifecycle.current()).layer.get(session_id))
    if state is None or state.is_empty:
        raise Http404
    return state


# What goes out.


def _resume(state: SessionState, epoch: str = "", offset: str = "") -> Cursor:
    return resume(
        epoch,
        offset,
        log_epoch=state.epoch,
        oldest=state.oldest,
        newest=state.newest,
        live_after=state.active_after,
    ).after


def _info(state: SessionState) -> dict[str, object]:
    fields = welcome_fields(state, Resume(_resume(state), None))
    del fields["type"]
    return fields


# Errors.


@api.exception_handler(RelayError)
def _on_refusal(request: HttpRequest, exc: RelayError) -> HttpResponse:
    return refusal(exc)


@api.exception_handler(ValidationError)
def _on_invalid_parameter(request: HttpRequest, exc: ValidationError) -> HttpResponse:
    return refusal(ParameterInvalid(_sentences(exc.errors)))


def _sentences(errors: Iterable[Mapping[str, Any]]) -> str:
    """Say of each parameter what it must be: pydantic's own words are for programmers. (``Any``: what it tells.)"""
    problems = []
    for error in errors:
        name = str(error["loc"][-1])
        is_missing = error["type"] == "missing"
        problems.append(
            f"{name} is missing." if is_missing else f"{name} must be {schemas.EXPECTED.get(name, 'a text')}."
        )
    return " ".join(problems)


@api.exception_handler(SuspiciousOperation)
def _on_odd_request(request: HttpRequest, exc: SuspiciousOperation) -> HttpResponse:
    logger.info("request refused: %s", type(exc).__name__)
    return refusal(ParameterInvalid("it has more fields or other characters than it may have."))


@api.exception_handler(Http404)
def _on_not_found(request: HttpRequest, exc: Http404) -> HttpResponse:
    return views.not_found(request, exc)


@api.exception_handler(Exception)
def _on_bug(request: HttpRequest, exc: Exception) -> HttpResponse:
    logger.error("request failed: %s %s", request.method, request.path_info, exc_info=exc)
    return refusal(RelayError())


View = Callable[..., Awaitable[HttpResponseBase]]


def _json_only(view: View) -> View:
    """Say in JSON, too, that a path does not have a method; name the session in the log."""

    @csrf_exempt
    @wraps(view)
    async def respond(request: HttpRequest, **parameters: object) -> HttpResponseBase:
        if (session_id := parameters.get("session_id")) is not None:
            logging_config.bind(session_id=str(session_id))
        response = await view(request, **parameters)
        return views.method_not_allowed(response["Allow"]) if response.status_code == 405 else response

    return respond
