"""A socket on which nothing happens is not looked at; what happens next has its time limits nevertheless."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from relay.protocol.frames import CloseCode
from tests.processes import Process
from tests.server.conftest import ARGUMENTS, release, state, until
from tests.server.raw import BINARY, PING, TEXT, RawSocket


@pytest.fixture(scope="module")
def calm() -> Iterator[Process]:
    """The test application, which looks often, pings hardly ever, and has little patience."""
    looks = ["WATCH_SECONDS=0.1", "PING_SECONDS=1000"]
    with Process([*ARGUMENTS, *looks, "MESSAGE_SECONDS=1", "STALLED_SECONDS=1", "HUNG_SECONDS=1"]) as process:
        yield process


async def until_it_rests(process: Process) -> None:
    await until(lambda: state(process)["resting"] == 1)


async def test_message_that_is_begun_after_a_rest_has_its_time_limit(calm):
    async with RawSocket(calm.port, "/take") as client:
        await until_it_rests(calm)
        await client.send(TEXT, b"x", fin=False)
        assert (await client.answer()).close == (1008, "a message takes too long")


async def test_client_that_does_not_read_after_a_rest_is_cut(calm):
    async with RawSocket(calm.port, "/flood-later", buffer_bytes=65_536):
        await until_it_rests(calm)
        await asyncio.to_thread(release, calm)
        await until(lambda: state(calm)["last_error"] == "flooded: ClientLeft")


async def test_consumer_that_hangs_after_a_rest_is_found(calm):
    async with RawSocket(calm.port, "/busy") as client:
        await until_it_rests(calm)
        await client.send(BINARY, bytes(200_000))
        assert (await client.answer()).close[0] == CloseCode.INTERNAL


async def test_client_that_leaves_after_a_rest_is_gone_at_once(calm):
    async with RawSocket(calm.port, "/take") as client:
        await until_it_rests(calm)
        client.writer.transport.abort()
        await until(lambda: state(calm)["sockets"] == 0)


async def test_silent_client_is_pinged_and_dropped_once_its_pong_is_late():
    beats = ["WATCH_SECONDS=0.1", "PING_SECONDS=0.5", "PONG_SECONDS=0.5"]
    with Process([*ARGUMENTS, *beats]) as process:
        async with RawSocket(process.port, "/take") as client, asyncio.timeout(60):
            frame = await client.frame()
            assert (frame.opcode, frame.payload) == (PING, b"gateway")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.frame()
