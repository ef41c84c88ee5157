"""Viewers that are kept attached: a call for each, all in one exchange, and no task waits for a single reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from relay.exceptions import StoreUnavailable
from relay.layers.redis.feed import SessionFeed
from relay.layers.redis.store import Store
from relay.layers.redis.values import subject_text
from relay.layers.redis.wire import Reply
from relay.layers.values import Viewer
from relay.protocol.cursor import Cursor

Answer = Callable[[int, Cursor | None], None]
"""See ``SessionLayer.keep_attached``."""


class KeptViewers:
    """One call of ``SessionLayer.keep_attached``."""

    def __init__(self, store: Store, viewers: Sequence[Viewer], answer: Answer) -> None:
        self.is_over = False
        self._store = store
        self._viewers = viewers
        self._answer = answer
        self._left = len(viewers)
        self._waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, now: str) -> None:
        """Call the store, and wait until each viewer has its answer."""
        try:
            for place, viewer in enumerate(self._viewers):
                handler = _Kept(self, place, self._store.watched(viewer.session_id))
                try:
                    self._store.keep(handler, viewer.session_id, now, viewer.name, subject_text(viewer.subject))
                except StoreUnavailable as exc:
                    handler.set_exception(exc)
            if self._left:
                await self._waiter
        finally:
            self.is_over = True

    def take(self, place: int, position: Cursor | None) -> None:
        """Take the reply about a viewer."""
        self._answer(place, position)
        self._left -= 1
        if not self._left and not self._waiter.done():
            self._waiter.set_result(None)


class _Kept:
    """Handles the reply about a viewer, which also says whether announcements of the session were lost."""

    __slots__ = ("_call", "_feed", "_is_done", "_place", "_position")

    def __init__(self, call: KeptViewers, place: int, feed: SessionFeed | None) -> None:
        self._call = call
        self._place = place
        self._feed = feed
        self._position = feed.position if feed is not None else None
        self._is_done = False

    # ReplyHandler, for the group commit.

    def done(self) -> bool:
        """Has it received a reply or a failure, or was the call cancelled?"""
        return self._is_done or self._call.is_over

    def set_result(self, reply: Reply) -> None:
        """Take the reply."""
        self._is_done = True
        position = None
        if reply is not None:
            position = Cursor(reply[0].decode(), reply[1])
            if self._feed is not None and self._position is not None:
                self._feed.compare(self._position, position)
                self._feed.is_compared = True
        self._call.take(self._place, position)

    def set_exception(self, failure: Exception) -> None:
        """Take note that there will be no reply: ``attach`` learns why."""
        self._is_done = True
        self._call.take(self._place, None)
