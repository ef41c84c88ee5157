"""A client of ``gateway.v1`` for programs: after a lost connection it connects again, and continues where it was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from relay.layers.values import new_id
from relay.protocol.request_headers import INTERNAL_KEY

SUBPROTOCOL: Final = Subprotocol("gateway.v1")
FIRST_DELAY_SECONDS: Final = 0.5
MAX_DELAY_SECONDS: Final = 5.0  # a person waits
CONNECT_SECONDS: Final = 20.0
SILENT_HEARTBEATS: Final = 2.5  # so many heartbeats without a frame: the connection is dead
COME_BACK_CODES: Final = frozenset({1001, 1005, 1006, 1011, 1012, 1013, 4408, 4429, 4503, 4508})

HISTORY: Final = "history"

Frame = dict[str, Any]  # any JSON object: its fields depend on its type


class Closed(Exception):
    """The client must not connect again; ``str`` gives the reason."""


class ChatClient:
    """One session. ``frames`` yields the gateway's frames, each once.

    After a lost connection a message is sent again until it is accepted, always under one name, so it is answered once.

    Args:
        url: of the gateway's sockets, which starts with ``ws``.
        key: the internal key; ``None``: none is sent.
        ticket: for the session; ``None``: none is sent.
        patience_seconds: without a connection, after which the client gives up; ``None``: never.
    """

    def __init__(
        self,
        url: str,
        session_id: str,
        *,
        key: str | None,
        ticket: str | None,
        patience_seconds: float | None = None,
    ) -> None:
        self.address = url.rstrip("/")
        self._url = f"{self.address}/ws/{session_id}/"
        self._headers = {INTERNAL_KEY: key} if key is not None else {}
        self._credential = {"ticket": ticket} if ticket is not None else {}
        self._cursor: dict[str, object] = {}  # none yet: the turn in flight, then what follows
        self._unaccepted: dict[str, Frame] = {}
        self._connection: ClientConnection | None = None
        self._silence_seconds = CONNECT_SECONDS
        self._failures = 0
        self._delay_seconds = 0.0
        self._patience_seconds = math.inf if patience_seconds is None else patience_seconds
        self._give_up_at = math.inf  # while there is a connection

    @property
    def is_waiting(self) -> bool:
        """Is there a message that the gateway has not taken yet?"""
        return bool(self._unaccepted)

    async def say(self, content: str) -> str:
        """Send a message, now or when the connection is back. Returns its ``client_message_id``."""
        client_message_id = new_id()
        message = {"type": "user_message", "content": content, "client_message_id": client_message_id}
        self._unaccepted[client_message_id] = message
        await self._send(message)
        return client_message_id

    async def stop(self, turn_id: str | None = None) -> None:
        """Ask the gateway to stop a turn; by default the one in flight."""
        await self._send({"type": "cancel", "turn_id": turn_id})

    async def ask_history(self, turns: int) -> None:
        """Ask for the last turns that have ended; a frame ``history`` answers, or an error named ``HISTORY``."""
        await self._send({"type": "history", "before": "", "limit": turns, "client_message_id": HISTORY})

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Yield the frames, forever; a frame of type ``lost`` is where the connection was lost.

        Raises:
            Closed: the gateway refuses this client, or is no gateway; or the client's patience is over.
        """
        self._set_limit()
        while True:
            try:
                async for frame in self._connected():
                    yield frame
            except InvalidStatus as exc:
                if exc.response.status_code < 500:
                    raise Closed(f"The gateway refused: HTTP {exc.response.status_code}.") from exc
            except (OSError, TimeoutError, InvalidHandshake, EOFError):
                pass  # not there, or not yet
            finally:
                self._connection = None
            self._set_limit()
            yield {"type": "lost"}
            await asyncio.sleep(self._limited(self._next_delay_seconds()))
            if self._limited(1) <= 0:
                words = f"No gateway answered at {self.address} for {self._patience_seconds:g} s"
                raise Closed(f"{words}: is it running? Give its address with --url.")

    async def _connected(self) -> AsyncGenerator[Frame, None]:
        async with connect(
            f"{self._url}?{urlencode({**self._cursor, **self._credential})}",
            subprotocols=[SUBPROTOCOL],
            additional_headers=self._headers,
            max_size=None,
            proxy=None,
            open_timeout=self._limited(CONNECT_SECONDS),
        ) as connection:
            if connection.subprotocol != SUBPROTOCOL:
                raise Closed("The server does not speak gateway.v1.")
            self._connection = connection
            try:
                while True:
                    async with asyncio.timeout(self._limited(self._silence_seconds)):
                        frame = json.loads(await connection.recv())
                    if await self._take(frame):
                        yield frame
            except ConnectionClosed as exc:
                code = exc.rcvd.code if exc.rcvd is not None else 1006
                if code not in COME_BACK_CODES:
                    raise Closed("The gateway closed the connection.") from exc

    async def _take(self, frame: Frame) -> bool:
        """Note what a frame means for the connection. Returns whether the caller gets the frame."""
        match frame["type"]:
            case "welcome":
                await self._resume(frame)
            case "disconnect":
                if not frame["reconnect"]:
                    raise Closed(frame["content"])
                self._delay_seconds = frame["delay_ms"] / 1000
            case "accepted":
                self._unaccepted.pop(frame["client_message_id"], None)
            case "error" if "turn_id" not in frame:
                # Messages are taken in their order, so one that was refused unread, without a name, is the oldest.
                name = frame.setdefault("client_message_id", next(iter(self._unaccepted), ""))
                self._unaccepted.pop(name, None)
            case "snapshot":
                self._cursor = {"epoch": frame["epoch"], "offset": frame["offset"]}
            case "ping":
                return False
            case _ if "offset" in frame:
                return self._advance(frame["offset"])
        return True

    async def _resume(self, welcome: Frame) -> None:
        self._failures, self._delay_seconds, self._give_up_at = 0, 0.0, math.inf
        self._silence_seconds = SILENT_HEARTBEATS * welcome["heartbeat_seconds"] + 1
        if welcome["after"] is not None:
            self._cursor = {"epoch": welcome["epoch"], "offset": welcome["after"]}
        for message in list(self._unaccepted.values()):
            await self._send(message)

    def _advance(self, offset: int) -> bool:
        seen = self._cursor.get("offset")
        if isinstance(seen, int) and offset <= seen:
            return False
        self._cursor["offset"] = offset
        return True

    async def _send(self, frame: Frame) -> None:
        if self._connection is not None:
            with contextlib.suppress(ConnectionClosed):  # a message is sent again when the connection is back
                await self._connection.send(json.dumps(frame))

    def _set_limit(self) -> None:
        """Start the client's patience, unless it runs already."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + self._patience_seconds)

    def _limited(self, seconds: float) -> float:
        return min(seconds, max(0.0, self._give_up_at - time.monotonic()))

    def _next_delay_seconds(self) -> float:
        self._failures += 1
        longest = min(FIRST_DELAY_SECONDS * 2**self._failures, MAX_DELAY_SECONDS)
        jittered = random.uniform(0.1, longest)  # noqa: S311 - no secret
        return self._delay_seconds or jittered
