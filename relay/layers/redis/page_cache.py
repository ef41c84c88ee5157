"""Reads a session's log once for all tails of this process that are at the same position.

When a balancer restarts, thousands come back within seconds and read the same pages. A frame never changes within its
epoch, so a full page serves every tail that comes within the next moments; an unfinished one is always read again.
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
        """Return the frames after a position, at most a page.

        Args:
            subject: for which ``read`` reads; a reading is shared by tails of the same subject only, because another
                subject may be refused.
            version: counts the news of the session. An empty page is true only as of the moment when the store was
                asked: a tail that has had more news since needs an answer of its own.
            is_known: is the position's epoch known to be the log's, and the subject to be its owner? Else only the
                store can tell.
        """
        page = self._pages.get(after) if is_known else None
        while page is None:
            reading = self._reading.get((after, subject)) or self._start_reading(after, read, version, subject)
            found = await asyncio.shield(reading.page)
            if found or reading.version >= version:
                page = found
        return page

    def forget(self) -> None:
        """Forget all pages: the log may have started again."""
        self._pages, self._bytes = {}, 0
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None

    def _start_reading(self, after: Cursor, read: Read, version: int, subject: str | None) -> _Reading:
        page = self._loop.create_task(self._read(after, read, subject))
        page.add_done_callback(_look_at)
        reading = self._reading[after, subject] = _Reading(page, version)
        return reading

    async def _read(self, after: Cursor, read: Read, subject: str | None) -> list[Frame]:
        try:
            page = await read(after, PAGE_FRAMES)
        finally:
            del self._reading[after, subject]
            self._reading = (
                self._reading or {}
            )  # an emptied dict keeps its memory, and a session reads nothing for hours
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
    """Retrieve an error: the tasks that waited for it may have been cancelled."""
    if not reading.cancelled():
        reading.exception()
