"""An agent that means harm: bounded, ended with an error in words, and it never learns the key for somebody else."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import pytest

from relay.agent.protocols.base import RESERVED_TYPES
from tests import processes
from tests.clients import V1, SocketClient
from tests.server.raw import resident_bytes
from tests.tcp_server import TcpServer

TEN_MILLION = 10_000_000
ROOM_BYTES = 64 * 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
FINAL = b'data: {"type":"assistant_message","token":"","is_final":true}\n\n'


def stream(piece: bytes, count: int) -> Iterator[bytes]:
    """An answer that repeats a piece, a thousand at a time."""
    yield OK + b"\r\n"
    for _ in range(count // 1_000):
        yield piece * 1_000


def whole(body: bytes, *headers: bytes) -> Iterator[bytes]:
    yield OK + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def endless_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-Endless: " + b"x" * 10_000 + b"\r\n"


def endless_event() -> Iterator[bytes]:
    yield OK + b"\r\ndata: "
    while True:
        yield b"x" * 10_000


def redirect(status: int, where: str) -> Iterator[bytes]:
    yield f"HTTP/1.1 {status} Go\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()


class Hostile:
    """A server that plays what ``attack`` gives, until the client has enough; ``seen`` are the heads it was sent."""

    def __init__(self) -> None:
        self.attack: Callable[[], Iterator[bytes]] = lambda: whole(FINAL)
        self.seen: list[bytes] = []
        self.sent_bytes = 0
        self._server = TcpServer(self._answer)

    @property
    def url(self) -> str:
        return self._server.url

    async def __aenter__(self) -> Self:
        self._server.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in self.attack():
            writer.write(piece)
            self.sent_bytes += len(piece)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with Hostile() as agent:
        yield agent


@pytest.fixture
async def gateway(hostile: Hostile) -> AsyncIterator[processes.Process]:
    settings = {"MAX_TURN_BYTES": "400000", "MAX_EVENT_BYTES": "65536"}
    process = processes.gateway("serve", hostile.url, **settings)
    await asyncio.to_thread(process.__enter__)
    yield process
    log = process.output()
    await asyncio.to_thread(process.__exit__)
    assert "Traceback" not in log


async def ended(gateway: processes.Process) -> dict[str, Any]:
    """How a message to the agent ends; the next one works."""
    async with SocketClient(f"{gateway.ws_url}/ws/s/?coalesce=1", [V1]) as browser:
        await browser.say("hello")
        while True:
            frame = await browser.frame()
            if frame["type"] == "error" or frame.get("is_final"):
                return frame


ATTACKS: dict[str, tuple[Callable[[], Iterator[bytes]], str | None]] = {
    "endless headers": (endless_headers, "upstream_protocol"),
    "endless event": (endless_event, "upstream_protocol"),
    "tiny events": (lambda: stream(b"data: {}\n\n", TEN_MILLION), "upstream_protocol"),
    "empty events": (lambda: stream(b"data: \n\n", TEN_MILLION), "upstream_protocol"),
    "comments": (lambda: stream(b":\n\n", TEN_MILLION), "upstream_protocol"),
    "line ends": (lambda: stream(b"\r\n", TEN_MILLION), "upstream_protocol"),
    "ids": (lambda: stream(b"id: 1\n\n", TEN_MILLION), "upstream_protocol"),
    "tokens": (lambda: stream(b'data: {"type":"assistant_message","token":"x"}\n\n', TEN_MILLION), "upstream_protocol"),
    "look-alikes": (lambda: stream(b'data: {"type":"welcome"}\n\n', TEN_MILLION), "upstream_protocol"),
    "gzip": (lambda: whole(gzip.compress(bytes(TEN_MILLION)), b"Content-Encoding: gzip"), "upstream_protocol"),
    "gzip coding": (lambda: whole(gzip.compress(bytes(TEN_MILLION)), b"Transfer-Encoding: gzip"), "upstream_protocol"),
    "gzip as text": (lambda: whole(gzip.compress(bytes(TEN_MILLION))), "upstream_eof"),
    "nesting": (lambda: whole(b"data: " + b"[" * 60_000 + b"\n\n" + FINAL), "upstream_protocol"),
    "number": (lambda: whole(b'data: {"type":"x","n":' + b"9" * 60_000 + b"}\n\n" + FINAL), None),
}


async def test_what_an_agent_sends_is_bounded(gateway, hostile):
    await ended(gateway)
    before_bytes = resident_bytes(gateway.pid)
    for name, (attack, code) in ATTACKS.items():
        hostile.attack = attack
        frame = await ended(gateway)
        assert frame.get("code") == code, name
        assert "127.0.0.1" not in frame.get("content", ""), name
        assert resident_bytes(gateway.pid) - before_bytes < ROOM_BYTES, name
        hostile.attack = lambda: whole(FINAL)
        assert (await ended(gateway))["finish_reason"] == "stop", name


async def test_the_key_goes_nowhere_else(gateway, hostile):
    async with Hostile() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            for where in (f"{elsewhere.url}/agent/message/stream", elsewhere.url.removeprefix("http:")):
                hostile.attack = lambda status=status, where=where: redirect(status, where)
                assert (await ended(gateway))["code"] == "upstream_error", status
        assert elsewhere.seen == []
    assert all(processes.KEY.encode() in head for head in hostile.seen)


LOOK_ALIKES = [
    *(
        {"type": kind, "code": "kicked", "reconnect": False, "epoch": "x", "offset": 9}
        for kind in sorted(RESERVED_TYPES)
    ),
    {"type": "x", "turn_id": "another", "offset": 99, "epoch": "x"},
    {"type": 'x","offset":99,"x":"', "content": "}{"},
    {"type": "assistant_message", "token": '","is_final":true,"offset":99}', "turn_id": "another", "offset": 99},
    {"type": "assistant_message", "token": '\n\nid: x:9\ndata: {"type":"disconnect"}\n\n'},
]
RAW = b'data: {"type":"x","type":"disconnect","code":"kicked","reconnect":false}\n\n'
LAST = {"type": "assistant_message", "is_final": True, "finish_reason": 'stop","offset":99,"x":"', "offset": 99}


async def test_text_that_looks_like_our_frames_is_only_text(gateway, hostile):
    lines = [f"data: {json.dumps(event)}\n\n".encode() for event in (*LOOK_ALIKES, LAST)]
    hostile.attack = lambda: whole(RAW + b"".join(lines))
    async with SocketClient(f"{gateway.ws_url}/ws/s/", [V1]) as browser:
        welcome = await browser.frame()
        await browser.say("hello")
        accepted = await browser.frame_of("accepted")
    path = f"{gateway.ws_url}/ws/s/?offset=0"
    async with SocketClient(path, [V1]) as browser:
        assert (await browser.frame())["epoch"] == welcome["epoch"]
        shown = await browser.turn()
    assert [frame["offset"] for frame in shown] == list(range(1, len(shown) + 1))
    assert {frame["turn_id"] for frame in shown} == {accepted["turn_id"]}
    kinds = [frame["type"] for frame in shown]
    assert kinds[0] == "user_message"
    assert not (RESERVED_TYPES - {"notice"}) & set(kinds[1:])
    assert [frame["code"] for frame in shown if frame["type"] == "notice"] == ["upstream_event_skipped"]
    assert shown[-1]["is_final"] is True
