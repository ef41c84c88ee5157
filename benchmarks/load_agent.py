"""An agent that is never the bottleneck: raw HTTP/1.1 on uvloop, a chunked event stream, time stamps as tokens.

The message says what to answer: ``tokens=500 rate=50`` (tokens a second; ``rate=0``: as fast as they are taken). Each
token is the moment at which it was handed to the kernel: CLOCK_MONOTONIC in nanoseconds, in sixteen digits. That clock
is the same in all processes of a machine, so the client reads from it how long the token took.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import sys
from time import monotonic_ns

import uvloop

BURST_TOKENS = 32  # a write, in a burst
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_ORDER = re.compile(r"tokens=(\d+) rate=(\d+)")


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


_STAMP = b"0" * 16
_BEFORE_STAMP, _, _AFTER_STAMP = _chunk(
    b'{"type":"assistant_message","token":"' + _STAMP + b'","is_final":false}'
).partition(_STAMP)
_END = _chunk(b'{"type":"assistant_message","token":"","is_final":true}') + b"0\r\n\r\n"


def order(tokens: int, rate: int = 0) -> str:
    """Write the message that asks for so many tokens, ``rate`` of them a second."""
    return f"tokens={tokens} rate={rate}"


class Agent(asyncio.Protocol):
    """One connection: requests one after another, each answered by a stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None
        self._may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # of TCP

    def connection_lost(self, exc: Exception | None) -> None:
        self._left = 0
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank_line, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if not blank_line or (length and len(body) < int(length[1])):
            return
        self._received = b""
        self._answer(json.loads(body)["content"])

    def _answer(self, content: str) -> None:
        asked = _ORDER.search(content)
        self._left, rate = (int(asked[1]), int(asked[2])) if asked else (1, 0)
        self._timer = None
        self._transport.write(_HEAD)
        if rate:
            self._every_seconds = 1 / rate
            self._next_at = self._loop.time()
            self._tick()
        else:
            self._burst()

    def _tick(self) -> None:
        self._transport.write(b"%b%016d%b" % (_BEFORE_STAMP, monotonic_ns(), _AFTER_STAMP))
        self._left -= 1
        if self._left:
            self._next_at += self._every_seconds
            self._timer = self._loop.call_at(self._next_at, self._tick)
        else:
            self._transport.write(_END)

    def _burst(self) -> None:
        while self._left and self._may_write:
            count = min(self._left, BURST_TOKENS)
            self._transport.write(b"%b%016d%b" % (_BEFORE_STAMP, monotonic_ns(), _AFTER_STAMP) * count)
            self._left -= count
            if not self._left:
                self._transport.write(_END)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._timer is None:
            self._burst()


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Agent, "127.0.0.1", port, backlog=4096)
    gc.freeze()
    gc.disable()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    sys.exit(uvloop.run(serve(parser.parse_args().port)))
