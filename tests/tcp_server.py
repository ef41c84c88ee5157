"""A TCP server of a test's own. When it has ended, so has each of its connections, also one within its TLS handshake.

``asyncio.start_server`` gives no hold on a handshake. One that is not over when the event loop closes leaves an open
transport, whose warning fails a later test.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Self

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve nothing."""


class TcpServer:
    """Serves each connection in a task, and aborts it at the task's end.

    Args:
        serve: a failure of the connection ends it, and is no error.
        port: 0: chosen when it starts to listen.
        tls: how its clients must speak TLS to it.
        limit: the most bytes that ``serve`` may look for a separator in.
    """

    def __init__(
        self,
        serve: Serve = hang_up,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        limit: int = 65_536,
    ) -> None:
        self.port = port
        self._serve = serve
        self._host = host
        self._tls = tls
        self._limit = limit
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        self.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted connection is closed in the next iteration of the event loop

    def listen(self) -> None:
        """Take connections; after ``refuse`` again on the same port."""
        self._listener = socket.create_server((self._host, self.port), backlog=1_024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def reset(self) -> None:
        """Abort every connection."""
        for task in self._tasks:
            task.cancel()

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection. Between this and its task is no wait, in which a cancellation would lose it."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client has gone again
            return
        connection.setblocking(False)
        task = asyncio.create_task(self._converse(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: connection.close())  # a task may end before it runs

    async def _converse(self, connection: socket.socket) -> None:
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(self._limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        except OSError:
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)  # one dropped while it is open warns
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            transport.abort()
