"""The balancer of machines without nginx: when it stops, nothing of it is left."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from scripts.balancer import HOST, Balancer

LIMIT_SECONDS = 60
PIECE = b"x" * 1_000_000


@pytest.fixture
async def silent():
    """The port of a gateway that reads nothing, as one that is paused."""
    accepted = []

    async def accept(reader, writer):
        writer.transport.pause_reading()
        accepted.append(writer)

    server = await asyncio.start_server(accept, HOST, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in accepted:
        writer.transport.abort()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def fill(writer):
    """Write until every buffer on the way is full."""
    with contextlib.suppress(TimeoutError):
        while True:
            writer.write(PIECE)
            async with asyncio.timeout(0.2):
                await writer.drain()


async def test_a_stop_cuts_connections_whose_bytes_nobody_takes(silent):
    balancer = Balancer([silent])
    await balancer.start()
    before = open_files()
    _, writer = await asyncio.open_connection(HOST, balancer.port)
    await fill(writer)
    await balancer.stop()
    writer.transport.abort()
    async with asyncio.timeout(LIMIT_SECONDS):
        while open_files() > before:  # less the listening socket, and the gateway's end is open
            await asyncio.sleep(0.001)


async def test_a_stop_cuts_a_connection_that_was_accepted_at_this_moment(silent):
    balancer = Balancer([silent])
    client, accepted = socket.socketpair()
    with client:
        reader, writer = await asyncio.open_connection(sock=accepted)
        await balancer._accept(reader, writer)  # its task has not run yet
        await balancer.stop()
        assert writer.is_closing()
        await writer.wait_closed()
