"""Where a server listens: on an address of its own, or on a listening socket that it inherited."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet import reactor as twisted_reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError

from relay.server.limits import BACKLOG

logger = logging.getLogger(__name__)

reactor: Final[Any] = twisted_reactor  # to type checkers it is a module
INHERITED: Final = "fd:fileno="
UNIX_SOCKET_MODE: Final = 0o666  # as Twisted's: the folder decides which users may connect
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ABSENT: Final = frozenset(
    {errno.EAGAIN, errno.ECONNABORTED, errno.ENOTCONN}
)  # another process accepted it, or the client has left
EXHAUSTED_PAUSE_SECONDS: Final = 1.0


class NotListening(Exception):
    """The server cannot listen: the address is taken, or the socket is not a listening one. The text says which."""


class Listener(Protocol):
    """Accepts connections until it is stopped."""

    address: str
    is_shared: bool

    async def stop(self) -> None:
        """Accept no more."""


async def listen(endpoint: str, factory: Any) -> Listener:
    """Accept connections at a Twisted endpoint, and hand them to a Twisted protocol factory.

    Raises:
        NotListening: the address or the socket cannot be used.
    """
    if endpoint.startswith(INHERITED):
        return SharedListener(int(endpoint.removeprefix(INHERITED)), factory)
    try:
        port = await serverFromString(reactor, endpoint).listen(factory).asFuture(asyncio.get_running_loop())
    except CannotListenError as exc:
        raise NotListening(str(exc)) from exc
    return OwnListener(port)


class OwnListener:
    """Twisted's listening port, on an address that no other process listens on."""

    is_shared = False

    def __init__(self, port: Any) -> None:
        self._port = port
        host = port.getHost()
        self.address = host.name.decode() if isinstance(host, UNIXAddress) else _url(host.host, host.port)

    async def stop(self) -> None:
        """Accept no more; connections that are not accepted yet are refused."""
        await maybeDeferred(self._port.stopListening).asFuture(asyncio.get_running_loop())


class SharedListener:
    """A listening socket that other processes share: systemd, or this process' successor.

    Twisted's own port would take it for an IPv4 socket, and at its end shut it down for all and remove its file.
    """

    is_shared = True

    def __init__(self, number: int, factory: Any) -> None:
        self._socket = inherited_socket(number)
        self._factory = factory
        self._pause: asyncio.TimerHandle | None = None
        name = self._socket.getsockname()
        self.address = _url(*name[:2]) if isinstance(name, tuple) else str(name)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._accept)

    async def stop(self) -> None:
        """Accept no more; connections that are not accepted yet wait for the next process."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        """Accept one connection, so that processes that share the socket get their part of many."""
        try:
            connection, _ = self._socket.accept()
            with connection:  # Twisted takes a duplicate
                connection.setblocking(False)
                reactor.adoptStreamConnection(connection.fileno(), connection.family, self._factory)
        except OSError as exc:
            if exc.errno in EXHAUSTED:
                self._rest(exc)
            elif exc.errno not in ABSENT:
                raise

    def _rest(self, reason: OSError) -> None:
        """Pause accepting: new connections wait in the backlog, which is better than being cut."""
        logger.error("connections cannot be accepted: %s", reason.strerror)
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(EXHAUSTED_PAUSE_SECONDS, self._loop.add_reader, self._socket, self._accept)


def open_tcp(host: str, port: int) -> socket.socket:
    """Listen on an address, for several processes.

    Raises:
        NotListening: it cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _bound(family, found[0][4])
    except OSError as exc:
        raise NotListening(f"Couldn't listen on {host}:{port}: {exc.strerror}.") from exc


def open_unix(path: str) -> socket.socket:
    """Listen on a Unix socket, for several processes; a file that a dead process has left is replaced.

    Raises:
        NotListening: it cannot be used.
    """
    try:
        with socket.socket(socket.AF_UNIX) as client:
            if Path(path).is_socket() and client.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()
        listener = _bound(socket.AF_UNIX, path)
        Path(path).chmod(UNIX_SOCKET_MODE)
        return listener
    except OSError as exc:
        raise NotListening(f"Couldn't listen on {path}: {exc.strerror}.") from exc


def _bound(family: socket.AddressFamily, address: Any) -> socket.socket:
    """Bind a socket and listen. (The address has one of several types, as in ``socket``.)"""
    listener = socket.socket(family)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def inherited_socket(number: int) -> socket.socket:
    """Return the listening socket that has a number in this process.

    Raises:
        NotListening: there is none.
    """
    try:
        found = socket.socket(fileno=number)
    except OSError as exc:
        raise NotListening(
            f"There is no open socket with the number {number}: {exc.strerror}. systemd passes its first socket as 3."
        ) from exc
    if found.type != socket.SOCK_STREAM or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise NotListening(f"The socket with the number {number} does not listen for connections.")
    found.setblocking(False)
    return found


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
