"""Flow control: nobody makes the process grow, neither by not reading nor by not being read."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from tests.processes import Process
from tests.server.conftest import release, short, state, until
from tests.server.raw import BINARY, CLOSE, LIMIT_SECONDS, PING, PONG, TEXT, RawSocket, encoded, resident_bytes

MEGABYTE = 2**20
BOUND = 8 * MEGABYTE


async def others_are_served(service: Process, times: int = 50) -> None:
    """Another client has its echoes."""
    async with RawSocket(service.port, "/echo") as client:
        for _ in range(times):
            await client.send(TEXT, b"x")
            await client.frame()


async def test_client_that_does_not_read_200_megabytes_costs_little_and_gets_all_when_it_does(service):
    await others_are_served(service)
    before = resident_bytes(service.pid)
    async with RawSocket(service.port, "/flood/200", buffer_bytes=65_536) as client:
        await others_are_served(service)
        assert resident_bytes(service.pid) - before < BOUND
        for _ in range(200 * 16):
            assert len((await client.answer()).payload) == 65_536
        assert (await client.answer()).opcode == CLOSE
    assert resident_bytes(service.pid) - before < BOUND


@short(STALLED_SECONDS=1, CLOSE_SECONDS=1, LINGER_SECONDS=1)
async def test_client_that_never_reads_is_closed_4508_and_its_application_told(impatient):
    async with RawSocket(impatient.port, "/flood/200", buffer_bytes=65_536) as client:
        await until(lambda: state(impatient)["sockets"] == 0)
        assert state(impatient)["last_error"] == "ClientLeft"
        client.writer.transport.abort()


async def test_client_that_reads_again_in_time_sees_4508(service):
    """The limit is the consumer's; what is behind the frames in the buffer is the close frame."""
    async with RawSocket(service.port, "/close/4508/slow") as client:
        assert (await client.frame()).close == (4508, "slow")


async def test_last_text_is_in_front_of_the_close_frame_though_the_client_did_not_read(service):
    async with RawSocket(service.port, "/stuck", buffer_bytes=65_536) as client:
        await until(lambda: state(service)["last_error"] == "stuck")
        while (frame := await client.answer()).opcode == BINARY:
            pass
        assert (frame.opcode, frame.payload) == (TEXT, b"goodbye")
        assert (await client.answer()).close == (4508, "")


async def test_others_have_their_turn_while_a_client_takes_all_it_is_sent(service):
    async with RawSocket(service.port, "/burst/2000") as client:
        while (frame := await client.answer()).opcode == BINARY:
            pass
        assert int(frame.payload) >= 2_000 * 1_000 // 65_536


async def test_others_have_their_turn_while_a_client_takes_a_body_as_it_comes(service):
    async with httpx.AsyncClient(timeout=LIMIT_SECONDS) as client:
        body = (await client.get(f"http://127.0.0.1:{service.port}/gush/2000")).content
    head, _, turns = body.rpartition(b" ")
    assert head == bytes(2_000 * 1_000)
    assert int(turns) >= 2_000 * 1_000 // 65_536


async def test_busy_consumer_is_sent_200_megabytes_and_costs_little(service):
    await others_are_served(service)
    before = resident_bytes(service.pid)
    message = encoded(BINARY, bytes(MEGABYTE // 4))
    async with RawSocket(service.port, "/busy") as client:
        sending = asyncio.create_task(send_all(client, message, 800))
        await others_are_served(service)
        assert not sending.done()
        assert resident_bytes(service.pid) - before < BOUND
        await until(lambda: state(service) is not None)
        await asyncio.to_thread(release, service)
        await sending
        await client.send(TEXT, b"end")
        taken = json.loads((await client.answer()).payload)
    assert (taken["messages"], taken["bytes"]) == (801, 200 * MEGABYTE + 3)
    assert resident_bytes(service.pid) - before < BOUND


async def test_ping_while_the_client_is_behind_is_answered_when_it_is_not(service):
    async with RawSocket(service.port, "/flood/32", buffer_bytes=65_536) as client:
        await client.send(PING, b"first")
        await client.send(PING, b"last")
        opcodes = [(frame := await client.frame()).opcode for _ in range(32 * 16)]
        while frame.opcode != CLOSE:
            opcodes.append(frame.opcode)
            frame = await client.frame()
        assert PONG in opcodes


@short(PING_SECONDS=0.2, PONG_SECONDS=1)
async def test_client_that_answers_no_ping_is_dropped_though_it_sends(impatient):
    async def keep_sending() -> None:
        while True:
            await client.send(TEXT, b"x")
            await asyncio.sleep(0.05)

    async with RawSocket(impatient.port, "/take") as client, asyncio.timeout(60):
        with pytest.raises(ConnectionError):
            await keep_sending()
    await until(lambda: state(impatient)["sockets"] == 0)


@short(PING_SECONDS=0.2)
async def test_pongs_in_pieces_are_pongs_too(impatient):
    """A next ping says that: it is sent only once the last one was answered."""
    async with RawSocket(impatient.port, "/echo") as client:
        for _ in range(3):
            frame = await client.frame()
            assert frame.opcode == PING
            pong = encoded(PONG, frame.payload)
            for piece in (pong[:1], pong[1:5], pong[5:]):
                await client.send_bytes(piece)
        await client.send(TEXT, b"still here")
        assert (await client.answer()).payload == b"still here"


@short(PING_SECONDS=0.2)
async def test_client_that_answers_pings_stays(impatient):
    async with RawSocket(impatient.port, "/echo") as client:
        for _ in range(8):
            frame = await client.frame()
            assert frame.opcode == PING
            await client.send(PONG, frame.payload)
        await client.send(TEXT, b"still here")
        assert (await client.answer()).payload == b"still here"


async def send_all(client: RawSocket, message: bytes, count: int) -> None:
    for _ in range(count):
        await client.send_bytes(message)


async def test_texts_that_are_sent_at_once_are_refused_whole_where_the_client_is_behind_or_has_left(service):
    async with RawSocket(service.port, "/now", buffer_bytes=65_536) as client:
        texts = []
        while len(texts) < 2 or texts[-1] in ("x", "y"):
            payload = (await client.frame()).payload.decode()
            texts.append(payload if payload.isdecimal() else payload[0])
    count = int(texts.pop())
    assert count > 0
    assert texts == ["x", "y"] * count
    await until(lambda: state(service)["last_error"] == "sent after the end: False")


async def test_pieces_of_a_body_are_refused_whole_where_the_client_is_behind_or_the_body_not_open(service):
    async with httpx.AsyncClient(timeout=LIMIT_SECONDS) as client:
        body = (await client.get(f"{service.http_url}/now")).content
    pieces, count, took = body.split(b" ", 2)
    assert took == b"[False, False]"
    assert int(count) > 0
    assert pieces == b"head" + (b"x" * 65_536 + b"y") * int(count)
    await until(lambda: state(service)["last_error"] == "sent after the end: False")


async def test_a_body_that_a_middleware_encodes_is_not_added_to(service):
    async with httpx.AsyncClient(timeout=LIMIT_SECONDS) as client:
        body = (await client.get(f"{service.http_url}/now/identity")).content
    assert body == b"head 0 [False, False]"
