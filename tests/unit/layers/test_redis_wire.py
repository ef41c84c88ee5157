"""Replies of a store on one connection, whenever they arrive."""

import asyncio

import pytest
from redis import exceptions

from relay.layers.redis.wire import Wire
from tests.clients import LIMIT_SECONDS


async def test_replies_before_they_are_awaited_are_collected_and_the_rest_handed_over_in_order():
    go_on = asyncio.Event()

    async def store(reader, writer):
        writer.write(b"+a\r\n+b\r\n+c\r\n")
        await go_on.wait()
        writer.write(b"+d\r\n")
        writer.close()

    async with await asyncio.start_server(store, "127.0.0.1", 0) as server, asyncio.timeout(LIMIT_SECONDS):
        host, port = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(host, port)
        wire, collected, handed = Wire(writer.transport), [], []
        await wire.collect(3, collected, LIMIT_SECONDS)
        wire.data_received(b"+e\r\n+f\r\n")  # two replies in one segment, of which one is awaited
        await wire.collect(1, collected, LIMIT_SECONDS)
        go_on.set()
        with pytest.raises(exceptions.ConnectionError):
            await wire.hand_to(handed.append)
    assert (collected, handed) == ([b"a", b"b", b"c", b"e"], [b"f", b"d"])
