"""One turn as texts of a socket that it shares with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from relay.adapters.turn_stream import TurnStream
from relay.delivery.socket_writer import SocketWriter
from relay.exceptions import RelayError
from relay.observability import metrics


class SharedSocket(NamedTuple):
    """The socket that several turns share.

    Attributes:
        close: is called if the client takes no more, so that it could not be told that a turn breaks off.
    """

    writer: SocketWriter
    close: Callable[[RelayError], None]


class SocketStream(TurnStream):
    """A turn's events, each as a text with a line end behind it. A subclass writes them, and sets ``_socket``."""

    gauge = metrics.SOCKET_CHATS
    _socket: SharedSocket

    @property
    def blocked_seconds(self) -> float:
        """See ``Transport``: of the socket, which other turns use, too."""
        return self._socket.writer.blocked_seconds if self.writer.is_sending else 0.0

    def encode_heartbeat(self) -> bytes:
        """Write nothing: signs of life are the socket's."""
        return b""

    def encode_disconnect(self, reason: RelayError) -> bytes:
        """Write nothing: the socket tells the reason."""
        return b""

    def _cut(self) -> None:
        if self._serving is not None and self._leaving is not None:
            self._socket.close(self._leaving)
