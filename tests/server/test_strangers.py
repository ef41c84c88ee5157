"""Clients that send much work in few bytes: what the server does of it in one iteration of its loop is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.processes import Process
from tests.server.conftest import ARGUMENTS, short, state, until
from tests.server.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LIMIT_SECONDS,
    PING,
    PONG,
    TEXT,
    RawSocket,
    encoded,
    handshake,
    resident_bytes,
)

MEGABYTE = 2**20
READ_BYTES = 65_536
MANY_FRAMES = 1_000  # in one iteration; one read may bring 10,900, two passes handle 2 * 16 * 21 of them
MANY_CHUNKS = 3_000  # as many as two passes handle of 512 bytes a slice


@contextlib.asynccontextmanager
async def connection(process: Process) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield reader, writer
    finally:
        writer.transport.abort()


POST = b"POST /body HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def generous() -> Iterator[Process]:
    """The test application, which lets a client send as many pings as it likes."""
    with Process([*ARGUMENTS, "MAX_CONTROL_FRAMES=1e9", "MESSAGE_SECONDS=600"]) as process:
        yield process


async def test_read_full_of_pings_is_handled_in_many_iterations_and_every_one_counts(generous):
    count = 4 * READ_BYTES // 6
    async with RawSocket(generous.port, "/echo") as client:
        await client.send_bytes(encoded(PING) * count)
        await client.send(TEXT, b"after")
        while (frame := await client.answer()).opcode == PONG:
            pass
    assert frame.payload == b"after"
    said = await asyncio.to_thread(state, generous)
    assert said["all"]["frames"] == count + 1
    assert said["most"]["frames"] < MANY_FRAMES


async def test_forty_strangers_together_have_as_little_of_one_iteration(generous):
    async with contextlib.AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(RawSocket(generous.port, "/echo")) for _ in range(40)]
        for stranger in strangers:
            stranger.writer.write(encoded(PING) * 10_000)
        async with RawSocket(generous.port, "/echo") as client:
            for _ in range(20):
                await client.send(TEXT, b"x")
                assert (await client.answer()).payload == b"x"
        said = await asyncio.to_thread(state, generous)
    assert said["most"]["frames"] < READ_BYTES // 6  # less than one of the 40 reads


async def test_body_in_chunks_of_one_byte_is_handled_in_many_iterations_and_arrives_whole(generous):
    count = 50_000
    async with connection(generous) as (reader, writer):
        writer.write(POST + b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b'{"bytes": %d}' % count in await reader.readuntil(b"}")
    said = await asyncio.to_thread(state, generous)
    assert said["all"]["chunks"] >= count
    assert said["most"]["chunks"] < MANY_CHUNKS


async def test_pipelined_requests_are_answered_in_order_one_in_an_iteration(generous):
    requests = [b"GET /scope?%d HTTP/1.1\r\nHost: test\r\n\r\n" % number for number in range(300)]
    async with connection(generous) as (reader, writer):
        writer.write(b"".join(requests))
        for number in range(300):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), (number, head)
            size = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"transfer-encoding"))
            assert size.endswith(b"chunked")
            length = int(await reader.readline(), 16)
            await reader.readexactly(length + 2)
            assert await reader.readexactly(5) == b"0\r\n\r\n"
    assert (await asyncio.to_thread(state, generous))["most"]["requests"] < 16


async def test_pipelined_requests_that_are_refused_at_once_are_not_all_refused_in_one_iteration(generous):
    bad = b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n"
    async with connection(generous) as (reader, writer):
        writer.write(bad * 1_500)
        writer.write_eof()
        answers = await reader.read()
        assert answers.startswith(b"HTTP/1.1 400")
    assert (await asyncio.to_thread(state, generous))["most"]["requests"] < 500


async def test_messages_over_the_rate_wait_and_others_are_served():
    with Process([*ARGUMENTS, "MAX_MESSAGES=20", "WATCH_SECONDS=600"]) as process:  # the wait does not end here
        async with RawSocket(process.port, "/echo") as flooding, RawSocket(process.port, "/echo") as client:
            await flooding.send_bytes(encoded(TEXT, b"x") * 1_000)
            for _ in range(20):
                assert (await flooding.answer()).payload == b"x"
            await client.send(TEXT, b"served")
            assert (await client.answer()).payload == b"served"
            assert (await asyncio.to_thread(state, process))["all"]["frames"] <= 20 + 1


async def test_messages_over_the_rate_are_all_handled_in_the_end():
    with Process([*ARGUMENTS, "MAX_MESSAGES=20"]) as process:
        async with RawSocket(process.port, "/echo") as client:
            await client.send_bytes(b"".join(encoded(TEXT, b"%d" % number) for number in range(50)))
            assert [(await client.answer()).payload for _ in range(50)] == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("piece", [1, 7, 1_000, MEGABYTE])
async def test_fragmented_megabyte_arrives_whole_with_pings_in_between(service, piece):
    size = 4_000 if piece == 1 else 20_000 if piece == 7 else MEGABYTE
    content = (b"0123456789" * (size // 10 + 1))[:size]
    async with RawSocket(service.port, "/echo") as client:
        await client.send(BINARY, content[:piece], fin=False)
        await client.send(PING, b"between")
        for at in range(piece, size, piece):
            await client.send(CONTINUATION, content[at : at + piece], fin=False)
        await client.send(CONTINUATION, b"")
        assert (await client.answer()).opcode == PONG
        assert (await client.answer()).payload == content


async def test_message_in_more_fragments_than_any_needs_is_closed_1008(service):
    async with RawSocket(service.port, "/take") as client:
        await client.send(TEXT, b"x", fin=False)
        await client.send_bytes(encoded(CONTINUATION, b"", fin=False) * 4_100)
        assert (await client.answer()).close == (1008, "a message has too many fragments")


@short(MESSAGE_SECONDS=1, PING_SECONDS=0.2)
async def test_message_that_is_never_finished_is_closed_1008_while_pings_are_answered(impatient):
    async with RawSocket(impatient.port, "/take") as client:
        await client.send(TEXT, b"x", fin=False)
        assert (await client.answer()).close == (1008, "a message takes too long")


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_flood_of_control_frames_is_closed_1008_and_costs_little(service, opcode):
    before = resident_bytes(service.pid)
    async with RawSocket(service.port, "/take") as client:
        client.writer.write(encoded(opcode, b"x" * 125) * 8_000)
        while (frame := await client.answer()).opcode == PONG:
            pass
        assert frame.close == (1008, "too many pings or pongs")
    assert resident_bytes(service.pid) - before < 8 * MEGABYTE


async def test_frames_of_a_client_that_was_refused_are_not_handled(service):
    before = (await asyncio.to_thread(state, service))["all"]["frames"]
    async with RawSocket(service.port, "/close/4401/no") as client:
        assert (await client.answer()).close == (4401, "no")
        client.writer.write(encoded(PING) * 100_000)
        assert await client.ended() == b""
    frames = (await asyncio.to_thread(state, service))["all"]["frames"] - before
    assert frames <= 4_096 // 6 + 16 * 21, frames


async def test_client_that_answers_the_close_frame_is_let_go_at_once(service):
    async with RawSocket(service.port, "/close/4401/no") as client:
        frame = await client.answer()
        await client.send(TEXT, b"what it said before it read that")
        await client.send(CLOSE, frame.payload)
        assert await client.ended() == b""


async def test_frames_sent_with_the_handshake_are_handled_after_it(service):
    async with connection(service) as (reader, writer):
        writer.write(handshake("/echo") + encoded(TEXT, b"early") + encoded(TEXT, b"y" * 3_000))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(7) == b"\x81\x05early"
        assert (await reader.readexactly(3_004))[4:] == b"y" * 3_000


@short(ENDING_SECONDS=0.5)
async def test_client_that_leaves_while_its_next_request_waits_is_noticed(impatient):
    await until(lambda: state(impatient)["connections"] == 1)  # that of the question
    async with connection(impatient) as (_, writer):
        writer.write(b"GET /drip HTTP/1.1\r\nHost: test\r\n\r\n" + b"GET /scope HTTP/1.1\r\nHost: test\r\n\r\n")
        await until(lambda: state(impatient)["connections"] == 2)
        writer.transport.abort()
        await until(lambda: state(impatient)["connections"] == 1)
