"""OpenAI's API over HTTP: ``POST /v1/chat/completions``, ``GET /v1/models``, and an honest 404 for all the rest."""

from __future__ import annotations

import time
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from relay.access.auth import HEADER, bearer_key
from relay.adapters.base import message_id_of, session_id_of
from relay.adapters.entrance import (
    ANY,
    Scope,
    admitted,
    check_message,
    endpoint,
    read_json,
    request_limits,
    retry_headers,
    scope_of,
)
from relay.adapters.openai import OpenAIAnswer, OpenAITranslator, error_fields, read_request
from relay.adapters.turn_stream import TurnStream
from relay.conf import conf
from relay.delivery.http_stream import HttpStreamResponse
from relay.exceptions import ParameterInvalid, RelayError
from relay.layers.values import new_id
from relay.protocol import json_text
from relay.protocol.http_status import status_of
from relay.protocol.request_headers import IDEMPOTENCY_KEY, TRACEPARENT

ADAPTER: Final = "openai"
CHAT_ID: Final = "X-OpenWebUI-Chat-Id"
SESSION_ID: Final = "X-Session-Id"
USER_MESSAGE_ID: Final = "X-OpenWebUI-User-Message-Id"
TASK: Final = "X-OpenWebUI-Task"  # titles and tags of a conversation: not a turn of it
DEFAULT_MODEL: Final = "agent"

_KINDS: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def refuse(reason: RelayError) -> HttpResponse:
    """Answer with OpenAI's error object."""
    status = status_of(reason)
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return _error(status, error_fields(str(reason), kind, reason.code), retry_headers(reason))


@endpoint(ADAPTER, "POST", refuse)
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer the last message of a conversation, as a stream or in one piece."""
    body = read_json(request)
    message = read_request(body, _message_id(request), request_limits())
    check_message(message)
    model, session_id = _model(body), _session_id(request, body)
    stream = TurnStream(session_id, *await admitted(_with_key(scope_of(request)), session_id))
    chunks = await stream.open()
    try:
        accepted = await stream.start_turn(message, request.headers.get(TRACEPARENT))
        created = int(time.time())
        if body.get("stream") is True:
            has_usage = _has_usage(body)
            stream.follow(OpenAITranslator(accepted.turn_id, created=created, model=model, has_usage=has_usage))
            return HttpStreamResponse(request, stream, chunks)
        answer = OpenAIAnswer(accepted.turn_id, created=created, model=model)
        stream.follow(answer)
        async for _ in chunks:
            pass
    except BaseException:
        await chunks.aclose()
        raise
    return _whole(answer, stream)


@endpoint(ADAPTER, "GET", refuse)
async def models(request: HttpRequest) -> HttpResponse:
    """List the agent, as the one model that there is."""
    await admitted(_with_key(scope_of(request)), new_id())
    model = {"id": conf.agent_model or DEFAULT_MODEL, "object": "model", "created": 0, "owned_by": "gateway"}
    return _json(200, {"object": "list", "data": [model]})


@endpoint(ADAPTER, ANY, refuse)
async def not_found(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer 404 in OpenAI's shape."""
    words = f"This gateway has no {request.method} /v1/{rest}; it has /v1/chat/completions and /v1/models."
    return _error(404, error_fields(words, "invalid_request_error", "unknown_url"), {})


def _whole(answer: OpenAIAnswer, stream: TurnStream) -> HttpResponse:
    if not stream.is_over:
        return refuse(stream.left_for or RelayError())
    if answer.error is not None:
        words, code = answer.error
        return _error(502 if code.startswith("upstream_") else 500, error_fields(words, "server_error", code), {})
    return _json(200, answer.fields())


def _error(status: int, fields: dict[str, Any], headers: dict[str, str]) -> HttpResponse:
    """Answer with an error; the client's library must not ask again by itself, for the agent may have been asked."""
    return _json(status, fields, {"x-should-retry": "false", **headers})


def _json(status: int, fields: dict[str, Any], headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(json_text.encode(fields), status=status, content_type="application/json", headers=headers)


def _with_key(scope: Scope) -> Scope:
    """Take an internal key that is presented as ``Authorization: Bearer``, as these clients do."""
    key = bearer_key(scope["headers"])
    if key is None:
        return scope
    others = [(name, value) for name, value in scope["headers"] if name.lower() != HEADER]
    return {**scope, "headers": [*others, (HEADER, key)]}


def _session_id(request: HttpRequest, body: dict[str, Any]) -> str:
    """Return the named session; a request without a name, and one about a conversation, has one of its own."""
    if request.headers.get(TASK):  # Open WebUI sends it empty with what is no task
        return new_id()
    metadata = body.get("metadata")
    named = metadata.get("session_id") if isinstance(metadata, dict) else None
    for name, value in (
        (CHAT_ID, request.headers.get(CHAT_ID)),
        (SESSION_ID, request.headers.get(SESSION_ID)),
        ("metadata.session_id", named),
    ):
        if value:
            return session_id_of(value, name)
    return new_id()


def _message_id(request: HttpRequest) -> str | None:
    return message_id_of(request.headers.get(USER_MESSAGE_ID) or request.headers.get(IDEMPOTENCY_KEY))


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise ParameterInvalid("model must be a text.")
    return model or conf.agent_model or DEFAULT_MODEL


def _has_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
