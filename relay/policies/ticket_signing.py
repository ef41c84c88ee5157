"""Tickets: short-lived, signed, each good for one session. A service that holds the internal key asks for them."""

from __future__ import annotations

import secrets
import time
from typing import Final

import msgspec
from django.core.signing import BadSignature, Signer

from relay.exceptions import Unauthorized

SALT: Final = "relay.tickets"  # so that no other signature of the same SECRET_KEY is a ticket


class Ticket(msgspec.Struct, frozen=True):
    """The contents of a ticket.

    Attributes:
        name: random, 128 bits; it is marked as used.
        session_id: the only session that it opens.
        subject: the subject that its holder becomes; ``None``: no particular one.
        expires_at: Unix time in seconds.
    """

    name: str
    session_id: str
    subject: str | None
    expires_at: float


def issue(session_id: str, subject: str | None, lifetime_seconds: float) -> str:
    """Write a new ticket."""
    ticket = Ticket(secrets.token_urlsafe(16), session_id, subject, time.time() + lifetime_seconds)
    return _signer().sign_object(msgspec.to_builtins(ticket))


def read(text: str) -> Ticket:
    """Read a ticket written by this process, or by another one with the same ``SECRET_KEY``.

    Raises:
        Unauthorized: it is none, was changed, or has expired.
    """
    try:
        ticket = msgspec.convert(_signer().unsign_object(text), Ticket)
    except (BadSignature, ValueError) as exc:  # signed, but unreadable: of another version
        raise Unauthorized from exc
    if ticket.expires_at <= time.time():
        raise Unauthorized
    return ticket


def _signer() -> Signer:
    return Signer(salt=SALT)
