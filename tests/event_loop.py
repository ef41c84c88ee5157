"""The event loop of a test: it says which connections the test has left open."""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol, SSLProtocolState
from selectors import SelectorKey


class LeftOpen(Exception):
    """A test has ended, and connections or listening sockets of its event loop were still open."""


class TestLoop(asyncio.SelectorEventLoop):
    """An event loop that ends what is left of its connections as it closes.

    Else the garbage collector would find them during a later test, which would fail in their place. A connection
    that was about to close, and whose rest nobody has read, is ended without a word.
    """

    __test__ = False  # it is no class of tests

    def close(self) -> None:
        """Close the loop.

        Raises:
            LeftOpen: connections were open that nobody had closed; they have been ended.
        """
        if self.is_closed():
            return
        transports = list(self._transports.values())
        left_open = [_describe(transport) for transport in transports if not _is_ending(transport)]
        left_open += [repr(next(filter(None, key.data))) for key in self._others()]
        for transport in transports:
            transport.abort()
        self.run_until_complete(asyncio.sleep(0))  # each transport is told that its connection is lost
        super().close()
        if left_open:
            raise LeftOpen(f"Close these before the test ends: {', '.join(left_open)}")

    def _others(self) -> list[SelectorKey]:
        """What the loop still watches beside connections and its own pair of sockets: listening sockets and pipes."""
        known = {*self._transports, self._ssock.fileno()}
        return [key for key in self._selector.get_map().values() if key.fd not in known]


def _is_ending(transport: asyncio.Transport) -> bool:
    """Is it about to close? One with TLS also before its handshake ended: only then the test gets to know it."""
    protocol = transport.get_protocol()
    if isinstance(protocol, SSLProtocol):
        return protocol._state is not SSLProtocolState.WRAPPED or protocol._app_transport.is_closing()
    return transport.is_closing()


def _describe(transport: asyncio.Transport) -> str:
    ends = [transport.get_extra_info(name) for name in ("sockname", "peername")]
    return f"{transport!r} between {ends[0]} and {ends[1]}, {transport.get_protocol()!r}"
