"""A connection to an agent that breaks where a test says."""

from __future__ import annotations

import asyncio
import contextlib

from relay.tasks import cancel_and_wait


class CuttingProxy:
    """Cuts the first connection behind so many bytes of its response."""

    def __init__(self, port):
        self._server_port = port
        self.cut_after = None
        self.sent = bytearray()
        self._serving = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader, writer):
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader, writer):
        to_server, from_client = await asyncio.open_connection("127.0.0.1", self._server_port)
        asking = asyncio.ensure_future(self._ask(reader, from_client))
        left, self.cut_after = self.cut_after, None
        try:
            while data := await to_server.read(65_536):
                writer.write(data if left is None else data[:left])
                await writer.drain()
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        break
        except ConnectionError:
            pass
        finally:
            writer.close()
            from_client.transport.abort()
            await cancel_and_wait(asking)

    async def _ask(self, reader, from_client):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.sent += data
                from_client.write(data)
