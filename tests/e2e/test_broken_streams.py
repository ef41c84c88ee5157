"""A front end's answer that does not reach its end must not look as if it had: the response breaks.

Each client here reads as the libraries of front ends do, and would take an end of the body for the end of the answer.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.e2e.test_events import has_ended
from tests.front_end_requests import ADAPTERS, ASKING, CHAT_SOCKET, RUN_SOCKET, WHOLE, send_chat, send_run
from tests.server.raw import TEXT, RawSocket, resident_bytes

BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)
KEY = {"X-Internal-Auth": processes.KEY}
MAX_GROWTH_BYTES = 28 * 2**20  # what the kernel does not take of the answers is more than that
ERROR_WORDS = b"The server is restarting."


@pytest.fixture
def gateway(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"ADAPTERS": ADAPTERS, "HEARTBEAT_SECONDS": "0.5", "DRAIN_SECONDS": "0"}
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        yield gateway


class Answer:
    """A client of one adapter."""

    def __init__(self, adapter: str, response: httpx.Response) -> None:
        self.adapter = adapter
        self._chunks = response.aiter_raw()

    async def until(self, wanted: bytes) -> None:
        read = b""
        async with asyncio.timeout(LIMIT_SECONDS):
            while wanted not in read:
                read += await anext(self._chunks)

    async def rest(self) -> bytes:
        async with asyncio.timeout(LIMIT_SECONDS):
            return b"".join([chunk async for chunk in self._chunks])

    async def ends(self) -> None:
        assert (await self.rest()).endswith(WHOLE[self.adapter])

    async def breaks(self) -> None:
        with pytest.raises(BROKEN):
            await self.rest()


@asynccontextmanager
async def answers(gateway: processes.Process, words: str, prefix: str = "") -> AsyncIterator[list[Answer]]:
    """Let a client of each adapter ask, in a session of the adapter's name."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client(gateway))
        opened = []
        for adapter, asking in ASKING.items():
            request = asking(prefix + adapter, words)
            streaming = http.stream(request.method, request.path, json=request.body, headers=request.headers)
            response = await stack.enter_async_context(streaming)
            assert response.status_code == 200
            opened.append(Answer(adapter, response))
        yield opened


async def test_whole_answer_ends_in_order(gateway):
    async with answers(gateway, "script:tokens 3") as opened:
        for answer in opened:
            await answer.ends()


@pytest.mark.needs("broken responses")
@pytest.mark.parametrize("end", ["kill", "delete"])
async def test_answer_that_is_cut_short_is_seen_to_be(gateway, end):
    async with answers(gateway, "script:stall") as opened:
        for answer in opened:
            await answer.until(b'"a "')
        if end == "kill":
            gateway.kill()
        else:
            await delete(gateway)
        for answer in opened:
            await answer.breaks()
    if end == "delete":  # the server goes on, and watches its connections
        async with answers(gateway, "next works") as opened:
            for answer in opened:
                await answer.ends()


async def test_answer_that_a_drain_ends_is_an_error(scripted_agent):
    with processes.gateway("serve", scripted_agent.http_url, ADAPTERS=ADAPTERS, DRAIN_SECONDS="0") as gateway:
        async with answers(gateway, "script:stall") as opened:
            for answer in opened:
                await answer.until(b'"a "')
            gateway.signal(signal.SIGTERM)
            for answer in opened:
                assert ERROR_WORDS in await answer.rest()


@pytest.mark.needs("drain")
async def test_drain_lets_a_short_answer_end(server, scripted_agent):
    with processes.gateway(server, scripted_agent.http_url, ADAPTERS=ADAPTERS, DRAIN_SECONDS="30") as gateway:
        async with answers(gateway, f"script:tokens 4 gate=drain-{server}") as opened:
            for answer in opened:
                await answer.until(b'"1 "')
            gateway.signal(signal.SIGTERM)
            await asyncio.to_thread(httpx.get, f"{scripted_agent.http_url}/open/drain-{server}", timeout=LIMIT_SECONDS)
            for answer in opened:
                await answer.ends()


@pytest.mark.needs("flow control")
async def test_client_that_reads_nothing_is_cut_and_not_told_of_an_end(gateway):
    async with answers(gateway, "script:big-answer 7000") as opened:
        await idle(gateway)
        await delete(gateway)
        for answer in opened:
            await answer.breaks()


@pytest.mark.needs("broken responses", "flow control", "full speed")
async def test_clients_that_are_too_slow_are_given_no_hole_and_cost_little(server, scripted_agent):
    """The logs hold a small part of the answers, and the kernel a small part of the rest."""
    settings = {"ADAPTERS": ADAPTERS, "BUFFER_SIZE": "100"}
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        kept = await growth_of_unseen_answers(gateway, "script:big-answer 7000", 5)
        before = resident_bytes(gateway.pid)
        async with (
            answers(gateway, "script:big-answer 7000", "slow-") as opened,
            deaf(gateway, CHAT_SOCKET, send_chat("slow-chat", "script:big-answer 7000")) as chat,
            deaf(gateway, RUN_SOCKET, send_run("slow-run", "script:big-answer 7000")) as run,
        ):
            await idle(gateway, *(f"slow-{name}" for name in (*ASKING, "chat", "run")))
            growth = resident_bytes(gateway.pid) - before - kept
            print(f"{server}: grown by {growth / 1024:.0f} KiB")
            assert growth < MAX_GROWTH_BYTES
            for answer in opened:
                await answer.breaks()
            assert b'"type":"finish"' not in await heard(chat, b'"type":"error"')
            assert b'"RUN_FINISHED"' not in await heard(run, b'"RUN_ERROR"')


@asynccontextmanager
async def deaf(gateway: processes.Process, path: str, frame: object) -> AsyncIterator[RawSocket]:
    """A client of a shared socket that asks, and then reads nothing."""
    async with RawSocket(gateway.port, path, buffer_bytes=4_096) as client:
        await client.send(TEXT, json.dumps(frame).encode())
        yield client


async def heard(client: RawSocket, last: bytes) -> bytes:
    """Read up to the frame with these bytes."""
    read = b""
    while last not in read[-1_000:]:
        read += (await client.answer()).payload
    return read


async def growth_of_unseen_answers(gateway: processes.Process, words: str, count: int) -> int:
    """What the process keeps of so many answers without a client: their texts."""
    before, names = resident_bytes(gateway.pid), [f"unseen-{number}" for number in range(count)]
    async with client(gateway) as http:
        for name in names:
            assert (await http.post(f"/api/v1/sessions/{name}/messages", json={"content": words})).status_code == 202
    await idle(gateway, *names)
    return resident_bytes(gateway.pid) - before


async def delete(gateway: processes.Process, *session_ids: str) -> None:
    for session_id in session_ids or ASKING:
        url = f"{gateway.http_url}/api/v1/sessions/{session_id}"
        await asyncio.to_thread(httpx.delete, url, headers=KEY, timeout=LIMIT_SECONDS)


async def idle(gateway: processes.Process, *session_ids: str) -> None:
    """Wait until the agent's answers are in the logs."""
    async with client(gateway) as http, asyncio.timeout(LIMIT_SECONDS):
        for session_id in session_ids or ASKING:
            while not await has_ended(http, session_id):
                await asyncio.sleep(0.02)


def client(gateway: processes.Process) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.http_url, headers=KEY, timeout=LIMIT_SECONDS, trust_env=False)
