"""Sockets whose client does not do its part of the closing handshake."""

from __future__ import annotations

from types import SimpleNamespace

from relay.server import limits
from relay.server.websocket import WebSocketConnection


class Transport(SimpleNamespace):
    """Twisted's, with a client that takes nothing."""

    disconnecting = False
    is_aborted = False

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.is_aborted = True


def test_connection_is_let_go_of_before_it_is_cut_also_if_nobody_looked_for_long():
    """A process that stood still looks too late: what is held still reaches the client, then."""
    connection = WebSocketConnection()
    connection.transport = transport = Transport()
    too_long = limits.CLOSE_SECONDS + limits.LINGER_SECONDS + 1
    connection._check_closing(too_long)
    assert (transport.disconnecting, transport.is_aborted) == (True, False)
    connection._check_closing(too_long)
    assert transport.is_aborted
