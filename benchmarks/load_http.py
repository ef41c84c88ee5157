"""Readers of streams over HTTP that are never the bottleneck: raw HTTP/1.1, in which they count the tokens."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from time import monotonic_ns

from benchmarks.load_client import Tally

_STAMP = re.compile(rb'"(\d{16})"')  # a token, in whatever member of an event
_END_OF_BODY = b"0\r\n\r\n"
_REPLY_BYTES = 2_000  # of a refusal, for the error


@dataclass(frozen=True)
class Request:
    """A request; ``final`` ends an answer in a stream that goes on, ``None``: the body ends with the answer."""

    method: str
    path: str
    body: dict[str, object] | None = None
    final: bytes | None = None
    headers: tuple[str, ...] = ()

    def encode(self, key: bytes) -> bytes:
        """Return its bytes, with the internal key."""
        content = json.dumps(self.body).encode() if self.body is not None else b""
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            "Host: localhost",
            f"X-Internal-Auth: {key.decode()}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            *self.headers,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Reader(asyncio.Protocol):
    """One response: its tokens, and whether it was complete."""

    def __init__(self, tally: Tally, request: Request, key: bytes) -> None:
        self.tokens = 0
        self.finals = 0
        self.errors = 0
        self.is_in_order = True
        self.is_closed = False
        self.is_open = asyncio.Event()  # the response has started
        self.reply = b""
        self._tally = tally
        self._request = request
        self._key = key
        self._rest = b""
        self._tail = b""
        self._newest_stamp = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # of TCP
        self.transport.write(self._request.encode(self._key))

    def data_received(self, data: bytes) -> None:
        now_ns = monotonic_ns()
        self._tail = (self._tail + data)[-len(_END_OF_BODY) :]
        data = self._rest + data
        complete = data.rfind(b"\n") + 1
        self._rest = data[complete:]
        if complete and not self.is_open.is_set():
            self.reply = data[:_REPLY_BYTES]
            self.errors += not data.startswith(b"HTTP/1.1 2")
            self.is_open.set()
        for stamp in _STAMP.findall(data, 0, complete):
            self.tokens += 1
            self._tally.tokens += 1
            if stamp <= self._newest_stamp:
                self.is_in_order = False
            self._newest_stamp = stamp
            if self._tally.is_recording:
                self._tally.latencies_ns.append(now_ns - int(stamp))
        final = self._request.final
        is_final = self._tail == _END_OF_BODY if final is None else final in data[:complete]
        if is_final and not self.finals:
            self.finals += 1
            self._tally.turns += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.is_open.set()


async def send(tally: Tally, port: int, request: Request, key: bytes) -> Reader:
    """Send a request on a connection of its own, and wait for the first bytes of the response."""
    _, reader = await asyncio.get_running_loop().create_connection(
        lambda: Reader(tally, request, key), "127.0.0.1", port
    )
    await reader.is_open.wait()
    return reader
