"""The base class of access policies, which decide which clients may watch a session and send messages to it."""

from __future__ import annotations

import abc

from relay.layers.limits import Limits
from relay.policies.handshake import Handshake, Identity


class Policy(abc.ABC):
    """Decides on every connect and every resume, over WebSocket and as server-sent events.

    ``GATEWAY__WS_AUTH`` names one: ``open``, ``ticket``, ``session``, ``jwt``, or the dotted path of a class of your
    own. There is one object for each event loop. A client that presents an internal key in ``X-Internal-Auth`` is
    admitted without the policy.

    Attributes:
        limits: shared by all workers; for single-use credentials, and for rates.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    @abc.abstractmethod
    async def admit(self, handshake: Handshake) -> Identity:
        """Identify the client, or refuse it, for ``handshake.session_id``.

        Must not block the event loop, and must not log what the client presents. The session belongs to the first
        subject that opens it; the gateway ensures that.

        Raises:
            Unauthorized: the credential is missing, wrong, used or expired. Plain sockets get 403, ``gateway.v1`` a
                ``disconnect`` and 4401, server-sent events 401.
            Forbidden: the client is known, but may not connect: 403, 4403, 403.
            StoreUnavailable: the store cannot be reached at the moment: 403, 4503, 503.
        """

    async def redeem(self, handshake: Handshake, epoch: str) -> None:  # noqa: B027 - most use nothing up
        """Use up a single-use credential. Called last, after every other reason to refuse the client was ruled out.

        ``admit`` must not use anything up: a client that it admits may still be refused, and told to come back.

        Args:
            handshake: the one that was admitted.
            epoch: of the session's log, as the client is about to see it.

        Raises:
            Unauthorized, StoreUnavailable: as in ``admit``, for example because another client was faster.
        """

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Release connections and tasks: the gateway stops."""
