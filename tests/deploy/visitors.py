"""Front ends that keep asking, and come back where they were whenever they are sent away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed

from tests.clients import V1, SocketClient

RESTART = 1012
CLOSE_CODES = {"server_restart": RESTART, "store_unavailable": 4503}  # the second on a machine that is overloaded


@dataclass
class Visitor:
    """One client of ``gateway.v1`` with a session of its own. What it must never see fails an assertion."""

    url: str
    session_id: str
    question: str
    options: dict[str, Any]
    answers: list[str] = field(default_factory=list)
    close_codes: list[int] = field(default_factory=list)
    _epoch: str = ""
    _offset: int = 0
    _asked: int = 0
    _text: str | None = None

    async def stay(self, is_over: asyncio.Event) -> None:
        """Ask one question after another until it is over, and every question has its answer."""
        while not (is_over.is_set() and self._asked == len(self.answers)):
            cursor = urlencode({"epoch": self._epoch, "offset": self._offset}) if self._epoch else ""
            url = f"{self.url}/ws/{self.session_id}/?{cursor}"
            async with SocketClient(url, [V1], **self.options) as client:
                try:
                    delay_seconds = await self._talk(client, is_over)
                except ConnectionClosed as exc:
                    raise AssertionError(f"{self.session_id}: closed without a word, {exc}") from exc
            await asyncio.sleep(delay_seconds)

    async def _talk(self, client: SocketClient, is_over: asyncio.Event) -> float:
        """Talk until sent away. Returns for how long to stay away."""
        first = await client.frame()
        if first["type"] == "welcome":
            assert not self._epoch or (first["epoch"], first["after"]) == (self._epoch, self._offset), first
            self._epoch, self._offset = first["epoch"], first["after"]
            await self._ask(client, is_over)
        frame = first
        while frame["type"] != "disconnect":
            frame = await client.frame()
            await self._take(client, frame, is_over)
            if is_over.is_set() and self._asked == len(self.answers):
                return 0
        assert frame["reconnect"] is True, frame
        code = await client.close_code()
        assert code == CLOSE_CODES[frame["code"]], (code, frame)
        self.close_codes.append(code)
        return frame["delay_ms"] / 1_000

    async def _ask(self, client: SocketClient, is_over: asyncio.Event) -> None:
        """Ask the next question; or, after a restart, the last one again: by its id it is answered once."""
        if self._asked == len(self.answers):
            if is_over.is_set():
                return
            self._asked += 1
        with contextlib.suppress(ConnectionClosed):  # the farewell is still to be read
            await client.say(self.question, client_message_id=f"q{self._asked}")

    async def _take(self, client: SocketClient, frame: dict[str, Any], is_over: asyncio.Event) -> None:
        if "offset" in frame and frame["type"] != "ping":
            assert frame["offset"] == self._offset + 1, (self._offset, json.dumps(frame))
            self._offset += 1
        match frame["type"]:
            case "user_message":
                assert self._text is None
                self._text = ""
            case "assistant_message":
                assert self._text is not None
                self._text += frame["token"]
                if frame["is_final"]:
                    assert frame["finish_reason"] == "stop"
                    self.answers.append(self._text)
                    self._text = None
                    await self._ask(client, is_over)
            case "error":  # refused: to be said again, after the restart or after a while
                assert frame["code"] in ("shutting_down", "store_unavailable"), frame
                assert "turn_id" not in frame, frame
                if frame["code"] == "store_unavailable":
                    await asyncio.sleep(frame["retry_after_ms"] / 1_000)
                    await self._ask(client, is_over)
