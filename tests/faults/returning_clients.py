"""Clients that return where a slow moment of the store has refused them, as front ends do.

The gateway refuses a connection whose session is not at hand within two seconds, and a message that is not stored by
then. On a loaded machine that happens to tests that are about something else.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from typing import Any, Self

from websockets.exceptions import InvalidStatus

from relay.layers.values import new_id
from tests.clients import LIMIT_SECONDS, SocketClient

PAUSE_SECONDS = 0.05


class ReturningClient(SocketClient):
    """A resumable client: it is told why it is refused. Its first frame has come when it is open.

    A message that is refused for the same reason is said again.
    """

    _first: str | None = None

    def __init__(self, url: str, subprotocols: list[str], **options: Any) -> None:
        super().__init__(url, subprotocols, **options)
        self._said: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                await super().__aenter__()
                first = await super().text()
                if json.loads(first).get("code") != "store_unavailable":
                    self._first = first
                    return self
                await self.__aexit__(None, None, None)
                await asyncio.sleep(PAUSE_SECONDS)

    async def say(self, content: str, **fields: Any) -> None:
        fields.setdefault("client_message_id", new_id())  # so that it counts once
        self._said[fields["client_message_id"]] = json.dumps({"type": "user_message", "content": content, **fields})
        await super().say(content, **fields)

    async def text(self) -> str:
        first, self._first = self._first, None
        text = await super().text() if first is None else first
        while (said := self._refused(json.loads(text))) is not None:
            await asyncio.sleep(PAUSE_SECONDS)
            await self.send_text(said)
            text = await super().text()
        return text

    def _refused(self, frame: dict[str, Any]) -> str | None:
        """The message that this frame refuses, if it is to be said again; the end of a turn has an offset."""
        if frame.get("code") != "store_unavailable" or frame["type"] != "error" or "offset" in frame:
            return None
        return self._said.get(frame.get("client_message_id", ""))


class ReturningPlainClient(SocketClient):
    """A client of the plain dialect, in which every refusal is a 403."""

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                try:
                    return await super().__aenter__()
                except InvalidStatus as refusal:
                    if refusal.response.status_code != 403:
                        raise
                await asyncio.sleep(PAUSE_SECONDS)


def request_until_served(request: urllib.request.Request) -> bytes:
    """Make a request again while it is answered by a 503. Returns the body."""
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as response:
                return response.read()
        except urllib.error.HTTPError as refusal:
            if refusal.code != 503 or time.monotonic() > give_up_at:
                raise
        time.sleep(PAUSE_SECONDS)
