"""The AI SDK over HTTP: ``useChat``'s ``POST``, its ``GET`` of the turn in flight, and a ``POST`` that stops."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from relay.access.auth import redeem
from relay.adapters.ai_sdk import DONE, AiSdkTranslator, read_request
from relay.adapters.base import session_id_of
from relay.adapters.entrance import (
    admitted,
    check_message,
    endpoint,
    read_json,
    request_limits,
    retry_headers,
    scope_of,
)
from relay.adapters.turn_stream import TurnStream
from relay.delivery.http_stream import HttpStreamResponse
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import RelayError
from relay.process import lifecycle
from relay.protocol import json_text
from relay.protocol.http_status import status_of
from relay.protocol.request_headers import TRACEPARENT

ADAPTER: Final = "ai-sdk"
PROTOCOL: Final = "x-vercel-ai-ui-message-stream"
STREAM_ID: Final = "x-resumable-stream-id"


def refuse(reason: RelayError) -> HttpResponse:
    """Answer with the words alone: the client shows the body."""
    content_type = "text/plain; charset=utf-8"
    return HttpResponse(str(reason), status=status_of(reason), content_type=content_type, headers=retry_headers(reason))


@endpoint(ADAPTER, "POST", refuse)
async def chat(request: HttpRequest) -> HttpResponseBase:
    """Answer the last message of a chat; the same message again gives its turn from the start."""
    body = read_json(request)
    session_id, message = read_request(body, request_limits())
    check_message(message)
    stream = TurnStream(session_id, *await admitted(scope_of(request), session_id), end=[DONE])
    chunks = await stream.open()
    try:
        turn_id = (await stream.start_turn(message, request.headers.get(TRACEPARENT))).turn_id
    except BaseException:
        await chunks.aclose()
        raise
    has_approvals = body.get("approvals") is True
    return _answer(request, stream, chunks, AiSdkTranslator(turn_id, has_approvals=has_approvals, continues=True))


@endpoint(ADAPTER, "GET", refuse)
async def resume(request: HttpRequest, chat_id: str) -> HttpResponseBase:
    """Return the turn in flight, otherwise the one that will be next, from its first frame; 204 if there is neither."""
    session_id = session_id_of(chat_id, "id")
    handshake, identity = await admitted(scope_of(request), session_id)
    gateway = await lifecycle.current()
    state = await within_store_timeout(gateway.layer.get(session_id, identity.subject))
    if state is None or (turn_id := state.unended_turn_id) is None:
        await within_store_timeout(redeem(handshake, gateway.policy, ""))
        return HttpResponse(status=204)
    stream = TurnStream(session_id, handshake, identity, end=[DONE])
    chunks = await stream.open()
    stream.attach(state)
    has_approvals = request.GET.get("approvals") == "true"
    return _answer(request, stream, chunks, AiSdkTranslator(turn_id, has_approvals=has_approvals))


@endpoint(ADAPTER, "POST", refuse)
async def stop(request: HttpRequest, chat_id: str) -> HttpResponse:
    """Stop the turn in flight, otherwise the one that would be next."""
    session_id = session_id_of(chat_id, "id")
    handshake, identity = await admitted(scope_of(request), session_id)
    gateway = await lifecycle.current()
    ack = await within_store_timeout(gateway.layer.cancel(session_id, None, identity.subject))
    await within_store_timeout(redeem(handshake, gateway.policy, ""))
    return HttpResponse(json_text.encode(msgspec.structs.asdict(ack)), content_type="application/json")


def _answer(
    request: HttpRequest, stream: TurnStream, chunks: AsyncGenerator[bytes, None], translator: AiSdkTranslator
) -> HttpStreamResponse:
    stream.follow(translator)
    response = HttpStreamResponse(request, stream, chunks)
    response[PROTOCOL] = "v1"
    response[STREAM_ID] = translator.turn_id
    return response
