"""The frames of the AI SDK's ``WebSocketChatTransport``: one socket carries the requests of many chats. Pure.

Source: the types ``WebSocketChatTransportRequest`` and ``…Response`` in the npm package ``ai``, from 7.0.135 on. Its
client closes the socket, and fails every request on it, for a frame that it does not expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from relay.exceptions import ClientMessageInvalid, ParameterInvalid
from relay.protocol import json_text

SEND: Final = "send"
RESUME: Final = "resume"
ABORT: Final = "abort"

MAX_NAME_BYTES: Final = 256  # of a request's id, as JSON; each chunk repeats it
CREDENTIAL: Final = "ticket"  # the member of ``body`` with a ticket or token; the agent does not get it
_OF_POST: Final[tuple[str, ...]] = ("id", "messages", "trigger", "messageId", "metadata")


class ClientFrame(NamedTuple):
    """A frame of a client.

    Attributes:
        kind: any JSON; the client sends ``send``, ``resume`` and ``abort``.
        members: the whole frame, not parsed yet.
    """

    kind: Any
    request_id: str
    members: Mapping[str, bytes]


def read_frame(members: Mapping[str, bytes]) -> ClientFrame:
    """Read the members of a frame, as far as an answer needs them to name its request.

    Raises:
        ClientMessageInvalid: no answer can name the request.
    """
    kind, request_id = (_small(members.get(name, b"null")) for name in ("type", "requestId"))
    if not isinstance(request_id, str):
        raise ClientMessageInvalid
    return ClientFrame(kind, request_id, members)


def _small(value: bytes) -> Any:
    if len(value) > MAX_NAME_BYTES:
        raise ClientMessageInvalid
    try:
        return json_text.decode(value)
    except ValueError as exc:
        raise ClientMessageInvalid from exc


def post_body(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the body (any JSON) with which the same chat would be sent by ``POST``.

    Raises:
        ParameterInvalid: ``body`` is no object.
    """
    extra = {name: value for name, value in _body(fields).items() if name != CREDENTIAL}
    own = {name: fields[name] for name in _OF_POST if name in fields}
    return {**extra, **own}


def credential_of(fields: dict[str, Any]) -> str | None:
    """Return the ticket or token of a request: ``body.ticket``, or a Bearer among ``headers``; ``None`` without one.

    Raises:
        ParameterInvalid: ``body`` is no object, or the credential no text.
    """
    shown = _body(fields).get(CREDENTIAL)
    if shown is not None and not isinstance(shown, str):
        raise ParameterInvalid("body.ticket must be a text.")
    return shown or _bearer(fields.get("headers"))


def last_sequence_of(fields: dict[str, Any]) -> int:
    """Return the number of the last chunk that a client has; -1 if it wants all.

    Raises:
        ParameterInvalid: it is no number of a chunk.
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


def encode_error(request_id: str, words: str) -> str:
    """Write the end of a request that has failed."""
    return json_text.encode({"type": "error", "requestId": request_id, "errorText": words})


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
