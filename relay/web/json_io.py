"""JSON over HTTP: what REST reads and answers, in one way everywhere."""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError

from relay.conf import conf
from relay.exceptions import ClientMessageInvalid, ClientMessageTooLarge, RelayError
from relay.protocol import frames, json_text
from relay.web import schemas

T = TypeVar("T")

STATUSES: Final = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "message_too_large": 413,
    "rate_limited": 429,
    "store_unavailable": 503,
    "shutting_down": 503,
    "internal": 500,
}  # every other refusal: 409


def body_of(model: type[schemas.Model]) -> dict[str, Any]:
    """Describe a body that we read ourselves, for OpenAPI (any JSON)."""
    return {"requestBody": {"content": {"application/json": {"schema": model.model_json_schema()}}}}


def read_body(request: HttpRequest) -> bytes:
    """Read the body, of at most ``MAX_MESSAGE_BYTES``.

    Raises:
        ClientMessageTooLarge: it is longer.
        ClientMessageInvalid: it did not come whole.
    """
    limit = conf.max_message_bytes
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > limit or len(request.body) > limit:
            raise ClientMessageTooLarge(limit)
    except RequestDataTooBig as exc:
        raise ClientMessageTooLarge(limit) from exc
    except (ValueError, UnreadablePostError) as exc:
        raise ClientMessageInvalid from exc
    return request.body


def read_object(request: HttpRequest) -> dict[str, Any]:
    """Read the body: an object of any JSON.

    Raises:
        ClientMessageTooLarge, ClientMessageInvalid: it is none.
    """
    try:
        fields = json_text.decode(read_body(request))
    except ValueError as exc:
        raise ClientMessageInvalid from exc
    if not isinstance(fields, dict):
        raise ClientMessageInvalid
    return fields


def json_response(fields: dict[str, object], status: int = 200) -> HttpResponse:
    """Answer with an object of any JSON."""
    return HttpResponse(json_text.encode(fields), status=status, content_type="application/json")


def refusal(reason: RelayError, client_message_id: str | None = None) -> HttpResponse:
    """Answer with the error frame and the status that fits it."""
    response = HttpResponse(
        frames.v1_refusal(reason, client_message_id),
        status=STATUSES.get(reason.code, 409),
        content_type="application/json",
    )
    if reason.temporary:
        response["Retry-After"] = str(math.ceil(reason.retry_after_seconds))
    return response
