"""Viewers that are never the bottleneck: picows on uvloop. They count, and read how old each token is."""

from __future__ import annotations

import asyncio
import json
import socket
from array import array
from collections.abc import Callable
from time import monotonic, monotonic_ns

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

HANDSHAKE_SECONDS = 60.0
IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); Python 3.12 has the name
AGAIN_SECONDS = 3.0  # after a refused handshake


class Tally:
    """What all viewers of one measurement have seen.

    Attributes:
        turns: answers that were complete.
        latencies_ns: the age of each token that came while ``is_recording``.
        turn_times_ns: from question to complete answer, of talkers' turns that ended while ``is_recording``.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.turns = 0
        self.is_recording = False
        self.latencies_ns = array("q")
        self.turn_times_ns = array("q")


class Viewer(WSListener):
    """One socket. Speaks the plain protocol, or ``gateway.v1`` if it was opened so."""

    def __init__(self, tally: Tally) -> None:
        self.tokens = 0
        self.finals = 0
        self.errors = 0
        self.is_in_order = True
        self.is_accepted = False
        self.is_closed = False
        self.transport: WSTransport
        self.tally = tally
        self._newest_stamp = b""
        self._welcome = b""

    def say(self, content: str) -> None:
        """Send a message."""
        message = json.dumps({"type": "user_message", "content": content})
        self.transport.send(WSMsgType.TEXT, message.encode())

    @property
    def epoch(self) -> str:
        """The epoch of the log that a ``gateway.v1`` viewer sees."""
        epoch: str = json.loads(self._welcome)["epoch"]
        return epoch

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.is_closed = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now_ns = monotonic_ns()
        if frame.msg_type is not WSMsgType.TEXT:
            if frame.msg_type is WSMsgType.CLOSE:
                transport.disconnect()
            return
        self.on_text(frame.get_payload_as_bytes(), now_ns)

    def on_text(self, payload: bytes, now_ns: int) -> None:
        """Count a frame."""
        parts = payload.split(b'"', 8)  # {"type":"assistant_message","token":"…", however it is spaced
        if parts[3] != b"assistant_message":
            self._on_other(parts[3], payload)
            return
        stamp = parts[7]
        if not stamp:
            self.finals += 1
            self.tally.turns += 1
            self.on_final(now_ns)
            return
        self.tokens += 1
        self.tally.tokens += 1
        if stamp < self._newest_stamp:
            self.is_in_order = False
        self._newest_stamp = stamp
        if self.tally.is_recording:
            self.tally.latencies_ns.append(now_ns - int(stamp))

    def on_final(self, now_ns: int) -> None:
        """Notice the end of an answer."""

    def _on_other(self, kind: bytes, payload: bytes) -> None:
        if kind == b"welcome":
            self._welcome = payload
        elif kind == b"accepted":
            self.is_accepted = True
        elif kind == b"error":
            self.errors += 1


class Talker(Viewer):
    """A viewer that asks the next question as soon as an answer is complete.

    Attributes:
        is_done_at: the number of answers after which it asks no more; ``None``: it never stops.
    """

    def __init__(self, tally: Tally, message: Callable[[int], dict[str, object]]) -> None:
        """Take ``message``, which returns the n-th message, counted from 0."""
        super().__init__(tally)
        self.is_done_at: int | None = None
        self._message = message
        self._asked_at_ns = 0

    @property
    def is_done(self) -> bool:
        """Has it got its last answer?"""
        return self.is_done_at is not None and self.finals >= self.is_done_at

    def ask(self) -> None:
        """Ask the next question."""
        self._asked_at_ns = monotonic_ns()
        self.transport.send(WSMsgType.TEXT, json.dumps(self._message(self.finals)).encode())

    def on_final(self, now_ns: int) -> None:
        if self.tally.is_recording:
            self.tally.turn_times_ns.append(now_ns - self._asked_at_ns)
        if not self.is_done:
            self.ask()


async def connect(viewer: Viewer, url: str, *, subprotocol: str | None = None, source: str = "127.0.0.1") -> Viewer:
    """Open a viewer's socket, from a local address.

    Raises:
        WSError, OSError, TimeoutError: the server did not take it.
    """
    headers = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol is not None else None
    await ws_connect(
        lambda: viewer,
        url,
        extra_headers=headers,
        websocket_handshake_timeout=HANDSHAKE_SECONDS,
        socket_factory=(lambda _: _socket_of(source)) if source != "127.0.0.1" else None,
    )
    return viewer


def _socket_of(address: str) -> socket.socket:
    """Return a socket of a local address. It gets its port when it connects, so that addresses may share ports."""
    own = socket.socket()
    own.setblocking(False)
    own.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    own.bind((address, 0))
    return own


async def connect_patiently(viewer: Viewer, url: str, *, source: str) -> Viewer:
    """Open a viewer's socket; a server that has too much to do may refuse it once.

    Raises:
        WSError, OSError, TimeoutError: it refused twice.
    """
    try:
        return await connect(viewer, url, source=source)
    except (WSError, OSError, TimeoutError):
        await asyncio.sleep(AGAIN_SECONDS)
        return await connect(viewer, url, source=source)


async def until(is_true: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition, and say whether it came true in time."""
    give_up_at = monotonic() + seconds
    while not is_true():
        if monotonic() > give_up_at:
            return False
        await asyncio.sleep(0.01)
    return True
