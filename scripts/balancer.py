"""A TCP balancer in one file, for machines without nginx: each new connection goes to the next gateway that answers.

It keeps no stickiness and inspects no bytes: any gateway serves any session.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Sequence
from typing import Self

HOST = "127.0.0.1"
CONNECT_SECONDS = 1.0
BUFFER_BYTES = 65_536


class Balancer:
    """Spreads connections over ports of this machine, in turn; one that refuses is passed over."""

    def __init__(self, targets: Sequence[int], port: int = 0) -> None:
        self.port = port
        self._targets = list(targets)
        self._first = itertools.cycle(range(len(targets)))
        self._lines: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; the port is chosen now if it was 0."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port, backlog=4_096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection, like a restarted balancer."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.ensure_future(self._pass_on(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)
        line.add_done_callback(lambda _: writer.close())  # also of a line that is cut before its task has run

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            target = await self._connect()
            if target is None:
                return
            target_reader, target_writer = target
            ends.append(target_writer)
            with contextlib.suppress(OSError):
                await _both(_pump(reader, target_writer), _pump(target_reader, writer))
        except asyncio.CancelledError:  # what waits for a gateway that does not read would keep the connection
            for end in ends:
                end.transport.abort()
            raise
        finally:
            for end in ends:
                end.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = next(self._first)
        for port in self._targets[first:] + self._targets[:first]:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(HOST, port)
        return None


async def _both(*pumps) -> None:
    """Run until one direction ends: the other has no receiver then."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BUFFER_BYTES):
        writer.write(data)
        await writer.drain()


async def main(port: int, targets: Sequence[int]) -> None:
    async with Balancer(targets, port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
