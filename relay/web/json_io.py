"""JSON over HTTP, read and written by the parser and writer of sockets' frames. Both are handed to ninja."""

from __future__ import annotations

import math
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja.parser import Parser
from ninja.renderers import BaseRenderer

from relay.conf import conf
from relay.exceptions import ClientMessageInvalid, ClientMessageTooLarge, RelayError
from relay.protocol import frames, json_text
from relay.protocol.http_status import status_of


class JsonParser(Parser):
    """Read a request's body: an object of at most ``MAX_MESSAGE_BYTES``, whose strings may hold half a character."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:  # Any: every JSON value
        """Read the object.

        Raises:
            ClientMessageTooLarge, ClientMessageInvalid: the body is too long, or no JSON object.
        """
        if len(request.body) > conf.max_message_bytes:
            raise ClientMessageTooLarge(conf.max_message_bytes)
        try:
            fields = json_text.decode(request.body)
        except ValueError as exc:
            raise ClientMessageInvalid from exc
        if not isinstance(fields, dict):
            raise ClientMessageInvalid
        return fields


class JsonRenderer(BaseRenderer):
    """Write an answer as compact JSON, whose strings may hold half a character."""

    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> str:  # Any: every JSON value
        """Write the answer's body."""
        return json_text.encode(data)


def refusal(reason: RelayError, client_message_id: str | None = None) -> HttpResponse:
    """Answer with the error frame, and the status that fits it."""
    response = HttpResponse(
        frames.v1_refusal(reason, client_message_id),
        status=status_of(reason),
        content_type="application/json",
    )
    if reason.temporary:
        response["Retry-After"] = str(math.ceil(reason.retry_after_seconds))
    return response
