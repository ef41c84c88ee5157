"""Requests to the adapters of other projects."""

from __future__ import annotations

from functools import cache

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from relay.access.rules import Rule, open_to
from relay.adapters.entrance import (
    UrlView,
    admitted,
    check_message,
    endpoint,
    read_json,
    request_limits,
    retry_headers,
    scope_of,
)
from relay.adapters.project import AdapterRequest, find, load
from relay.adapters.turn_stream import TurnStream
from relay.conf import conf
from relay.delivery.http_stream import HttpStreamResponse
from relay.exceptions import RelayError
from relay.protocol import json_text
from relay.protocol.http_status import status_of
from relay.protocol.request_headers import TRACEPARENT


@csrf_exempt  # as the endpoints themselves
@open_to(Rule.POLICY)
async def answer(request: HttpRequest, path: str) -> HttpResponseBase:
    """Pass a request to the adapter of its path."""
    name = find(path, conf.adapters)
    if name is None:
        raise Http404
    response: HttpResponseBase = await _view(name)(request)
    return response


@cache
def _view(name: str) -> UrlView:
    """Make the view of an adapter, by its dotted path."""
    adapter = load(name)

    def refuse(reason: RelayError) -> HttpResponse:
        return HttpResponse(
            json_text.encode(adapter.refusal(reason)),
            status=status_of(reason),
            content_type="application/json",
            headers=retry_headers(reason),
        )

    @endpoint(name, "POST", refuse)
    async def start_turn(request: HttpRequest) -> HttpResponseBase:
        asked = AdapterRequest(read_json(request), request.headers, request.GET.dict())
        session_id, message = adapter.read(asked, request_limits())
        check_message(message)
        admission = await admitted(scope_of(request), session_id)
        stream = TurnStream(session_id, *admission, end=adapter.last_events)
        chunks = await stream.open()
        try:
            accepted = await stream.start_turn(message, request.headers.get(TRACEPARENT))
            stream.follow(adapter.translator(accepted.turn_id, asked))
        except BaseException:
            await chunks.aclose()
            raise
        return HttpStreamResponse(request, stream, chunks)

    return start_turn
