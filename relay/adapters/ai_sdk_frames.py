"""The frames of the AI SDK's ``WebSocketChatTransport``: one socket carries the requests of many chats. Pure.

Source: the types ``WebSocketChatTransportRequest`` and ``…Response`` in the npm package ``ai``, from 7.0.135 on. Its
client closes the socket, and fails every request on it, for a frame that it does not expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.adapters.client_frame import CREDENTIAL, ClientFrame, credential_in, small_member
from relay.exceptions import ClientMessageInvalid, ParameterInvalid, RelayError
from relay.protocol import json_text

SEND: Final = "send"
RESUME: Final = "resume"

_OF_POST: Final[tuple[str, ...]] = ("id", "messages", "trigger", "messageId", "metadata")


def read_frame(members: Mapping[str, bytes]) -> ClientFrame:
    """Read the members of a frame, as far as an answer needs them to name its request.

    Raises:
        ClientMessageInvalid: no answer can name the request.
    """
    kind, request_id = small_member(members, "type"), small_member(members, "requestId")
    if not isinstance(request_id, str):
        raise ClientMessageInvalid
    return ClientFrame(kind, request_id, members)


def post_body(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the body (any JSON) with which the same chat would be sent by ``POST``.

    Raises:
        ParameterInvalid: ``body`` is not an object.
    """
    extra = {name: value for name, value in _body(fields).items() if name != CREDENTIAL}
    own = {name: fields[name] for name in _OF_POST if name in fields}
    return {**extra, **own}


def credential_of(fields: dict[str, Any]) -> str | None:
    """Return the ticket or token of a request: ``body.ticket``, or a Bearer among ``headers``; ``None`` without one.

    Raises:
        ParameterInvalid: ``body`` is not an object, or the credential no text.
    """
    return credential_in(_body(fields), "body") or _bearer(fields.get("headers"))


def last_sequence_of(fields: dict[str, Any]) -> int:
    """Return the number of the last chunk that a client has; -1 if it wants all.

    Raises:
        ParameterInvalid: it is not a number of a chunk.
    """
    last = fields.get("lastSequence")
    if last is None:
        return -1
    if type(last) is not int or last < 0:
        raise ParameterInvalid("lastSequence must be a number from 0.")
    return last


def encode(kind: str, request_id: str) -> str:
    """Write ``start``, ``end`` or ``no-active``."""
    return json_text.encode({"type": kind, "requestId": request_id})


def encode_error(request_id: str | None, reason: RelayError) -> str | None:
    """Write the end of a request that has failed; ``None`` for one without a name: the client knows no such frame."""
    if request_id is None:
        return None
    return json_text.encode({"type": "error", "requestId": request_id, "errorText": str(reason)})


def chunk_head(request_id: str) -> str:
    """Return how each chunk of a request starts: its number, ``,"chunk":``, the chunk and a brace follow."""
    return f'{{"type":"chunk","requestId":{json_text.encode(request_id)},"sequence":'


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    body = fields.get("body")
    if body is not None and not isinstance(body, dict):
        raise ParameterInvalid("body must be a JSON object.")
    return body or {}


def _bearer(headers: Any) -> str | None:
    for name, value in headers.items() if isinstance(headers, dict) else ():
        if name.lower() == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            return token.strip(" ") if scheme.lower() == "bearer" else None
    return None
