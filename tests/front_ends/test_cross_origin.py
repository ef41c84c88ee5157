"""Pages of another origin: every header that the packages of front ends send passes the browser's preflight."""

from __future__ import annotations

import asyncio
import json

import pytest
from django.conf import settings

from tests.clients import LIMIT_SECONDS
from tests.front_ends.node import Program

CREDENTIAL = {"Authorization": "Bearer x"}
# Which the Fetch standard leaves to the browser; of the others Accept-Language needs no preflight.
OF_THE_BROWSER = {"accept-encoding", "accept-language", "connection", "content-length", "host", "sec-fetch-mode"}


def program(front_end: str, url: str) -> Program:
    options = {"headers": CREDENTIAL, "threadId": "s", "runId": "r", "id": "s", "words": "Hi"}
    match front_end:
        case "ag-ui":
            return Program("run", json.dumps({**options, "url": url}))
        case "tanstack":
            return Program("tanstack", json.dumps({**options, "url": url}))
        case "openai":
            return Program("completion", json.dumps({**options, "url": url, "key": "x", "stream": True}))
    return Program("chat", front_end, json.dumps({**options, "api": url}))


class Recorder:
    """A server that refuses every request, and keeps the names of its headers."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.has_heard = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.names |= {line.partition(":")[0].lower() for line in head[1:] if line}
        self.has_heard.set()
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("front_end", ["ai", "ai-6", "ai-5", "ag-ui", "tanstack", "openai"])
async def test_headers_that_a_front_end_sends_are_allowed(front_end):
    recorder = Recorder()
    async with await asyncio.start_server(recorder.answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with program(front_end, url) as page:
            if front_end.startswith("ai"):
                await page.do("send", text="Hi", messageId="m")
            async with asyncio.timeout(LIMIT_SECONDS):
                await recorder.has_heard.wait()
    assert "authorization" in recorder.names
    assert recorder.names - OF_THE_BROWSER <= set(settings.CORS_ALLOW_HEADERS)
