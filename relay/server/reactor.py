"""Twisted's reactor on a uvloop event loop.

The first import of ``twisted.internet.reactor`` installs the default reactor, and daphne's app imports it as Django
starts. So the gateway's app stands before daphne in ``INSTALLED_APPS`` and calls ``install`` on import.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.main import installReactor
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from relay.server.daphne_internals import SelectorReactor


def install() -> None:
    """Install the reactor, unless one is installed already (by the ``daphne`` command, for example)."""
    if "twisted.internet.reactor" not in sys.modules:
        installReactor(Reactor(_new_event_loop()))


class Reactor(SelectorReactor):
    """Handles that uvloop stops watching a connection once it was reset.

    uvloop then calls the reader once, which may find a last message in place of the error. Later calls that watch
    the connection raise ``RuntimeError``: here the connection counts as lost, instead of the program as wrong.
    """

    def on_read(self, selectable: Any) -> None:
        """Give up a connection that was reset."""
        if _is_reset(selectable):
            self._lose(selectable)

    def addWriter(self, writer: Any) -> None:  # noqa: N802 - Twisted's name
        """Watch for room to write."""
        try:
            super().addWriter(writer)
        except RuntimeError:
            self.callLater(0, self._lose, writer)

    def addReader(self, reader: Any) -> None:  # noqa: N802 - Twisted's name
        """Watch for something to read."""
        try:
            super().addReader(reader)
        except RuntimeError:
            self.callLater(0, self._lose, reader)

    def _lose(self, connection: Any) -> None:
        if connection.fileno() == -1:
            return  # its loss is known already
        self.removeReader(connection)
        self.removeWriter(connection)
        connection.connectionLost(Failure(ConnectionLost()))


def _is_reset(selectable: Any) -> bool:
    """Is it a connection with an error behind the bytes that were read?"""
    return isinstance(selectable, Connection) and selectable.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # pragma: no cover - there is none for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
