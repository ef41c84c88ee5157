"""A TCP proxy before the store that cuts a line when the reply comes: the command was done, nobody heard of it."""

from __future__ import annotations

import asyncio
import contextlib


class CuttingProxy:
    """Passes everything on; ``cut_replies`` cuts the next lines on which a script replies."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._cuts = 0
        self._lines: set[asyncio.Task[None]] = set()
        self.cut = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def cut_replies(self, count: int) -> None:
        self._cuts = count

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._lines.add(task)
        task.add_done_callback(self._lines.discard)
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        asked = [False]  # was a script called since the last reply?
        pumps = [
            asyncio.create_task(self._pump(reader, target_writer, asked, is_reply=False)),
            asyncio.create_task(self._pump(target_reader, writer, asked, is_reply=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, target_writer):
                end.transport.abort()

    async def _pump(self, reader, writer, asked, *, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if is_reply and asked[0] and self._cuts:
                    self._cuts -= 1
                    self.cut += 1
                    return
                asked[0] = not is_reply and b"EVALSHA" in data
                writer.write(data)
                await writer.drain()
