"""A frame that a client sends over a socket which its requests share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from relay.exceptions import ClientMessageInvalid, ParameterInvalid
from relay.protocol import json_text

ABORT: Final = "abort"  # the kind of a frame that stops a turn, in each protocol
CREDENTIAL: Final = "ticket"  # the member with a request's ticket or token; the agent does not get it
MAX_NAME_BYTES: Final = 256  # of a request's name, as JSON


class ClientFrame(NamedTuple):
    """A frame of a client.

    Attributes:
        kind: any JSON; each protocol has kinds of its own beside ``abort``.
        request_id: the name of the request that the frame starts or stops.
        members: the whole frame, not parsed yet.
    """

    kind: Any
    request_id: str
    members: Mapping[str, bytes]


def small_member(members: Mapping[str, bytes], name: str) -> Any:
    """Parse a short member of a frame (any JSON); ``None`` if it is missing.

    Raises:
        ClientMessageInvalid: it is too long, or no JSON.
    """
    value = members.get(name, b"null")
    if len(value) > MAX_NAME_BYTES:
        raise ClientMessageInvalid
    try:
        return json_text.decode(value)
    except ValueError as exc:
        raise ClientMessageInvalid from exc


def credential_in(fields: Any, name: str) -> str | None:
    """Return the ticket or token in a member (any JSON) of a request; ``None`` without one.

    Args:
        name: of the member, for the words of a refusal.

    Raises:
        ParameterInvalid: the credential is not text.
    """
    shown = fields.get(CREDENTIAL)
    if shown is not None and not isinstance(shown, str):
        raise ParameterInvalid(f"{name}.{CREDENTIAL} must be a text.")
    return shown or None
