"""A WebSocket client that may break every rule: frames as bytes."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LIMIT_SECONDS = 60
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass
class Frame:
    opcode: int
    payload: bytes
    is_final: bool = True

    @property
    def close(self) -> tuple[int, str]:
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0], self.payload[2:].decode()


def encoded(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True, length: int | None = None
) -> bytes:
    """One frame; ``length`` is what its head says, whatever the payload is."""
    size = len(payload) if length is None else length
    marker = size if size < 126 else 126 if size < 65_536 else 127
    head = bytes([fin << 7 | rsv << 4 | opcode, mask << 7 | marker])
    head += b"" if marker < 126 else struct.pack("!H" if marker == 126 else "!Q", size)
    return head + (b"\0\0\0\0" if mask else b"") + payload


def handshake(path: str, headers: str = "") -> bytes:
    """A request to open a socket; each of ``headers`` ends with CRLF."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode("latin-1")
    )


async def exchange(port: int, *parts: bytes, until: bytes | None = None) -> bytes:
    """Send the parts, and read until the server ends the connection, or has sent ``until``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(LIMIT_SECONDS):
            return await (reader.read() if until is None else reader.readuntil(until))
    finally:
        writer.transport.abort()


class RawSocket:
    """A socket on a path, open once entered; ``response`` is the head of the handshake's answer."""

    def __init__(self, port: int, path: str, *, headers: str = "", buffer_bytes: int | None = None) -> None:
        self._port = port
        self._path = path
        self._headers = headers
        self._buffer_bytes = buffer_bytes
        self._frame = bytearray()
        self.response = ""

    async def __aenter__(self) -> Self:
        raw = socket.socket()
        if self._buffer_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self._port))
        self.reader, self.writer = await asyncio.open_connection(sock=raw, limit=2**16)
        self.writer.write(handshake(self._path, self._headers))
        async with asyncio.timeout(LIMIT_SECONDS):
            self.response = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Cut the line as a tunnel does: no close frame, only RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    @property
    def status(self) -> int:
        return int(self.response.split(" ")[1])

    async def send(self, opcode: int, payload: bytes = b"", **options: object) -> None:
        await self.send_bytes(encoded(opcode, payload, **options))

    async def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def frame(self) -> Frame:
        """The next frame. What was read of it before a cancellation is kept for the next call."""
        async with asyncio.timeout(LIMIT_SECONDS):
            first, second = (await self._begun(2))[:2]
            wide = {126: 2, 127: 8}.get(second & 127, 0)
            head = await self._begun(2 + wide)
            size = int.from_bytes(head[2 : 2 + wide], "big") if wide else second & 127
            whole = bytes(await self._begun(2 + wide + size))
        self._frame.clear()
        return Frame(first & 15, whole[2 + wide :], bool(first & 128))

    async def _begun(self, size: int) -> bytearray:
        """The bytes of the frame that is being read, at least the first ``size``."""
        while len(self._frame) < size:
            some = await self.reader.read(size - len(self._frame))
            if not some:
                raise asyncio.IncompleteReadError(bytes(self._frame), size)
            self._frame += some
        return self._frame

    async def answer(self) -> Frame:
        """The next frame that is no ping: those come when it is time, also between others."""
        while (frame := await self.frame()).opcode == PING:
            await self.send(PONG, frame.payload)
        return frame

    async def ended(self) -> bytes:
        """What comes until the server ends the connection in order; a reset is an error."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return bytes(self._frame) + await self.reader.read()


def resident_bytes(pid: int) -> int:
    """The memory that a process holds; not the files that it has mapped, whose pages come when they are used first."""
    _, resident, of_files, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")
