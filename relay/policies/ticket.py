"""Admit clients that hold a ticket."""

from __future__ import annotations

import time
from typing import Final

from relay.exceptions import Unauthorized
from relay.policies import ticket_signing
from relay.policies.base import Policy
from relay.policies.handshake import Handshake, Identity
from relay.policies.ticket_signing import Ticket

SOCKET: Final = "socket"


class TicketPolicy(Policy):
    """Admits tickets of ``POST api/v1/tickets``: to their session, once, until they expire.

    An ``EventSource`` that lost its connection can only return to the same address. So an event stream's ticket opens
    that stream again, for a cursor of the log that the stream has sent. Only the store knows whether a ticket was
    used, for what, and of which log: the client's claims decide nothing.
    """

    async def admit(self, handshake: Handshake) -> Identity:
        """Admit the holder of an unused ticket, or of the ticket of an event stream that comes back."""
        ticket = _ticket(handshake)
        purpose = await self.limits.used_for(_key(ticket))
        if purpose is not None and not _returns(handshake, purpose):
            raise Unauthorized
        return Identity(ticket.subject)

    async def redeem(self, handshake: Handshake, epoch: str) -> None:
        """Use the ticket up; of several that were admitted with it one gets in."""
        ticket = _ticket(handshake)
        seconds_left = max(ticket.expires_at - time.time(), 1.0)
        purpose = SOCKET if handshake.is_socket else _stream_of(epoch)
        if await self.limits.use_once(_key(ticket), seconds_left, purpose):
            return
        used_for = await self.limits.used_for(_key(ticket))
        if used_for is None or not _returns(handshake, used_for):
            raise Unauthorized


def _ticket(handshake: Handshake) -> Ticket:
    """Read the presented ticket; ``Unauthorized`` if there is none for this session."""
    credential = handshake.credential
    if credential is None:
        raise Unauthorized
    ticket = ticket_signing.read(credential)
    if ticket.session_id != handshake.session_id:
        raise Unauthorized
    return ticket


def _returns(handshake: Handshake, purpose: str) -> bool:
    """Does an event stream come back to the log for which its ticket was used?"""
    has_epoch = bool(handshake.cursor_epoch)
    return not handshake.is_socket and has_epoch and purpose == _stream_of(handshake.cursor_epoch)


def _stream_of(epoch: str) -> str:
    return f"events:{epoch}"


def _key(ticket: Ticket) -> str:
    return f"ticket:{ticket.name}"
