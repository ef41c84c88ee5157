"""An exchange of commands for replies, as its caller sees it."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from relay.layers.redis.connection import RedisConnection, pack
from tests.clients import LIMIT_SECONDS

PING = pack("PING")


@asynccontextmanager
async def connected():
    """An open connection to a server that answers all that opens it, and no PING."""

    async def serve(reader, writer):
        try:
            while data := await reader.read(1000):
                writer.write(b"+OK\r\n" * (data.count(b"*") if PING not in data else 0))
        finally:
            writer.close()
            has_ended.set()

    has_ended = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(LIMIT_SECONDS):
        connection = RedisConnection(
            f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=2", timeout_seconds=LIMIT_SECONDS
        )
        await connection.open()
        try:
            yield connection
        finally:
            await connection.close()
            await has_ended.wait()


async def started(connection, replies):
    """An exchange that waits for its reply."""
    exchange = asyncio.create_task(connection.exchange([PING], replies))
    await asyncio.sleep(0)
    assert not exchange.done()
    return exchange


async def test_replies_end_an_exchange():
    async with connected() as connection:
        exchange = await started(connection, replies := [])
        connection._wire.data_received(b"+PONG\r\n")
        await exchange
        assert replies == [b"PONG"]
        assert connection.is_open


async def test_replies_that_arrive_as_an_exchange_is_cancelled_are_dropped_with_the_connection():
    async with connected() as connection:
        exchange = await started(connection, replies := [])
        wire = connection._wire
        exchange.cancel()
        wire.data_received(b"+PONG\r\n")
        with pytest.raises(asyncio.CancelledError):
            await exchange
        assert replies == []
        assert not connection.is_open, "the reply of another exchange could come first"
