"""An agent that keeps its runs, over HTTP: a connection is cut where a test says, and the run can be rejoined.

Each protocol is a ``Dialect``: which requests ask, rejoin and stop, and how an event is written.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.tcp_server import TcpServer

LIMIT_SECONDS = 60


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}


class Dialect:
    """The gateway's own protocol."""

    head: ClassVar[dict[str, str]] = {"X-Agent-Resume": "1"}

    def kind(self, asked: Asked) -> str:
        """``ask``, ``rejoin``, ``stop``, or ``result``: all of the run in one."""
        return {"POST": "ask", "GET": "rejoin", "DELETE": "stop"}[asked.method]

    def events(self, values: Sequence[Any]) -> list[bytes]:
        """Write the events of a run."""
        return [b"id: %d\ndata: %b\n\n" % (n, json.dumps(value).encode()) for n, value in enumerate(values, 1)]

    def rest(self, events: list[bytes], asked: Asked) -> list[bytes]:
        """The events that a rejoining request gets."""
        cursor = asked.headers.get("last-event-id")
        return events if cursor is None else events[self.place(events, cursor) :]

    def place(self, events: list[bytes], cursor: str) -> int:
        """How many events come up to a cursor."""
        return 1 + next(
            n for n, event in enumerate(events) if re.search(rb"^id: ?(.*)$", event, re.M)[1].decode() == cursor
        )


def held_behind(asked: Asked) -> int | None:
    """So many events as a message says (``wait behind 3``) the agent sends before it waits; a rejoined run does not."""
    found = re.search(r"wait behind (\d+)", json.dumps(asked.body))
    return int(found[1]) if found and "last-event-id" not in asked.headers else None


@dataclass
class ResumableAgent:
    """The server.

    Attributes:
        values: the events of every run, as JSON values.
        cuts: for each connection in turn, after how many bytes of its events it is cut; ``None``: it is not. Or gives
            that for a request: a client that gave up may have left a connection that is answered only now.
        hold_after: how many events are sent before ``go_on`` is set; or gives that for a request.
        late: an event that a connection gets behind ``hold_after``, instead of the next one of the run.
        is_slow: does every response wait for ``begin``?
        refusals: for each rejoining request in turn, a status instead of the run; 0: none.
        result_refusals: the same for requests for all of a run.
        rest: chooses the events that a rejoining request gets, instead of the dialect.
    """

    values: Sequence[Any]
    dialect: Dialect = field(default_factory=Dialect)
    cuts: list[int | None] | Callable[[Asked], int | None] = field(default_factory=list)
    hold_after: int | Callable[[Asked], int | None] | None = None
    late: bytes = b""
    is_slow: bool = False
    refusals: list[int] = field(default_factory=list)
    result_refusals: list[int] = field(default_factory=list)
    rest: Any = None
    asks: list[Asked] = field(default_factory=list)
    rejoins: list[Asked] = field(default_factory=list)
    stops: list[Asked] = field(default_factory=list)
    results: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begin = asyncio.Event()
        self.changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = TcpServer(self._converse)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._writers)

    @property
    def events(self) -> list[bytes]:
        return self.dialect.events(self.values)

    @property
    def body(self) -> bytes:
        return b"".join(self.events)

    async def listen(self) -> None:
        """Take connections; after ``die`` on the same port."""
        self._server.listen()

    async def die(self) -> None:
        """Refuse connections, and cut those that are open."""
        await self._server.__aexit__()

    def cut(self) -> None:
        """Cut the open connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def until(self, condition) -> None:
        """Wait until ``condition()`` holds; looked at after each request, and when its connection is over."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def __aenter__(self) -> ResumableAgent:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._answer(await _read(reader), writer)
        finally:
            self._writers.discard(writer)
            self.changed.set()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        kind = self.dialect.kind(asked)
        {"ask": self.asks, "rejoin": self.rejoins, "stop": self.stops, "result": self.results}[kind].append(asked)
        self.changed.set()
        if self.is_slow:
            await self.begin.wait()
        if kind == "stop":
            await _respond(writer, 204)
            return
        if kind == "result":
            if self.result_refusals and (status := self.result_refusals.pop(0)):
                await _respond(writer, status)
                return
            await _respond(writer, 200, self.dialect.result(self.values))
            return
        events = self.events
        if kind == "rejoin":
            if self.refusals and (status := self.refusals.pop(0)):
                await _respond(writer, status)
                return
            events = (self.rest or self.dialect.rest)(events, asked)
        await self._stream(events, writer, asked)

    def _hold_after(self, asked: Asked) -> int | None:
        return self.hold_after(asked) if callable(self.hold_after) else self.hold_after

    def _cut(self, asked: Asked) -> int | None:
        if callable(self.cuts):
            return self.cuts(asked)
        return self.cuts.pop(0) if self.cuts else None

    async def _stream(self, events: list[bytes], writer: asyncio.StreamWriter, asked: Asked) -> None:
        lines = [f"{name}: {value}" for name, value in self.dialect.head.items()]
        head = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", *lines, "", ""]
        writer.write("\r\n".join(head).encode())
        left = self._cut(asked)
        done = len(self.events) - len(events)
        for event in events:
            if done == self._hold_after(asked):
                await writer.drain()
                await self.go_on.wait()
                event = self.late or event
            done += 1
            data = event if left is None else event[:left]
            if data:
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            if left is not None:
                left -= len(data)
                if not left:
                    await _close(writer)
                    return
        if done == self._hold_after(asked):
            await self.go_on.wait()
        writer.write(b"0\r\n\r\n")
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close once everything is out: an abort would lose what the kernel has."""
    writer.close()
    await writer.wait_closed()


async def _respond(writer: asyncio.StreamWriter, status: int, body: bytes = b"") -> None:
    head = f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await _close(writer)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, json.loads(body) if body else None)
