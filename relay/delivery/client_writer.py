"""The outgoing side of one client, over whatever transport: the pieces that it is sent, and how fast it takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic
from typing import Final, Generic, TypeVar

Piece = TypeVar("Piece", str, bytes)

SEND_NOW: Final = "relay.send_now"
"""An extension in the scope, from servers that can: a function that sends pieces within the call and returns True, or
sends none of them and returns False. A socket's pieces are text frames, a response's are bytes of its body."""


class ClientGone(Exception):
    """The client left, or was disconnected: nothing more reaches it."""


class ClientWriter(ABC, Generic[Piece]):
    """Writes pieces to one client, in order.

    Args:
        send_now: the server's extension ``SEND_NOW``, if it has it.
    """

    def __init__(self, send_now: Callable[[list[Piece]], bool] | None = None) -> None:
        self._server_send_now: Callable[[list[Piece]], bool] | None = send_now
        self._moved_at = monotonic()

    @property
    def idle_seconds(self) -> float:
        """How long nothing has been sent."""
        return monotonic() - self._moved_at

    @property
    def blocked_seconds(self) -> float:
        """How long a piece has been waiting for the client to take it; 0 if none waits."""
        return self.idle_seconds if self.is_sending else 0.0

    @property
    @abstractmethod
    def is_sending(self) -> bool:
        """Does a piece wait for the server, or for the client?"""

    @abstractmethod
    def can_send_now(self) -> bool:
        """Would ``send_now`` accept pieces?"""

    @abstractmethod
    def send_now(self, pieces: list[Piece]) -> bool:
        """Accept pieces without waiting: all of them, or none unless ``can_send_now``."""

    @abstractmethod
    async def send(self, piece: Piece) -> None:
        """Send one piece behind all that was accepted; wait while the client does not take it.

        Raises:
            ClientGone: the client left.
        """
