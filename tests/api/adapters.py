"""Responses of adapters, read without a server: a broken one has no last message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.clients import LIMIT_SECONDS
from tests.http_clients import Answer, HttpClient


@dataclass
class Body:
    """The events of a body, and whether it has ended in order."""

    events: list[Any]
    ids: list[str]
    is_whole: bool


class Reader:
    """Reads events one by one."""

    def __init__(self, answer: Answer, chunks: AsyncIterator[bytes]) -> None:
        self.answer = answer
        self._chunks = chunks
        self._buffered = b""
        self.is_whole = False
        self.ids: list[str] = []

    async def event(self) -> Any:
        """Give the next event, ``None`` at the end."""
        while True:
            line, found, rest = self._buffered.partition(b"\n")
            if found:
                self._buffered = rest
                name, _, value = line.partition(b": ")
                if name == b"id":
                    self.ids.append(value.decode())
                if name == b"data":
                    return json.loads(value) if value.startswith(b"{") else value.decode()
            elif not await self._more():
                return None

    async def all_bytes(self) -> bytes:
        """Give the bytes of the body that were not read yet."""
        while await self._more():
            pass
        return self._buffered

    async def rest(self) -> Body:
        events = []
        while (event := await self.event()) is not None:
            events.append(event)
        return Body(events, self.ids, self.is_whole)

    async def _more(self) -> bool:
        async with asyncio.timeout(LIMIT_SECONDS):
            async for chunk in self._chunks:
                self._buffered += chunk
                self.is_whole = chunk == b""
                return True
        return False


@asynccontextmanager
async def opened(http: HttpClient, method: str, path: str, **options: Any) -> AsyncIterator[Reader]:
    async with http.open(method, path, **options) as (answer, chunks):
        yield Reader(answer, chunks)


async def read(http: HttpClient, method: str, path: str, **options: Any) -> tuple[Answer, Body]:
    async with opened(http, method, path, **options) as reader:
        return reader.answer, await reader.rest()
