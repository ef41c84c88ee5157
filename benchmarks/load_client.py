"""Viewers that are never the bottleneck: picows on uvloop. They count, and read how old each token is."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import Callable
from time import monotonic, monotonic_ns

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

HANDSHAKE_SECONDS = 60.0


class Tally:
    """What all viewers of one measurement have seen.

    Attributes:
        latencies_ns: the age of each token that came while ``is_recording``.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.is_recording = False
        self.latencies_ns = array("q")


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
        self._tally = tally
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
        payload = frame.get_payload_as_bytes()
        parts = payload.split(b'"', 8)  # {"type":"assistant_message","token":"…", however it is spaced
        if parts[3] != b"assistant_message":
            self._on_other(parts[3], payload)
            return
        stamp = parts[7]
        if not stamp:
            self.finals += 1
            return
        self.tokens += 1
        self._tally.tokens += 1
        if stamp < self._newest_stamp:
            self.is_in_order = False
        self._newest_stamp = stamp
        if self._tally.is_recording:
            self._tally.latencies_ns.append(now_ns - int(stamp))

    def _on_other(self, kind: bytes, payload: bytes) -> None:
        if kind == b"welcome":
            self._welcome = payload
        elif kind == b"accepted":
            self.is_accepted = True
        elif kind == b"error":
            self.errors += 1


async def connect(tally: Tally, url: str, *, subprotocol: str | None = None) -> Viewer:
    """Open a socket.

    Raises:
        WSError, OSError, TimeoutError: the server did not take it.
    """
    headers = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol is not None else None
    _, viewer = await ws_connect(
        lambda: Viewer(tally), url, extra_headers=headers, websocket_handshake_timeout=HANDSHAKE_SECONDS
    )
    return viewer  # type: ignore[return-value]  # what the factory made


async def until(is_true: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition, and say whether it came true in time."""
    give_up_at = monotonic() + seconds
    while not is_true():
        if monotonic() > give_up_at:
            return False
        await asyncio.sleep(0.01)
    return True
