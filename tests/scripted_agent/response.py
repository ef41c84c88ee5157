"""One response of the scripted agent, byte by byte."""

import asyncio
import socket
import struct

from tests.scripted_agent import steps
from tests.scripted_agent.steps import Step


class Response:
    """One response, step by step. ``is_over``: nothing may follow on it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._content_type = "text/event-stream"
        self._split_bytes: int | None = None
        self._has_head = False
        self.is_over = False
        self.closes_when_reused = False
        self.headers: dict[str, str] = {}  # further ones of the head

    async def play(self, step: Step) -> None:
        match step:
            case steps.Send(data):
                await self._send(data)
            case steps.Event(value):
                await self._send(steps.event_bytes(value))
            case steps.Token(text):
                await self._send(steps.event_bytes(steps.token_value(text)))
            case steps.Final(finish_reason, token):
                await self._send(steps.event_bytes(steps.final_value(finish_reason, token)))
            case steps.Wait(until):
                await (until.wait() if isinstance(until, asyncio.Event) else asyncio.sleep(until))
            case steps.Stall():
                await asyncio.Event().wait()
            case steps.ContentType(value):
                self._content_type = value
            case steps.SplitBytes(size):
                self._split_bytes = size
            case steps.CloseWhenReused():
                self.closes_when_reused = True
            case _:
                await self._play_below_the_body(step)

    async def end(self) -> None:
        """End the body as it should be."""
        self._head()
        await self._write(b"0\r\n\r\n")

    async def _play_below_the_body(self, step: Step) -> None:
        match step:
            case steps.Head():
                self._head()
                await self._writer.drain()
            case steps.Status(code, headers, body):
                self.is_over = True
                await self._write(_whole_response(code, headers, body))
            case steps.Raw(data):
                await self._write(data)
            case steps.BadChunk():
                self._head()
                await self._write(b"no number\r\n")
            case steps.EndlessHeaders():
                await self._write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    await self._write(b"X-Endless: " + b"x" * 1_000 + b"\r\n")
            case steps.Break():
                self._head()
                await self._write(b'3e8\r\ndata: {"type":"assistant_mess')
                self._close()
            case steps.Drop():
                self._close()
            case steps.Reset():
                self._writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self._close()

    async def _send(self, data: bytes) -> None:
        self._head()
        size = self._split_bytes or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            await self._write(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def _head(self) -> None:
        if not self._has_head:
            self._has_head = True
            further = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {self._content_type}\r\nTransfer-Encoding: chunked\r\n"
            self._writer.write(f"{head}{further}\r\n".encode())

    def _close(self) -> None:
        self.is_over = True
        self._writer.close()


def _whole_response(code: int, headers: dict[str, str], body: bytes) -> bytes:
    given = {name.lower() for name in headers}
    own = {} if "content-type" in given else {"Content-Type": "text/plain"}
    lines = [f"{name}: {value}" for name, value in {**own, **headers, "Content-Length": str(len(body))}.items()]
    return "\r\n".join([f"HTTP/1.1 {code} Scripted", *lines, "", ""]).encode() + body
