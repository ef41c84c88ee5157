"""Who holds a ticket may."""

from __future__ import annotations

import time

from relay import tickets
from relay.exceptions import Unauthorized
from relay.policies.base import Policy
from relay.policies.handshake import Handshake, Identity


class TicketPolicy(Policy):
    """Admits tickets of ``POST api/v1/tickets``: to their session, until they expire, once without a cursor.

    Who comes back with a cursor may show the same ticket again: an ``EventSource`` returns to the same address.
    """

    async def admit(self, handshake: Handshake) -> Identity:
        """Admit the holder of a ticket, and use it up."""
        credential = handshake.credential
        if credential is None:
            raise Unauthorized
        ticket = tickets.read(credential)
        if ticket.session_id != handshake.session_id:
            raise Unauthorized
        if not handshake.has_cursor:
            seconds_left = max(ticket.expires_at - time.time(), 1.0)
            if not await self.limits.use_once(f"ticket:{ticket.name}", seconds_left):
                raise Unauthorized
        return Identity(ticket.subject)
