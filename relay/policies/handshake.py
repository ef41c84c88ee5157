"""The handshake of a client with a session: its request, its credential, its identity. Pure."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from django.http.cookie import parse_cookie

TICKET_SUBPROTOCOL: Final = "gateway.ticket."  # and the credential in base64url: browsers can send no header
TICKET_PARAMETER: Final = "ticket"
MAX_CREDENTIAL_LENGTH: Final = 8_192  # more than any issuer writes; longer ones are ignored
_SUBJECT: Final = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """One request to watch a session, over a socket or as server-sent events, for the first time or again.

    Attributes:
        session_id: the requested session; empty if a client lists its own sessions or creates one.
        headers: as received: lower-case names, repeated headers included.
        query: the parameters of the address; the last one of each name.
        subprotocols: offered by a socket; empty for server-sent events.
        address: the client's, as reported by trusted proxies; empty if it is not known (a Unix socket).
        is_socket: is it a WebSocket? Otherwise it is server-sent events.
        has_cursor: does the client claim to resume from a position? Any client can claim that.
        cursor_epoch: the epoch of that cursor, as the client names it; empty if it names none.
    """

    session_id: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    query: Mapping[str, str] = {}
    subprotocols: Sequence[str] = ()
    address: str = ""
    is_socket: bool = True
    has_cursor: bool = False
    cursor_epoch: str = ""

    def header(self, name: str) -> str | None:
        """Return a header's value; ``None`` if it is missing or repeated."""
        values = [value for shown, value in self.headers if shown.lower() == name.lower().encode()]
        return values[0].decode("latin-1") if len(values) == 1 else None

    @property
    def credential(self) -> str | None:
        """The presented ticket or token: as a bearer token (RFC 6750 §2.1), subprotocol, or ``?ticket=``.

        ``None`` if none is presented, or more than one, because the gateway must not guess which one is meant.
        """
        shown = [*self._bearer(), *self._from_subprotocols(), self.query.get(TICKET_PARAMETER, "")]
        shown = [credential for credential in shown if credential]
        if len(shown) != 1 or len(shown[0]) > MAX_CREDENTIAL_LENGTH:
            return None
        return shown[0]

    def cookie(self, name: str) -> str | None:
        """Return a cookie's value; ``None`` if it is missing."""
        return parse_cookie(self.header("cookie") or "").get(name)

    def _bearer(self) -> list[str]:
        scheme, _, token = (self.header("authorization") or "").partition(" ")
        return [token.strip(" ")] if scheme.lower() == "bearer" else []

    def _from_subprotocols(self) -> list[str]:
        offered = [name for name in self.subprotocols if name.startswith(TICKET_SUBPROTOCOL)]
        return [_decoded(name.removeprefix(TICKET_SUBPROTOCOL)) for name in offered]


class Identity(msgspec.Struct, frozen=True):
    """The person or service behind a client.

    Attributes:
        subject: its name, which owns the session and which the agent gets in ``X-Subject``; ``None``: not known.
        expires_at: Unix time in seconds at which a connection ends; ``None``: it does not.
    """

    subject: str | None = None
    expires_at: float | None = None

    def __post_init__(self) -> None:
        """Refuse a subject that is not allowed in a header, and a time that is none (``ValueError``, ``TypeError``)."""
        if self.subject is not None and not is_subject(self.subject):
            raise ValueError("a subject is 1 to 255 printable ASCII characters, without spaces around them")
        if self.expires_at is not None and not math.isfinite(self.expires_at):
            raise ValueError("expires_at is a Unix time in seconds")


def is_subject(text: str) -> bool:
    """May this text name a subject?"""
    return _SUBJECT.fullmatch(text) is not None


def parse_query(query_string: bytes) -> dict[str, str]:
    """Parse the parameters of an address; the last one of each name counts, but two tickets count as none."""
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    query = dict(pairs)
    if sum(name == TICKET_PARAMETER for name, _ in pairs) > 1:
        query[TICKET_PARAMETER] = ""
    return query


def _decoded(text: str) -> str:
    """Read base64url without padding (RFC 4648 §5); any other text becomes one that no policy accepts."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:  # binascii.Error and UnicodeError are such
        return "-"
