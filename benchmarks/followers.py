"""Viewers that come back: they follow a session over many connections, each with the cursor of the one before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from time import monotonic_ns

from picows import WSError, WSMsgType, WSTransport

from benchmarks.load_agent import order
from benchmarks.load_client import Tally, Viewer
from benchmarks.rig import Rig
from benchmarks.systems import SPEAKS_SOCKET_IO

AGAIN_SECONDS = 0.1  # after a refused handshake
_OFFSET = b'"offset":'


class Follower:
    """Follows one session, and keeps account of what it saw and how long it had to wait.

    Attributes:
        tally: its tokens and complete answers.
        holes: how often a frame did not follow the one before, or the log was gone.
        recoveries_ns: from each start of a handshake to the last frame that the log had then.
        outages_ns: the same, from the end of the connection before.
    """

    def __init__(self, rig: Rig, session_id: str) -> None:
        self.tally = Tally()
        self.holes = 0
        self.errors = 0
        self.recoveries_ns: list[int] = []
        self.outages_ns: list[int] = []
        self.is_whole = False
        self.connection: Connection | None = None
        self.away_seconds = 0.0  # before the next handshake
        self._rig = rig
        self.session_id = session_id
        self._epoch = ""
        self._offset = 0
        self._target: int | None = None  # the newest offset when the connection opened
        self._lost_at_ns = 0
        self._back_at_ns = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await asyncio.sleep(self.away_seconds)
            self.away_seconds = 0.0
            self._back_at_ns = monotonic_ns()
            try:
                connection = await self._connect()
            except (WSError, OSError, TimeoutError):
                self.away_seconds = AGAIN_SECONDS
                continue
            self.connection = connection
            await connection.ended.wait()
            self.connection = None
            self.is_whole = False
            self._target = None
            self._lost_at_ns = monotonic_ns()

    async def _connect(self) -> Connection:
        query = f"epoch={self._epoch}&offset={self._offset}" if self._epoch else ""
        connection = Connection(self)
        await self._rig.view(self.session_id, resumable=True, query=query, viewer=connection)
        return connection

    @property
    def is_open(self) -> bool:
        """Does it see the session now?"""
        return self.connection is not None

    def cut(self, away_seconds: float) -> None:
        """Break the connection, and come back after so many seconds."""
        if self.connection is not None:
            self.away_seconds = away_seconds
            self.connection.transport.disconnect(graceful=False)

    def say(self, content: str) -> None:
        """Send a message, on a connection that is open."""
        if self.connection is not None:
            self.connection.say(content)

    def received(self, text: bytes) -> None:
        """Take a frame."""
        if text.startswith(b'{"type":"welcome"'):
            self._welcomed(json.loads(text))
        elif text.startswith(b'{"type":"disconnect"'):
            self.away_seconds = json.loads(text)["delay_ms"] / 1000
        elif text.startswith(b'{"type":"error"'):
            self.errors += b'"turn_id"' in text  # otherwise it refuses a message, which is sent again
        elif not text.startswith(b'{"type":"ping"') and (place := text.rfind(_OFFSET)) >= 0:
            offset = int(text[place + len(_OFFSET) : -1])
            self.holes += offset != self._offset + 1
            self._offset = offset
        if self._target is not None and self._offset >= self._target and not self.is_whole:
            self._became_whole()

    def answered(self) -> None:
        """Notice that an answer is complete."""

    def _welcomed(self, welcome: dict[str, object]) -> None:
        epoch, after = str(welcome["epoch"]), welcome.get("after")
        if not self._epoch:
            self._offset = after if isinstance(after, int) else 0
        elif epoch != self._epoch or welcome.get("recovered") is False:
            self.holes += 1
        self._epoch = epoch
        self._target = int(str(welcome["offset"]))

    def _became_whole(self) -> None:
        self.is_whole = True
        if self._lost_at_ns:
            self.recoveries_ns.append(monotonic_ns() - self._back_at_ns)
            self.outages_ns.append(monotonic_ns() - self._lost_at_ns)


class Asker(Follower):
    """A follower that asks the next question when an answer is complete, and again if it may not have arrived."""

    def __init__(self, rig: Rig, session_id: str, tokens: int, rate: int) -> None:
        super().__init__(rig, session_id)
        self.is_done = False
        self._content = order(tokens, rate)

    def answered(self) -> None:
        self._ask()

    def _welcomed(self, welcome: dict[str, object]) -> None:
        super()._welcomed(welcome)
        self._ask()

    def _ask(self) -> None:
        """Ask the question that follows the answers seen so far: under the same id it is answered only once."""
        if self.connection is not None and not self.is_done:
            message = {
                "type": "user_message",
                "content": self._content,
                "client_message_id": f"m-{self.tally.turns}",
            }
            self.connection.transport.send(WSMsgType.TEXT, json.dumps(message).encode())


class SocketIoFollower(Follower):
    """Follows a session through Socket.IO, which recovers what its server still has; it cannot tell what it has missed.

    Protocol: Engine.IO 4 and Socket.IO 5, with the members ``pid`` and ``offset`` of connection state recovery.
    """

    def __init__(self, rig: Rig, session_id: str) -> None:
        super().__init__(rig, session_id)
        self.recovery: dict[str, str] = {}  # what the next handshake presents

    @property
    def is_open(self) -> bool:
        return super().is_open and "pid" in self.recovery

    async def _connect(self) -> Connection:
        connection = SocketIoConnection(self)
        await self._rig.view(self.session_id, query="EIO=4&transport=websocket", viewer=connection)
        return connection


class Connection(Viewer):
    """One of a follower's connections."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(follower.tally)
        self.ended = asyncio.Event()
        self._follower = follower

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self._follower.connection = self

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        super().on_ws_disconnected(transport)
        self.ended.set()

    def on_text(self, payload: bytes, now_ns: int) -> None:
        self._follower.received(payload)
        super().on_text(payload, now_ns)

    def on_final(self, now_ns: int) -> None:
        self._follower.answered()


class SocketIoConnection(Connection):
    """One of a Socket.IO follower's connections."""

    _follower: SocketIoFollower

    def say(self, content: str) -> None:
        message = {"type": "user_message", "content": content}
        self.transport.send(WSMsgType.TEXT, b"42" + json.dumps(["message", message]).encode())

    def on_text(self, payload: bytes, now_ns: int) -> None:
        if payload.startswith(b"42"):
            _, frame, offset = json.loads(payload[2:])
            self._follower.recovery["offset"] = offset
            Viewer.on_text(self, json.dumps(frame).encode(), now_ns)
        elif payload.startswith(b"40"):
            self._follower.recovery["pid"] = json.loads(payload[2:])["pid"]
        elif payload.startswith(b"0"):
            self.transport.send(WSMsgType.TEXT, b"40" + json.dumps(self._follower.recovery).encode())
        elif payload == b"2":
            self.transport.send(WSMsgType.TEXT, b"3")


def follower_of(rig: Rig, session_id: str) -> Follower:
    """Return a follower that speaks what the system speaks."""
    kind = SocketIoFollower if SPEAKS_SOCKET_IO in rig.system.can else Follower
    return kind(rig, session_id)


@asynccontextmanager
async def following(followers: Sequence[Follower]) -> AsyncGenerator[None, None]:
    """Let them follow for a time."""
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    try:
        yield
    finally:
        for follower, task in zip(followers, tasks, strict=True):
            task.cancel()
            if follower.connection is not None:
                follower.connection.transport.disconnect()
        await asyncio.gather(*tasks, return_exceptions=True)


def lost_tokens(followers: Iterable[Follower], tokens: int) -> int:
    """Count tokens that did not arrive, or arrived twice; a hole, and an error, count as one at least."""
    return sum(max(abs(tokens - follower.tally.tokens), follower.holes + follower.errors) for follower in followers)
