"""A TCP proxy between a worker and the store. What goes wrong on its lines is what its subclasses are for."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self

from tests.tcp_server import TcpServer

READ_BYTES = 65_536


class Proxy:
    """Passes bytes on, both ways, to a port of loopback; with ``tls`` its clients speak that to it."""

    def __init__(
        self, target_port: int, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._host = host
        self._target_port = target_port
        self._server = TcpServer(self._serve, host=host, port=port, tls=tls)

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return f"redis://{self._host}:{self.port}/0"

    def break_off(self) -> None:
        """Reset every line."""
        self._server.reset()

    def new_line(self) -> object:
        """What ``passes`` remembers of one line."""

    def passes(self, line: object, data: bytes, *, is_reply: bool) -> bool:
        """Say whether bytes are passed on. Raise ``ConnectionError`` to cut the line."""
        return True

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = self.new_line()
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        pumps = [
            asyncio.ensure_future(self._pump(line, reader, target_writer, is_reply=False)),
            asyncio.ensure_future(self._pump(line, target_reader, writer, is_reply=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            target_writer.transport.abort()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, line: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        while data := await reader.read(READ_BYTES):
            if self.passes(line, data, is_reply=is_reply):
                writer.write(data)
                await writer.drain()
