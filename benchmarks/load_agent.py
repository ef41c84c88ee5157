"""An agent that is never the bottleneck: raw HTTP/1.1 on uvloop, a chunked event stream, time stamps as tokens.

The message says what to answer, wherever in its JSON: ``tokens=500 rate=50`` (tokens a second; ``rate=0``: as fast as
they are taken), and with ``kept`` behind it each event has an id, as of an agent that keeps its runs; or ``call a
tool``: one event, a tool call, which the client answers. Each token is the moment at which it was handed to the kernel:
CLOCK_MONOTONIC in nanoseconds, in sixteen digits. That clock is the same in all processes of a machine, so the client
reads from it how long the token took.

A connection serves one request. httpx, with which most relays are written, checks every idle connection of its pool
against every other at each request: kept connections would cost it several milliseconds a turn.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import sys
from time import monotonic_ns

import uvloop

BURST_TOKENS = 32  # a write, in a burst
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
_KEPT_HEAD = _HEAD.replace(b"\r\n\r\n", b"\r\nX-Agent-Resume: 1\r\n\r\n")
_ORDER = re.compile(rb"tokens=(\d+) rate=(\d+)( kept)?")


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


_DATA = b'data: {"type":"assistant_message","token":"%016d","is_final":false}\n\n'
_KEPT_DATA = b"id: %08d\n" + _DATA
_TOKEN = b"%x\r\n%b\r\n" % (len(_DATA % 0), _DATA)
_KEPT_TOKEN = b"%x\r\n%b\r\n" % (len(_KEPT_DATA % (0, 0)), _KEPT_DATA)
_CALL = _chunk(b'{"type":"tool_call","call_id":"c1","tool_name":"search","arguments":{"q":"Paris"}}')
_END = _chunk(b'{"type":"assistant_message","token":"","is_final":true}') + b"0\r\n\r\n"


CALL_A_TOOL = "call a tool"


def order(tokens: int, rate: int = 0, *, is_kept: bool = False) -> str:
    """Write the message that asks for so many tokens, ``rate`` of them a second."""
    return f"tokens={tokens} rate={rate}{' kept' if is_kept else ''}"


class Agent(asyncio.Protocol):
    """One connection: a request, answered by a stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._left = 0
        self._is_kept = False
        self._sent = 0
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
        self._answer(body)

    def _answer(self, message: bytes) -> None:
        if CALL_A_TOOL.encode() in message:
            self._transport.write(_HEAD + _CALL)
            self._end()
            return
        asked = _ORDER.search(message)
        self._left, rate = (int(asked[1]), int(asked[2])) if asked else (1, 0)
        self._is_kept, self._sent = bool(asked and asked[3]), 0
        self._timer = None
        self._transport.write(_KEPT_HEAD if self._is_kept else _HEAD)
        if rate:
            self._every_seconds = 1 / rate
            self._next_at = self._loop.time()
            self._tick()
        else:
            self._burst()

    def _tick(self) -> None:
        self._transport.write(self._tokens(1))
        self._left -= 1
        if self._left:
            self._next_at += self._every_seconds
            self._timer = self._loop.call_at(self._next_at, self._tick)
        else:
            self._end()

    def _burst(self) -> None:
        while self._left and self._may_write:
            count = min(self._left, BURST_TOKENS)
            self._transport.write(self._tokens(count))
            self._left -= count
            if not self._left:
                self._end()

    def _end(self) -> None:
        self._transport.write(_END)
        self._transport.close()

    def _tokens(self, count: int) -> bytes:
        stamp, first = monotonic_ns(), self._sent + 1
        self._sent += count
        if not self._is_kept:
            return _TOKEN % stamp * count
        return b"".join(_KEPT_TOKEN % (number, stamp) for number in range(first, first + count))

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
