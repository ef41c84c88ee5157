"""A socket that chats share, at real servers: sizes, and the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests import processes
from tests.clients import LIMIT_SECONDS, SocketClient

MEBIBYTE = 2**20


@pytest.fixture
def gateway(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"ADAPTERS": "ai-sdk", "MAX_MESSAGE_BYTES": "4096"}
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        yield gateway


class Chats(SocketClient):
    def __init__(self, gateway: processes.Process) -> None:
        super().__init__(f"{gateway.ws_url}/api/v1/ai-sdk/ws")

    async def request(self, request_id: str, words: str, *, history: str = "") -> None:
        said = [("assistant", history), ("user", words)]
        messages = [{"id": "m1", "role": role, "parts": [{"type": "text", "text": text}]} for role, text in said]
        fields = {"requestId": request_id, "id": uuid4().hex, "messages": messages}
        await self.send({"type": "send", "trigger": "submit-message", "headers": {}, "body": {}, **fields})

    async def last(self, request_id: str) -> str:
        """The kind of a request's last frame."""
        while (frame := await self.frame())["requestId"] != request_id or frame["type"] in ("start", "chunk"):
            pass
        return frame["type"]

    async def until_text(self) -> None:
        while (await self.frame()).get("chunk", {}).get("type") != "text-delta":
            pass


@pytest.mark.needs("large frames")
async def test_conversation_may_be_long(gateway):
    async with Chats(gateway) as client:
        await client.request("one", "words", history="x" * 7 * MEBIBYTE)
        assert await client.last("one") == "end"
        await client.request("two", "x" * 5_000)
        assert await client.last("two") == "error"


@pytest.mark.needs("large frames")
async def test_frame_that_is_too_long_closes_the_socket(gateway):
    async with Chats(gateway) as client:
        with contextlib.suppress(ConnectionClosed):  # the head of the frame is enough
            await client.request("one", "words", history="x" * 9 * MEBIBYTE)
        assert await client.close_code() in (1008, 1009)


@pytest.mark.parametrize("server", ["serve"])
async def test_process_that_stops_lets_answers_end(gateway, server, scripted_agent):
    gate = uuid4().hex
    async with Chats(gateway) as idle, Chats(gateway) as client:
        await client.request("one", f"script:tokens 8 gate={gate}")
        await client.until_text()
        gateway.signal(signal.SIGTERM)
        assert await idle.close_code() == 1012
        await asyncio.to_thread(httpx.get, f"{scripted_agent.http_url}/open/{gate}", timeout=LIMIT_SECONDS)
        assert await client.last("one") == "end"
        assert await client.close_code() == 1012
    assert await asyncio.to_thread(gateway.wait) == 0
