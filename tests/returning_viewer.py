"""A viewer that comes back where it was, over the next gateway, when it is sent away or cut."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from relay.layers.values import new_id
from tests.clients import LIMIT_SECONDS, V1, SocketClient, text_of
from tests.processes import Process

PAUSE_SECONDS = 0.05  # before the next gateway: a front end waits too


class ReturningViewer:
    """One viewer of one turn.

    Attributes:
        frames: those of the log, in the order in which they came.
        close_codes: of each connection that was open and that the gateway has closed; 1006: it broke.
    """

    def __init__(self, gateways: Sequence[Process], gateway: int, session_id: str) -> None:
        self.session_id = session_id
        self.frames: list[dict[str, Any]] = []
        self.close_codes: list[int | None] = []
        self._gateways = gateways
        self._gateway = gateway
        self._epoch = ""
        self._message: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def watch(self, content: str | None = None) -> None:
        """Read to the end of the turn; send the message first, if there is one."""
        while not self.is_over:
            url = f"{self._gateways[self._gateway].ws_url}/ws/{self.session_id}/?{self._cursor}"
            try:
                async with SocketClient(url, [V1]) as client:
                    first = await client.frame()
                    if first["type"] == "disconnect":  # it is refused: the store is slow, or this gateway ends
                        await asyncio.sleep(PAUSE_SECONDS)
                    else:
                        self._epoch = first["epoch"]
                        if content is not None:
                            self._message = {"content": content, "client_message_id": new_id()}
                            await client.say(**self._message)
                            content = None
                        await self._read(client)
                        if not self.is_over:
                            self.close_codes.append(await client.close_code())
            except ConnectionClosed as closed:
                self.close_codes.append(closed.rcvd.code if closed.rcvd is not None else 1006)
            except (OSError, EOFError, InvalidHandshake):  # this gateway is gone
                await asyncio.sleep(PAUSE_SECONDS)
            self._gateway = (self._gateway + 1) % len(self._gateways)

    async def _read(self, client: SocketClient) -> None:
        while not self.is_over:
            frame = await client.frame()
            if frame["type"] == "disconnect":
                return
            if frame.get("code") == "store_unavailable" and "offset" not in frame:  # the message is refused: once more
                await client.say(**self._message)
            if "offset" in frame and frame["type"] != "ping":
                self.frames.append(frame)
                self._changed.set()

    async def has(self, frames: int) -> None:
        """Wait for so many frames."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(self.frames) < frames:
                self._changed.clear()
                await self._changed.wait()

    @property
    def _cursor(self) -> str:
        return f"epoch={self._epoch}&offset={self.frames[-1]['offset']}" if self.frames else "offset=0"

    @property
    def is_over(self) -> bool:
        """Has the turn ended?"""
        return bool(self.frames) and (bool(self.frames[-1].get("is_final")) or self.frames[-1]["type"] == "error")

    @property
    def text(self) -> str:
        """The answer so far."""
        return text_of(self.frames)

    @property
    def answer(self) -> list[dict[str, Any]]:
        """The frames of the answer, without the names that differ from turn to turn."""
        names = ("turn_id", "offset")
        return [{name: value for name, value in frame.items() if name not in names} for frame in self.frames[1:]]

    def check_order(self) -> None:
        """Fail unless every frame of the log came once, in order."""
        offsets = [frame["offset"] for frame in self.frames]
        assert offsets == list(range(1, len(offsets) + 1)), offsets
