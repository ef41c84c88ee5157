"""The tests' own WebSocket client that reads frames as bytes."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients import LIMIT_SECONDS
from tests.server.raw import TEXT, Frame, RawSocket, encoded
from tests.tcp_server import TcpServer

SHORT, LONG, VERY_LONG = b"hello", b"l" * 300, b"v" * 70_000


@pytest.mark.parametrize("payload", [SHORT, LONG, VERY_LONG], ids=len)
@pytest.mark.parametrize("cut", [1, 2, 3, 6, -1], ids="cut {}".format)
async def test_frame_whose_reading_was_cancelled_in_its_middle_is_whole(payload, cut):
    frame = encoded(TEXT, payload, mask=False)
    go_on = asyncio.Event()

    async def send_in_two_parts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frame[:cut])
        await go_on.wait()
        writer.write(frame[cut:] + encoded(TEXT, b"next", mask=False))
        await reader.read()

    async with TcpServer(send_in_two_parts) as server, RawSocket(server.port, "/") as line:
        reading = asyncio.create_task(line.frame())
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(line._frame) < len(frame[:cut]):
                await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        go_on.set()
        assert [await line.frame(), await line.frame()] == [Frame(TEXT, payload), Frame(TEXT, b"next")]
