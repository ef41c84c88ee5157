"""A front end's answer that does not reach its end must not look as if it had: the response breaks.

Each client here reads as the libraries of front ends do, and would take an end of the body for the end of the answer.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS

PATH = "/v1/chat/completions"
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)
KEY = {"X-Internal-Auth": processes.KEY}


@pytest.fixture
def gateway(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"ADAPTERS": "openai", "HEARTBEAT_SECONDS": "0.5", "DRAIN_SECONDS": "0"}
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        yield gateway


def asked(words: str) -> dict[str, object]:
    return {"stream": True, "messages": [{"role": "user", "content": words}]}


@asynccontextmanager
async def answer(gateway: processes.Process, words: str, session_id: str) -> AsyncIterator[httpx.Response]:
    headers = {**KEY, "X-Session-Id": session_id}
    async with (
        httpx.AsyncClient(base_url=gateway.http_url, headers=headers, timeout=LIMIT_SECONDS, trust_env=False) as http,
        http.stream("POST", PATH, json=asked(words)) as response,
    ):
        assert response.status_code == 200
        yield response


async def read_until(chunks: AsyncIterator[bytes], wanted: bytes) -> bytes:
    read = b""
    while wanted not in read:
        read += await anext(chunks)
    return read


async def rest(chunks: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(LIMIT_SECONDS):
        return b"".join([chunk async for chunk in chunks])


async def test_whole_answer_ends_in_order(gateway):
    async with answer(gateway, "script:tokens 3", "s") as response:
        body = await rest(response.aiter_raw())
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.needs("broken responses")
@pytest.mark.parametrize("end", ["kill", "delete"])
async def test_answer_that_is_cut_short_is_seen_to_be(gateway, end):
    async with answer(gateway, "script:stall", "s") as response:
        chunks = response.aiter_raw()
        await read_until(chunks, b'"a "')
        if end == "kill":
            gateway.kill()
        else:
            await delete(gateway)
        with pytest.raises(BROKEN):
            await rest(chunks)
    if end == "delete":  # the server goes on, and watches its connections
        async with answer(gateway, "next works", "s") as response:
            assert (await rest(response.aiter_raw())).endswith(b"data: [DONE]\n\n")


async def test_answer_that_a_drain_ends_is_an_error(scripted_agent):
    with processes.gateway("serve", scripted_agent.http_url, ADAPTERS="openai", DRAIN_SECONDS="0") as gateway:
        async with answer(gateway, "script:stall", "s") as response:
            chunks = response.aiter_raw()
            await read_until(chunks, b'"a "')
            gateway.signal(signal.SIGTERM)
            assert b'"code":"shutting_down"' in await rest(chunks)


@pytest.mark.needs("drain")
async def test_drain_lets_a_short_answer_end(server, scripted_agent):
    with processes.gateway(server, scripted_agent.http_url, ADAPTERS="openai", DRAIN_SECONDS="30") as gateway:
        async with answer(gateway, f"script:tokens 4 gate=drain-{server}", "s") as response:
            chunks = response.aiter_raw()
            await read_until(chunks, b'"1 "')
            gateway.signal(signal.SIGTERM)
            await asyncio.to_thread(httpx.get, f"{scripted_agent.http_url}/open/drain-{server}")
            assert (await rest(chunks)).endswith(b"data: [DONE]\n\n")


@pytest.mark.needs("flow control")
async def test_client_that_reads_nothing_is_cut_and_not_told_of_an_end(gateway):
    async with answer(gateway, "script:big-answer 7000", "s") as response:
        chunks = response.aiter_raw()
        await anext(chunks)
        await idle(gateway)
        await delete(gateway)
        with pytest.raises(BROKEN):
            await rest(chunks)


@pytest.mark.needs("broken responses")
async def test_client_that_is_too_slow_is_not_given_a_hole(server, scripted_agent):
    """The log holds a small part of the answer, and the kernel a small part of the rest."""
    settings = {"ADAPTERS": "openai", "BUFFER_SIZE": "100"}
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        async with answer(gateway, "script:big-answer 8000", "s") as response:
            chunks = response.aiter_raw()
            await anext(chunks)
            await idle(gateway)
            with pytest.raises(BROKEN):
                await rest(chunks)


async def delete(gateway: processes.Process) -> None:
    await asyncio.to_thread(httpx.delete, f"{gateway.http_url}/api/v1/sessions/s", headers=KEY)


async def idle(gateway: processes.Process) -> None:
    """Wait until the agent's answer is in the log."""
    async with httpx.AsyncClient(base_url=gateway.http_url, headers=KEY, trust_env=False) as http:
        async with asyncio.timeout(LIMIT_SECONDS):
            while (await http.get("/api/v1/sessions/s")).json()["active"]:
                await asyncio.sleep(0.02)
