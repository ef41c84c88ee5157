"""Clients that return where a slow moment of the store has refused them, as front ends do.

The gateway refuses a connection whose session is not at hand within two seconds. On a loaded machine that happens to
tests that are about something else.
"""

from __future__ import annotations

import asyncio
import json
from typing import Self

from websockets.exceptions import InvalidStatus

from tests.clients import LIMIT_SECONDS, SocketClient

PAUSE_SECONDS = 0.05


class ReturningClient(SocketClient):
    """A resumable client: it is told why it is refused. Its first frame has come when it is open."""

    _first: str | None = None

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

    async def text(self) -> str:
        first, self._first = self._first, None
        return await super().text() if first is None else first


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
