"""A TCP proxy between a worker and the store. What goes wrong on its lines is what its subclasses are for."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

READ_BYTES = 65_536


class Proxy:
    """Passes bytes on, both ways, to a port of loopback; with ``tls`` its clients speak that to it."""

    def __init__(
        self, target_port: int, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._host = host
        self.port = port  # 0: chosen when it starts to listen
        self._target_port = target_port
        self._tls = tls
        self._lines: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://{self._host}:{self.port}/0"

    def break_off(self) -> None:
        """Reset every line."""
        for line in self._lines:
            line.cancel()

    def new_line(self) -> object:
        """What ``passes`` remembers of one line."""

    def passes(self, line: object, data: bytes, *, is_reply: bool) -> bool:
        """Say whether bytes are passed on. Raise ``ConnectionError`` to cut the line."""
        return True

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.break_off()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))  # not the server's own: that one logs a cancel
        self._lines.add(task)
        task.add_done_callback(self._lines.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also of a line that is cut before its task has run

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends, line = [writer], self.new_line()
        try:
            with contextlib.suppress(OSError):
                target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
                ends.append(target_writer)
                pumps = [
                    asyncio.ensure_future(self._pump(line, reader, target_writer, is_reply=False)),
                    asyncio.ensure_future(self._pump(line, target_reader, writer, is_reply=True)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            for end in ends:
                end.transport.abort()

    async def _pump(
        self, line: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        while data := await reader.read(READ_BYTES):
            if self.passes(line, data, is_reply=is_reply):
                writer.write(data)
                await writer.drain()
