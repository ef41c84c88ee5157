"""Other front ends' answers behind a real nginx: they pass as they are made; one that breaks off is broken there."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from relay.policies import ticket_signing
from tests import processes
from tests.clients import LIMIT_SECONDS, SocketClient
from tests.deploy.conftest import Start
from tests.deploy.nginx import Nginx
from tests.front_end_requests import (
    ADAPTERS,
    ASKING,
    CHAT_SOCKET,
    RUN_SOCKET,
    WHOLE,
    Request,
    openai,
    send_chat,
    send_run,
)

MEBIBYTE = 2**20
KEY = {"X-Internal-Auth": processes.KEY}
SETTINGS = {
    "ADAPTERS": ADAPTERS,
    "TRUSTED_PROXIES": "1",
    "WS_AUTH": "ticket",
    "SECRET_KEY": "only-for-tests",  # as in tests/settings.py: tickets are made here
    "DRAIN_SECONDS": "0",
}
CURL = ["curl", "--insecure", "--silent", "--no-buffer", "--max-time", str(LIMIT_SECONDS)]
BROKEN = (18, 56, 92)  # of curl: a partial body, a failed read, an HTTP/2 stream that was reset


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("serve", scripted_agent.http_url, **SETTINGS) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def nginx(gateway: processes.Process, start_nginx: Start) -> Nginx:
    return start_nginx(gateway.port)


def ticket(session_id: str) -> str:
    return ticket_signing.issue(session_id, "ada", 60)


@asynccontextmanager
async def answer(nginx: Nginx, session_id: str, request: Request) -> AsyncIterator[httpx.Response]:
    headers = {"Authorization": f"Bearer {ticket(session_id)}", **request.headers}
    async with (
        httpx.AsyncClient(base_url=nginx.https_url, verify=nginx.tls, timeout=LIMIT_SECONDS, trust_env=False) as http,
        http.stream(request.method, request.path, json=request.body, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield response


async def read_until(chunks: AsyncIterator[bytes], wanted: bytes) -> bytes:
    read = b""
    async with asyncio.timeout(LIMIT_SECONDS):
        while wanted not in read:
            read += await anext(chunks)
    return read


@pytest.mark.parametrize("adapter", ASKING)
async def test_answer_passes_as_it_is_made(nginx, scripted_agent, adapter):
    session_id = uuid4().hex
    request = ASKING[adapter](session_id, f"script:tokens 4 gate={session_id}")
    async with answer(nginx, session_id, request) as response:
        chunks = response.aiter_raw()
        await read_until(chunks, b'"1 "')
        await asyncio.to_thread(httpx.get, f"{scripted_agent.http_url}/open/{session_id}", timeout=LIMIT_SECONDS)
        assert (await read_until(chunks, WHOLE[adapter])).endswith(WHOLE[adapter])
        assert [chunk async for chunk in chunks] == []


@pytest.mark.parametrize("adapter", ASKING)
async def test_conversation_may_be_long(nginx, adapter):
    session_id = uuid4().hex
    request = ASKING[adapter](session_id, "hello, world")
    request.body["messages"].insert(0, {"role": "assistant", "content": "x" * 7 * MEBIBYTE})
    async with answer(nginx, session_id, request) as response:
        assert (await response.aread()).endswith(WHOLE[adapter])


async def test_answer_in_one_piece_may_take_as_long_as_a_turn(gateway, start_nginx):
    """Longer than nginx waits elsewhere, at 504 OpenAI's libraries would ask again."""
    nginx = start_nginx(gateway.port, limits={r"proxy_read_timeout 75s;": "proxy_read_timeout 1s;"})
    session_id = uuid4().hex
    async with answer(nginx, session_id, openai(session_id, "script:wait 2", stream=False)) as response:
        assert json.loads(await response.aread())["choices"][0]["message"]["content"] == "a b"


@asynccontextmanager
async def curl(nginx: Nginx, adapter: str, version: str, session_id: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client that has read the first words of an answer that stalls."""
    request = ASKING[adapter](session_id, "script:stall")
    headers = {"Authorization": f"Bearer {ticket(session_id)}", "Content-Type": "application/json", **request.headers}
    process = await asyncio.create_subprocess_exec(
        *[*CURL, version, "-d", json.dumps(request.body), nginx.https_url + request.path],
        *itertools.chain.from_iterable(("-H", f"{name}: {value}") for name, value in headers.items()),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        while b'"a "' not in (line := await process.stdout.readline()):
            assert line
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def delete(gateway: processes.Process, session_id: str) -> None:
    async with httpx.AsyncClient(
        base_url=gateway.http_url, headers=KEY, trust_env=False, timeout=LIMIT_SECONDS
    ) as http:
        assert (await http.delete(f"/api/v1/sessions/{session_id}")).status_code == 204


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize(("server", "end"), [("serve", "kill"), ("serve", "delete"), ("uvicorn", "delete")])
async def test_answer_that_breaks_off_breaks_off_for_the_client_of_nginx_too(
    scripted_agent, start_nginx, server, end, version
):
    """A library of a front end would take an end of the body for the end of the answer."""
    session_ids = {adapter: uuid4().hex for adapter in ASKING}
    with processes.gateway(server, scripted_agent.http_url, **SETTINGS) as gateway:
        nginx = start_nginx(gateway.port)
        async with (
            curl(nginx, "ai-sdk", version, session_ids["ai-sdk"]) as one,
            curl(nginx, "ag-ui", version, session_ids["ag-ui"]) as two,
            curl(nginx, "openai", version, session_ids["openai"]) as three,
        ):
            if end == "kill":
                gateway.kill()
            else:
                await asyncio.gather(*(delete(gateway, session_id) for session_id in session_ids.values()))
            for client in (one, two, three):
                assert await client.wait() in BROKEN


# Sockets that many sessions share.


def chat(session_id: str, words: str) -> dict[str, Any]:
    return send_chat(session_id, words, body={"ticket": ticket(session_id)})


def run(session_id: str, words: str) -> dict[str, Any]:
    return send_run(session_id, words, forwardedProps={"ticket": ticket(session_id)})


SOCKETS = pytest.mark.parametrize(
    ("path", "frame_of", "text", "end"),
    [(CHAT_SOCKET, chat, "text-delta", "finish"), (RUN_SOCKET, run, "TEXT_MESSAGE_CONTENT", "RUN_FINISHED")],
    ids=["AI SDK", "AG-UI"],
)


async def until_event(client: SocketClient, kind: str) -> None:
    while (await client.frame()).get("chunk", {}).get("type") != kind:
        pass


@SOCKETS
async def test_shared_socket_passes_with_long_conversations(nginx, path, frame_of, text, end):
    frame = frame_of(uuid4().hex, "hello, world")
    frame["messages"].insert(0, {"role": "assistant", "content": "x" * 7 * MEBIBYTE})
    async with SocketClient(nginx.wss_url + path, ssl=nginx.tls) as client:
        await client.send(frame)
        await until_event(client, text)
        await until_event(client, end)


@SOCKETS
@pytest.mark.parametrize("end_of_process", ["kill", "drain"])
async def test_shared_socket_of_a_process_that_ends_is_closed_without_an_end(
    scripted_agent, start_nginx, path, frame_of, text, end, end_of_process
):
    with processes.gateway("serve", scripted_agent.http_url, **SETTINGS) as gateway:
        nginx = start_nginx(gateway.port)
        async with SocketClient(nginx.wss_url + path, ssl=nginx.tls) as client:
            await client.send(frame_of(uuid4().hex, "script:stall"))
            await until_event(client, text)
            if end_of_process == "kill":
                gateway.kill()
            else:
                gateway.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await until_event(client, end)
            code = closed.value.rcvd.code if closed.value.rcvd else None
            assert code == {"kill": None, "drain": 1012}[end_of_process]
