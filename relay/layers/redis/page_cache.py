"""Reads a session's log for all who watch it here: once for those who are at the same place.

When a balancer restarts, thousands come back within seconds and read the same pages. A frame never changes within its
epoch, so a full page serves whoever comes in the next moments; an unfinished one is always read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame

PAGE_FRAMES: Final = 256
KEEP_SECONDS: Final = 5.0  # from the first page that is kept; then all are forgotten

Read = Callable[[Cursor, int], Awaitable[list[Frame]]]


class _Reading(NamedTuple):
    page: asyncio.Task[list[Frame]]
    version: int


class PageCache:
    """The pages of one session; ``max_bytes`` of their texts are kept at most."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pages: dict[Cursor, list[Frame]] = {}
        self._bytes = 0
        self._reading: dict[tuple[Cursor, str | None], _Reading] = {}
        self._forgetting: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def page(
        self, after: Cursor, read: Read, version: int, subject: str | None, *, is_known: bool
    ) -> list[Frame]:
        """Give what follows a position, at most a page.

        Args:
            subject: for whom ``read`` reads; a reading is shared by those of the same subject only, because another one
                may be refused.
            version: which counts what is heard of the session. That nothing follows is true only as of when the store
                was asked: who has heard more since does not go by another's answer.
            is_known: is the position's epoch known to be the log's, and the subject to be its owner? Else only the
                store can tell.
        """
        page = self._pages.get(after) if is_known else None
        while page is None:
            reading = self._reading.get((after, subject)) or self._begin(after, read, version, subject)
            found = await asyncio.shield(reading.page)
            if found or reading.version >= version:
                page = found
        return page

    def forget(self) -> None:
        """Keep nothing: the log may have begun anew."""
        self._pages, self._bytes = {}, 0
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None

    def _begin(self, after: Cursor, read: Read, version: int, subject: str | None) -> _Reading:
        page = self._loop.create_task(self._read(after, read, subject))
        page.add_done_callback(_look_at)
        reading = self._reading[after, subject] = _Reading(page, version)
        return reading

    async def _read(self, after: Cursor, read: Read, subject: str | None) -> list[Frame]:
        try:
            page = await read(after, PAGE_FRAMES)
        finally:
            del self._reading[after, subject]
            self._reading = self._reading or {}  # an emptied dict keeps its room; a session's is empty for hours
        if len(page) == PAGE_FRAMES:
            self._keep(after, page)
        return page

    def _keep(self, after: Cursor, page: list[Frame]) -> None:
        self._bytes += sum(frame.size for frame in page)
        if self._bytes > self._max_bytes:
            self.forget()
            return
        self._pages[after] = page
        if self._forgetting is None:
            self._forgetting = self._loop.call_later(KEEP_SECONDS, self.forget)


def _look_at(reading: asyncio.Task[list[Frame]]) -> None:
    """Take note of an error: those who wanted to know may have left."""
    if not reading.cancelled():
        reading.exception()
