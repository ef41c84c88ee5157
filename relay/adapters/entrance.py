"""The way into an adapter's view: is it switched on, may the client, and what its body says."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from relay.access.auth import admit, read_handshake, shows_internal_key
from relay.access.origin_check import is_origin_allowed
from relay.access.rules import Rule, open_to
from relay.adapters.base import Limits
from relay.conf import conf
from relay.delivery.session_connection import record_refusal
from relay.exceptions import ClientMessageInvalid, ClientMessageTooLarge, Forbidden, ParameterInvalid, RelayError
from relay.observability import logging_config
from relay.policies import Handshake, Identity
from relay.process import lifecycle
from relay.protocol import json_text
from relay.protocol.client_messages import StartTurn, is_deeper_than
from relay.protocol.request_headers import is_length

# An event loop parses a megabyte of text in a moment, and one of empty lists in a second.
MAX_BRACKETS: Final = 65_536  # of a message and what goes with it
MAX_COMMAS: Final = 500_000  # of a whole conversation
MAX_MEMBERS: Final = 1_000  # of a request; each is parsed by itself

ANY: Final = "ANY"  # method

Scope: TypeAlias = Mapping[str, Any]  # ASGI's: its keys depend on its type
View = Callable[..., Awaitable[HttpResponseBase]]
UrlView: TypeAlias = Any  # Django's types know no coroutine as a view
Refuse = Callable[[RelayError], HttpResponse]

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])

logger = logging.getLogger(__name__)


def endpoint(adapter: str, method: str, refuse: Refuse) -> Callable[[View], UrlView]:
    """Make a view exist only where its adapter is switched on, and refuse in the form that its client shows."""

    def decorate(view: View) -> UrlView:
        @csrf_exempt  # the Origin is checked, as for sockets
        @open_to(Rule.POLICY)
        @wraps(view)
        async def respond(request: HttpRequest, **parameters: str) -> HttpResponseBase:
            if adapter not in conf.adapters:
                raise Http404
            if method not in (request.method, ANY):
                return HttpResponse(status=405, headers={"Allow": method})
            response = await _respond(view, refuse, request, **parameters)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return respond

    return decorate


async def _respond(view: View, refuse: Refuse, request: HttpRequest, **parameters: str) -> HttpResponseBase:
    try:
        return await view(request, **parameters)
    except RelayError as exc:
        record_refusal(exc)
        return refuse(exc)
    except Exception:
        logger.exception("adapter request failed: %s %s", request.method, request.path_info)
        return refuse(RelayError())


def by_method(**views: UrlView) -> UrlView:
    """Let several endpoints share a path, each with its method."""

    @csrf_exempt  # as the endpoints themselves
    @open_to(Rule.POLICY)
    async def respond(request: HttpRequest, **parameters: str) -> HttpResponseBase:
        view = views.get(request.method or "", next(iter(views.values())))
        response: HttpResponseBase = await view(request, **parameters)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response["Allow"] = ", ".join(views)
        return response

    return respond


def retry_headers(reason: RelayError) -> dict[str, str]:
    """Return the header that says when a refused client may come back, if it may."""
    return {"Retry-After": str(math.ceil(reason.retry_after_seconds))} if reason.temporary else {}


def scope_of(request: HttpRequest) -> Scope:
    """Return the ASGI scope of a request."""
    assert isinstance(request, ASGIRequest)  # noqa: S101 - there is no other way in
    return request.scope


async def admitted(scope: Scope, session_id: str, *, cursor_epoch: str = "") -> tuple[Handshake, Identity]:
    """Ask the access policy, as for the session's log.

    Raises:
        Forbidden, Unauthorized, StoreUnavailable: the page's Origin or the policy refuses the client.
    """
    logging_config.bind(session_id=session_id)
    if not (is_origin_allowed(scope) or shows_internal_key(scope["headers"])):
        raise Forbidden
    handshake = read_handshake(scope, session_id, has_cursor=bool(cursor_epoch), cursor_epoch=cursor_epoch)
    return handshake, await admit(handshake, (await lifecycle.current()).policy)


def read_json(request: HttpRequest) -> dict[str, Any]:
    """Read a request's body (any JSON), of its ``messages`` only the last: the others are skipped, not parsed.

    Raises:
        ClientMessageTooLarge, ClientMessageInvalid: it is too long, also without those others, or no JSON object.
    """
    if not is_length(request.META.get("CONTENT_LENGTH")):
        raise ClientMessageInvalid
    try:
        raw = request.body
    except RequestDataTooBig as exc:
        raise ClientMessageTooLarge(conf.max_request_bytes) from exc
    except (UnreadablePostError, ValueError) as exc:
        raise ClientMessageInvalid from exc
    return parse(outline(raw))


def outline(raw: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object as they stand, of ``messages`` only the last.

    Raises:
        ClientMessageTooLarge, ClientMessageInvalid: it is too long, or no JSON object.
        ParameterInvalid: it has too many members.
    """
    if len(raw) > conf.max_request_bytes:
        raise ClientMessageTooLarge(conf.max_request_bytes)
    try:
        return {name: bytes(value) for name, value in _outline(raw).items()}
    except (ValueError, RecursionError) as exc:
        raise ClientMessageInvalid from exc


def parse(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Parse the members of an outline (any JSON).

    Raises:
        ClientMessageTooLarge, ClientMessageInvalid: they are too long, or no JSON.
    """
    _check_size(members.values())
    try:
        return {name: json_text.decode(value) for name, value in members.items()}
    except (ValueError, RecursionError) as exc:
        raise ClientMessageInvalid from exc


def _outline(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object as bytes; of ``messages`` the last."""
    if raw.count(b",") > MAX_COMMAS:
        raise ClientMessageInvalid
    try:
        members: dict[str, Any] = _members.decode(raw)
    except msgspec.DecodeError:
        return _small_outline(raw)
    if len(members) > MAX_MEMBERS:
        raise ParameterInvalid(f"it has more than {MAX_MEMBERS:,} members.")
    messages = bytes(members.get("messages", b""))
    if messages.lstrip().startswith(b"["):
        listed = _items.decode(messages)
        members["messages"] = b"[%b]" % bytes(listed[-1]) if listed else b"[]"
    return members


def _small_outline(raw: bytes) -> dict[str, Any]:
    """Return the members of an object which may hold half a character somewhere: the skipping parser takes none."""
    _check_size([raw])
    fields = json_text.decode(raw)
    if not isinstance(fields, dict):
        raise ClientMessageInvalid
    return {name: json_text.encode(value).encode() for name, value in fields.items()}


def _check_size(values: Iterable[bytes]) -> None:
    """Refuse what would keep the event loop parsing; escaped, a message may be four times as long as it is."""
    size = brackets = 0
    for value in values:
        size += len(value)
        brackets += value.count(b"[") + value.count(b"{")
    if size > max(4 * conf.max_message_bytes, conf.max_event_bytes):
        raise ClientMessageTooLarge(_max_stored_bytes())
    if brackets > MAX_BRACKETS:
        raise ClientMessageInvalid


def _max_stored_bytes() -> int:
    return max(conf.max_message_bytes, conf.max_event_bytes)


def request_limits() -> Limits:
    """Return the limits that the settings give."""
    return Limits(conf.further_kinds, conf.max_message_bytes, conf.message_fields)


def check_message(message: StartTurn) -> None:
    """Refuse a message that would not fit into a log, or that an agent could not parse.

    Raises:
        ClientMessageTooLarge, ClientMessageInvalid: it is too large with its other members, or nested too deeply.
    """
    if len(json_text.encode(message.message)) > _max_stored_bytes():
        raise ClientMessageTooLarge(_max_stored_bytes())
    if is_deeper_than(conf.max_json_depth, message.message):
        raise ClientMessageInvalid
