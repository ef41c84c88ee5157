"""A client of the gateway that does not read, while 80 MB are streamed to its session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS, V1, SocketClient
from tests.server.raw import CLOSE, PING, RawSocket, resident_bytes

MEGABYTE = 2**20
# Of 1,000 characters: an answer is half of the log, so a client that reads is not overtaken. All turns together end
# before a blocked client is cut: a minute and a half after it was blocked.
TURNS, TOKENS = 40, 2_000


@pytest.fixture
def service(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"BUFFER_BYTES": "4194304", "LOG_LEVEL": "INFO"}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        yield gateway


async def stream(client: SocketClient) -> None:
    """Have one answer, and pass over it."""
    await client.say(f"script:big-answer {TOKENS}")
    while '"is_final":true' not in await client.text():
        pass


@pytest.mark.timeout(300)
async def test_process_does_not_grow_others_are_served_and_the_client_ends_with_4508(service):
    async with SocketClient(f"{service.ws_url}/ws/s/", [V1]) as driver:
        for _ in range(8):
            await stream(driver)  # now the log is as large as it gets
        before = resident_bytes(service.pid)
        async with RawSocket(service.port, "/ws/s/", buffer_bytes=65_536) as client:
            for _ in range(TURNS):
                answering = asyncio.create_task(stream(driver))
                async with SocketClient(f"{service.ws_url}/ws/other/") as other:
                    assert await other.ask("hello") == "hello"
                await answering
            growth = resident_bytes(service.pid) - before
            while (frame := await client.frame()).opcode != CLOSE:
                assert frame.opcode == PING or json.loads(frame.payload)["type"] == "assistant_message"
            assert frame.close[0] == 4508
    assert growth < 8 * MEGABYTE


async def test_client_that_does_not_read_finds_its_disconnect_in_front_of_the_close_frame(service):
    v1 = f"Sec-WebSocket-Protocol: {V1}\r\n"
    async with (
        SocketClient(f"{service.ws_url}/ws/s/", [V1]) as driver,
        RawSocket(service.port, "/ws/s/", headers=v1, buffer_bytes=65_536) as client,
    ):
        for _ in range(4):
            await stream(driver)  # more than the kernel and the server hold for a client
        async with httpx.AsyncClient(
            base_url=service.http_url, headers={"X-Internal-Auth": processes.KEY}, timeout=LIMIT_SECONDS
        ) as http:
            assert (await http.delete("/api/v1/sessions/s/viewers")).status_code == 202
        frames = [await client.answer()]
        while frames[-1].opcode != CLOSE:
            frames.append(await client.answer())
        assert frames[-1].close[0] == 4403
        assert json.loads(frames[-2].payload)["code"] == "kicked"
