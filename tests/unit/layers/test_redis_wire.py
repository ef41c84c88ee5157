"""Replies of a store on one connection, whenever they arrive."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from redis import exceptions

from relay.layers.redis.wire import Wire
from tests.clients import LIMIT_SECONDS


@asynccontextmanager
async def wire_to(store):
    """A wire to a server that is ``store(reader, writer)``."""
    has_ended = asyncio.Event()

    async def serve(reader, writer):
        try:
            await store(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            has_ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(LIMIT_SECONDS):
        host, port = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(host, port)
        wire = Wire(writer.transport)
        try:
            yield wire
        finally:
            wire.forget()
            await has_ended.wait()


def asked(wire, count, seconds=LIMIT_SECONDS):
    """Ask, and return a future of what ``answered`` gets."""
    given = asyncio.get_running_loop().create_future()
    wire.ask(b"?" * count, count, lambda *answer: given.set_result(answer), seconds)
    return given


async def echo(reader, writer):
    while question := await reader.read(100):
        writer.write(b"+done\r\n" * len(question))


async def silent(reader, writer):
    await reader.read()


async def test_replies_before_they_are_awaited_are_collected_and_the_rest_handed_over_in_order():
    go_on = asyncio.Event()

    async def store(reader, writer):
        writer.write(b"+a\r\n+b\r\n+c\r\n")
        await go_on.wait()
        writer.write(b"+d\r\n")

    async with wire_to(store) as wire:
        handed = []
        assert await asked(wire, 3) == ([b"a", b"b", b"c"], None)
        wire.data_received(b"+e\r\n+f\r\n")  # two replies in one segment, of which one is awaited
        assert await asked(wire, 1) == ([b"e"], None)
        go_on.set()
        with pytest.raises(exceptions.ConnectionError):
            await wire.hand_to(handed.append)
    assert handed == [b"f", b"d"]


async def test_replies_are_told_by_the_call_that_reads_the_last_one():
    async with wire_to(silent) as wire:
        given = asked(wire, 2)
        wire.data_received(b"+a\r\n+b")
        assert not given.done()
        wire.data_received(b"\r\n")
        assert given.result() == ([b"a", b"b"], None)


async def test_a_connection_that_breaks_gives_the_replies_that_came_and_the_failure():
    async def store(reader, writer):
        await reader.readexactly(2)
        writer.write(b"+a\r\n")

    async with wire_to(store) as wire:
        replies, failure = await asked(wire, 2)
        assert (replies, type(failure)) == ([b"a"], exceptions.ConnectionError)
        replies, failure = await asked(wire, 1)
        assert (replies, type(failure)) == ([], exceptions.ConnectionError), "later ones fail at once"


async def test_replies_that_do_not_come_in_time_fail():
    async with wire_to(silent) as wire:
        replies, failure = await asked(wire, 1, seconds=0.01)
        assert (replies, type(failure)) == ([], TimeoutError)
        assert wire.failure is failure


async def test_each_exchange_has_its_whole_time_though_a_timer_serves_many():
    async with wire_to(echo) as wire:
        assert await asked(wire, 1, seconds=0.01) == ([b"done"], None)
        given = asked(wire, 1)
        wire._look_at_the_time()
        assert await given == ([b"done"], None)
        wire._look_at_the_time()
        assert wire.failure is None, "where nothing is asked, nothing is late"


async def test_a_wire_that_is_given_up_calls_back_no_more():
    async with wire_to(silent) as wire:
        given = asked(wire, 1)
        wire.forget()
        wire.data_received(b"+a\r\n")
        assert not given.done()
        assert isinstance(wire.failure, exceptions.ConnectionError)


async def test_a_handler_that_raises_breaks_the_connection():
    async def store(reader, writer):
        writer.write(b"+a\r\n")
        await reader.read()

    def refuse(reply):
        raise ValueError

    async with wire_to(store) as wire:
        with pytest.raises(ValueError):
            await wire.hand_to(refuse)
