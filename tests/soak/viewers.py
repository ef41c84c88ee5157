"""Front ends that come and go: what each sees goes into the history, and nothing else does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.clients import V1
from tests.soak.history import History

OPEN_SECONDS = 10.0
SILENCE_SECONDS = 5.0  # five heartbeats: the line is dead, as a client that runs in a browser would find
AGAIN = {"store_unavailable", "shutting_down", "rate_limited"}


class Viewer:
    """One front end on one session; it comes back after every close, with its cursor if its dialect has one."""

    def __init__(self, name: str, url: str, session_id: str, history: History, random: Random, *, dialect: str) -> None:
        self.name = name
        self.cursor: dict[str, Any] | None = None
        self._session_id = session_id
        self._url = f"{url}/ws/{session_id}/"
        self._history = history
        self._random = random
        self._dialect = dialect
        self._connection: ClientConnection | None = None

    async def stay(self, is_over: Callable[[], bool]) -> None:
        """Watch until told to leave."""
        while not is_over():
            try:
                await self._watch(is_over)
            except (OSError, TimeoutError, WebSocketException):
                pass
            except BaseException as exc:
                if not asyncio.current_task().cancelling():
                    self._history.add("leftover", what=f"viewer {self.name} failed: {exc!r}")
                raise
            await asyncio.sleep(self._random.uniform(0.05, 0.5))

    def drop(self) -> None:
        """Lose the line in the middle of whatever comes."""
        if self._connection is not None:
            self._connection.transport.abort()

    async def _watch(self, is_over: Callable[[], bool]) -> None:
        query = "?" + urlencode(self.cursor) if self.cursor else ""
        subprotocols = [V1] if self._dialect == V1 else None
        async with connect(
            self._url + query, subprotocols=subprotocols, proxy=None, open_timeout=OPEN_SECONDS, close_timeout=0.5
        ) as connection:
            where = {"session": self._session_id, "dialect": self._dialect}
            self._history.add("opened", viewer=self.name, **where, cursor=self.cursor)
            self._connection = connection
            try:
                while not is_over():
                    async with asyncio.timeout(SILENCE_SECONDS if self._dialect == V1 else None):
                        frame = json.loads(await connection.recv())
                    self._history.add("frame", viewer=self.name, frame=frame)
                    await self._take(frame)
            finally:
                self._connection = None
                self._history.add("closed", viewer=self.name)

    async def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                if frame["after"] is not None:
                    self.cursor = {"epoch": frame["epoch"], "offset": frame["after"]}
            case "snapshot":
                self.cursor = {"epoch": frame["epoch"], "offset": frame["offset"]}
            case "ping":
                pass
            case _ if "offset" in frame and self.cursor:
                self.cursor = {"epoch": self.cursor["epoch"], "offset": frame["offset"]}

    async def _send(self, frame: dict[str, Any]) -> None:
        if self._connection is not None:
            with suppress(WebSocketException, OSError):
                await self._connection.send(json.dumps(frame))


class Talker(Viewer):
    """A viewer that says things, and says them again under the same name until they are taken or refused."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, dialect=V1, **options)
        self._unanswered: dict[str, dict[str, Any]] = {}
        self.accepted = 0

    @property
    def is_waiting(self) -> bool:
        return bool(self._unanswered)

    @property
    def waiting(self) -> list[str]:
        """The messages without an answer."""
        return list(self._unanswered)

    async def say(self, message: str, content: str, text: str, on_busy: str) -> None:
        self._history.add("said", message=message, content=content, text=text)
        frame = {"type": "user_message", "content": content, "client_message_id": message, "on_busy": on_busy}
        self._unanswered[message] = frame
        await self._send(frame)

    async def cancel(self) -> None:
        await self._send({"type": "cancel"})

    async def _take(self, frame: dict[str, Any]) -> None:
        await super()._take(frame)
        message = frame.get("client_message_id")
        match frame["type"]:
            case "welcome":
                for unanswered in list(self._unanswered.values()):
                    await self._send(unanswered)
            case "accepted":
                self._history.add("accepted", message=message, session=self._session_id, turn=frame["turn_id"])
                if self._unanswered.pop(message, None) is not None:
                    self.accepted += 1
            case "error" if message in self._unanswered:
                if frame["code"] in AGAIN:
                    asyncio.get_running_loop().call_later(0.3, self._say_again, message)
                else:
                    del self._unanswered[message]

    def _say_again(self, message: str) -> None:
        frame = self._unanswered.get(message)
        if frame is not None:
            self._sending = asyncio.ensure_future(self._send(frame))
