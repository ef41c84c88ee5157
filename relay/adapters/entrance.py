"""The way into an adapter's view: is it switched on, may the client, and what its body says."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeAlias

from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from relay.access.auth import admit, read_handshake, shows_internal_key
from relay.access.origin_check import is_origin_allowed
from relay.adapters.base import Limits
from relay.conf import conf
from relay.delivery.session_connection import record_refusal
from relay.exceptions import ClientMessageInvalid, ClientMessageTooLarge, Forbidden, RelayError
from relay.observability import logging_config
from relay.policies import Handshake, Identity
from relay.process import lifecycle
from relay.protocol import json_text
from relay.protocol.client_messages import StartTurn, is_deeper_than

ANY: Final = "ANY"  # method

Scope: TypeAlias = Mapping[str, Any]  # ASGI's: its keys depend on its type
View = Callable[..., Awaitable[HttpResponseBase]]
UrlView: TypeAlias = Any  # Django's types know no coroutine as a view
Refuse = Callable[[RelayError], HttpResponse]

logger = logging.getLogger(__name__)


def endpoint(adapter: str, method: str, refuse: Refuse) -> Callable[[View], UrlView]:
    """Make a view exist only where its adapter is switched on, and refuse in the form that its client shows."""

    def decorate(view: View) -> UrlView:
        @csrf_exempt  # the Origin is checked, as for sockets
        @wraps(view)
        async def respond(request: HttpRequest, **parameters: str) -> HttpResponseBase:
            if adapter not in conf.adapters:
                raise Http404
            if method not in (request.method, ANY):
                return HttpResponse(status=405, headers={"Allow": method})
            try:
                return await view(request, **parameters)
            except RelayError as exc:
                record_refusal(exc)
                return refuse(exc)
            except Exception:
                logger.exception("adapter request failed: %s %s", request.method, request.path_info)
                return refuse(RelayError())

        return respond

    return decorate


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


def read_json(request: HttpRequest) -> Any:
    """Read a request's body (any JSON).

    Raises:
        ClientMessageTooLarge, ClientMessageInvalid: it is too long, or no JSON.
    """
    try:
        raw = request.body
        if len(raw) > conf.max_request_bytes:
            raise ClientMessageTooLarge(conf.max_request_bytes)
        return json_text.decode(raw)
    except RequestDataTooBig as exc:
        raise ClientMessageTooLarge(conf.max_request_bytes) from exc
    except (UnreadablePostError, ValueError) as exc:
        raise ClientMessageInvalid from exc


def request_limits() -> Limits:
    """Return the limits that the settings give."""
    return Limits(frozenset(conf.forward_types), conf.max_message_bytes)


def check_message(message: StartTurn) -> None:
    """Refuse a message that would not fit into a log, or that an agent could not parse.

    Raises:
        ClientMessageTooLarge, ClientMessageInvalid: it is too large with its other members, or nested too deeply.
    """
    max_bytes = max(conf.max_message_bytes, conf.max_event_bytes)
    if len(json_text.encode(message.message)) > max_bytes:
        raise ClientMessageTooLarge(max_bytes)
    if is_deeper_than(conf.max_json_depth, message.message):
        raise ClientMessageInvalid
