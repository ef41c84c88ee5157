"""Admit every client."""

from __future__ import annotations

from relay.exceptions import Unauthorized
from relay.policies.base import Policy
from relay.policies.handshake import Handshake, Identity


class OpenPolicy(Policy):
    """Admits every client that knows a session's id to its sockets; all HTTP stays behind the internal key."""

    async def admit(self, handshake: Handshake) -> Identity:
        """Admit any socket."""
        if not handshake.is_socket:
            raise Unauthorized
        return Identity()
