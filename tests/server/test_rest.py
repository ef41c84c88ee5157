"""A socket on which nothing happens is not looked at; what happens next has its time limits nevertheless."""

from __future__ import annotations

import asyncio

import pytest

from relay.protocol.frames import CloseCode
from tests.processes import Process
from tests.server.conftest import release, short, state, until
from tests.server.raw import BINARY, PING, TEXT, RawSocket


async def until_it_rests(process: Process) -> None:
    await until(lambda: state(process)["resting"] == 1)


@short(PING_SECONDS=1000, MESSAGE_SECONDS=1)
async def test_message_that_is_begun_after_a_rest_has_its_time_limit(impatient):
    async with RawSocket(impatient.port, "/take") as client:
        await until_it_rests(impatient)
        await client.send(TEXT, b"x", fin=False)
        assert (await client.answer()).close == (1008, "a message takes too long")


@short(PING_SECONDS=1000, STALLED_SECONDS=1)
async def test_client_that_does_not_read_after_a_rest_is_cut(impatient):
    async with RawSocket(impatient.port, "/flood-later", buffer_bytes=65_536):
        await until_it_rests(impatient)
        await asyncio.to_thread(release, impatient)
        await until(lambda: state(impatient)["last_error"] == "flooded: ClientLeft")


@short(PING_SECONDS=1000, HUNG_SECONDS=1, ENDING_SECONDS=0.5)
async def test_consumer_that_hangs_after_a_rest_is_found(impatient):
    async with RawSocket(impatient.port, "/busy") as client:
        await until_it_rests(impatient)
        await client.send(BINARY, bytes(200_000))
        assert (await client.answer()).close[0] == CloseCode.INTERNAL


@short(PING_SECONDS=1000)
async def test_client_that_leaves_after_a_rest_is_gone_at_once(impatient):
    async with RawSocket(impatient.port, "/take") as client:
        await until_it_rests(impatient)
        client.writer.transport.abort()
        await until(lambda: state(impatient)["sockets"] == 0)


@short(PING_SECONDS=0.5, PONG_SECONDS=0.5)
async def test_silent_client_is_pinged_and_dropped_once_its_pong_is_late(impatient):
    async with RawSocket(impatient.port, "/take") as client, asyncio.timeout(60):
        frame = await client.frame()
        assert (frame.opcode, frame.payload) == (PING, b"gateway")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.frame()
