"""Clients without a credential that send the costliest bytes for their size: pings, and bodies in chunks of one byte.

``python -m benchmarks.strangers --target 8000 --count 40 --port 9000`` sends until it is ended. It takes only the time
that client and agent leave.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os

import uvloop

BYTES_PER_SECOND = 2_000_000  # of one stranger
BURST_BYTES = 65_536  # as much as a server reads at once
PING = b"\x89\x80\0\0\0\0"  # an empty one, masked with nothing
CHUNK = b"1\r\nx\r\n"
OPENING = (
    b"GET /ws/stranger/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: gateway.v1\r\n\r\n"
)
POST = b"POST /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
AGAIN_SECONDS = 0.1


async def bother(port: int, head: bytes, piece: bytes) -> None:
    """Send without end; connect again whenever the server has had enough."""
    burst = piece * (BURST_BYTES // len(piece))
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head)
                if head is OPENING:
                    await reader.readuntil(b"\r\n\r\n")
                while not reader.at_eof():
                    writer.write(burst)
                    await writer.drain()
                    await asyncio.sleep(len(burst) / BYTES_PER_SECOND)
            finally:
                writer.transport.abort()
        await asyncio.sleep(AGAIN_SECONDS)


async def main() -> None:
    """Send, and listen on a port to say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--target", "--count", "--port"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    kinds = itertools.islice(itertools.cycle(((OPENING, PING), (POST, CHUNK))), options.count)
    async with asyncio.TaskGroup() as group:
        for head, piece in kinds:
            group.create_task(bother(options.target, head, piece))
        await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", options.port)


if __name__ == "__main__":
    uvloop.run(main())
