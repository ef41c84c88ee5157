"""A front end's answer that does not reach its end must not look as if it had: the response breaks.

Each client here reads as the libraries of front ends do, and would take an end of the body for the end of the answer.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.front_end_requests import ADAPTERS, ASKING, WHOLE

BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)
KEY = {"X-Internal-Auth": processes.KEY}
ERROR_WORDS = b"The server is restarting."


@pytest.fixture
def gateway(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"ADAPTERS": ADAPTERS, "HEARTBEAT_SECONDS": "0.5", "DRAIN_SECONDS": "0"}
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        yield gateway


class Answer:
    """A client of one adapter; its session has the adapter's name."""

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
async def answers(gateway: processes.Process, words: str) -> AsyncIterator[list[Answer]]:
    """Let a client of each adapter ask."""
    async with AsyncExitStack() as stack:
        http = httpx.AsyncClient(base_url=gateway.http_url, headers=KEY, timeout=LIMIT_SECONDS, trust_env=False)
        await stack.enter_async_context(http)
        opened = []
        for adapter, asking in ASKING.items():
            request = asking(adapter, words)
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
            await asyncio.to_thread(httpx.get, f"{scripted_agent.http_url}/open/drain-{server}")
            for answer in opened:
                await answer.ends()


@pytest.mark.needs("flow control")
async def test_client_that_reads_nothing_is_cut_and_not_told_of_an_end(gateway):
    async with answers(gateway, "script:big-answer 7000") as opened:
        await idle(gateway)
        await delete(gateway)
        for answer in opened:
            await answer.breaks()


@pytest.mark.needs("broken responses")
async def test_client_that_is_too_slow_is_not_given_a_hole(server, scripted_agent):
    """The log holds a small part of the answer, and the kernel a small part of the rest."""
    settings = {"ADAPTERS": ADAPTERS, "BUFFER_SIZE": "100"}
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        async with answers(gateway, "script:big-answer 8000") as opened:
            await idle(gateway)
            for answer in opened:
                await answer.breaks()


async def delete(gateway: processes.Process) -> None:
    for session_id in ASKING:
        await asyncio.to_thread(httpx.delete, f"{gateway.http_url}/api/v1/sessions/{session_id}", headers=KEY)


async def idle(gateway: processes.Process) -> None:
    """Wait until the agent's answers are in the logs."""
    async with httpx.AsyncClient(base_url=gateway.http_url, headers=KEY, trust_env=False) as http:
        async with asyncio.timeout(LIMIT_SECONDS):
            for session_id in ASKING:
                while (await http.get(f"/api/v1/sessions/{session_id}")).json()["active"]:
                    await asyncio.sleep(0.02)
