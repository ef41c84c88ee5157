"""One session as this process sees it: the newest frames, shared by all its viewers here.

An announcement is only a hint. A frame counts when the store itself has named its epoch as the log's, and its offset
follows the last one; after a hole, another epoch or a lost connection every tail goes back to reading the log. An
announcement of an epoch that the log then does not have is foreign: it is counted, and never given to a tail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from relay.exceptions import RelayError, SessionDeleted
from relay.layers.live import FrameSink, LiveSubscribers
from relay.layers.redis.epoch import LogEpoch
from relay.layers.redis.foreign import ForeignMessages
from relay.layers.redis.page_cache import PAGE_FRAMES, PageCache, Read
from relay.layers.redis.values import EpochDeleted
from relay.observability import metrics
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

WINDOW_FRAMES: Final = 512  # kept for viewers that are a little behind; the others read the log


class SessionFeed:
    """The tails of one session, and the tasks that wait for a turn's cancel.

    ``users`` counts the handles in use; the store keeps the feed for a while after the last one.
    """

    def __init__(
        self, session_id: str, bucket: int, foreign: ForeignMessages, *, max_frames: int, max_bytes: int
    ) -> None:
        self.session_id = session_id
        self.bucket = bucket
        self.users = 0
        self.position: Cursor | None = None  # of the newest frame that is known; ``None``: unknown
        self.is_compared = False  # by a viewer's heartbeat, since all feeds were compared
        self._max_frames = min(WINDOW_FRAMES, max_frames)
        self._max_bytes = max_bytes
        self._window: list[Frame] = []
        self._window_bytes = 0
        self._appends = 0  # of this process, in flight
        self._version = 0  # counts the news of the session
        self._erasures = 0
        self._erased_epoch = ""  # by the last of them
        self._epoch = LogEpoch()
        self._foreign = foreign
        self._failure: RelayError | None = None
        self._ending: RelayError | None = None  # of the tails that started before it
        self._endings = 0
        self._waiters = LiveSubscribers()
        self._cancel_waiters: dict[asyncio.Future[None], tuple[str, str]] = {}  # epoch and id of the turn of each
        self._pages = PageCache(max_bytes)
        self._loop = asyncio.get_running_loop()

    # Appends of this process.

    @property
    def is_appending(self) -> bool:
        """Is an append of this process in flight?"""
        return self._appends > 0

    def start_append(self) -> None:
        """Count an append that was sent to the store."""
        self._appends += 1

    def end_append(self, *, is_new: bool) -> None:
        """Count off an append. Unless the store has stored its frames just now, every tail reads the log."""
        self._appends -= 1
        if not is_new:
            self.lose_position()

    # News from the store.

    def compare(self, known: Cursor, newest: Cursor) -> None:
        """Compare the position at the moment of a question with the log's, as the store answers it.

        If they differ although no announcement came meanwhile, one was lost.
        """
        if known is self.position and known != newest:
            metrics.PUBSUB_GAPS.labels("comparison").inc()
            logger.info("session %s: announcement lost", self.session_id)
            self.lose_position()

    def feed(self, epoch: str, after: int, frames: list[Frame]) -> None:
        """Take in new frames that the store has confirmed; they follow the offset ``after``."""
        if epoch != self._epoch.known:
            self._epoch.confirm(epoch)
        self._take_in(epoch, after, frames)

    def hear(self, epoch: str, after: int, frames: list[Frame]) -> None:
        """Take in announced frames that follow ``after``; tails receive them if the log has that epoch."""
        if self._may_be_ours(epoch):
            self._take_in(epoch, after, frames)

    def hear_epoch(self, epoch: str) -> None:
        """React to a log that was started under this epoch; unless it is the known one, every tail reads the log."""
        if epoch != self._epoch.known and self._may_be_ours(epoch):
            self._unsettle()

    def hear_deleted(self, epoch: str) -> None:
        """React to the erasure of this epoch's log: its tails end. Later ones read the session's next log."""
        if self._may_be_ours(epoch):
            self._erasures += 1
            self._erased_epoch = epoch
            self._unsettle()
            self._wake_cancel_waiters(epoch)

    def hear_cancelled(self, epoch: str, turn_id: str) -> None:
        """React to a turn's cancel: wake the task that waits for it."""
        if self._may_be_ours(epoch):
            self._wake_cancel_waiters(epoch, turn_id)

    def _may_be_ours(self, epoch: str) -> bool:
        """Judge an announcement by its epoch. Where another epoch is known, every tail asks the log."""
        known = self._epoch.known
        if epoch == known:
            return True
        if self._epoch.is_former(epoch):
            return False  # it comes late: the store has named the next epoch already
        if self._epoch.is_foreign(epoch):
            self._report_foreign()
            return False
        if known is not None:
            self._unsettle()
        self._epoch.doubt(epoch)
        return True

    def _report_foreign(self) -> None:
        self._foreign.report(f"session {self.session_id}", "epoch")

    def _take_in(self, epoch: str, after: int, frames: list[Frame]) -> None:
        """Add numbered frames to the known ones; frames that are known already are skipped."""
        end = after + len(frames)
        position = self.position
        if position is not None and position.epoch == epoch:
            if end <= position.offset:
                metrics.PUBSUB_DUPLICATES.inc()
                return
            if after <= position.offset:
                news = frames[position.offset - after :] if after < position.offset else frames
                self._extend(epoch, news)
                if epoch == self._epoch.known:
                    self._waiters.push(news)  # a tail that waits, waits in the known epoch: see `tail`
                else:
                    self._waiters.notify()
                return
            metrics.PUBSUB_GAPS.labels("offset").inc()
        self._forget_window()  # a hole: the tails read what is missing, and continue here
        self._extend(epoch, frames)
        self._waiters.notify()

    def lose_position(self) -> None:
        """Forget position and epoch: every tail reads the log."""
        self._epoch.forget()
        self._unsettle()

    def _unsettle(self) -> None:
        self._epoch.lose()
        self.position = None
        self._forget_window()
        self._pages.forget()
        self._wake()

    def fail(self, failure: RelayError | None) -> None:
        """End every tail with an error, later ones too; ``None``: let tails continue."""
        if failure is not None or self._failure is not None:
            self._failure = failure
            self._wake()

    def end(self, reason: RelayError) -> None:
        """End the present tails with an error; later ones are not concerned."""
        self._ending = reason
        self._endings += 1
        self._wake()

    def recheck_cancels(self) -> None:
        """Wake every task that waits for a turn's cancel, because an announcement may have been missed."""
        self._wake_cancel_waiters()

    def _wake_cancel_waiters(self, epoch: str | None = None, turn_id: str | None = None) -> None:
        for waiter, (epoch_of_turn, awaited) in self._cancel_waiters.items():
            if epoch in (None, epoch_of_turn) and turn_id in (None, awaited) and not waiter.done():
                waiter.set_result(None)

    # Tails, and tasks that wait for a cancel.

    @contextmanager
    def cancel_waiter(self, epoch: str, turn_id: str) -> Iterator[asyncio.Future[None]]:
        """Yield a future that is done when the turn may have been cancelled, from here on."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._cancel_waiters[waiter] = (epoch, turn_id)
        try:
            yield waiter
        finally:
            del self._cancel_waiters[waiter]

    async def tail(
        self, after: Cursor, read: Read, sink: FrameSink | None = None, subject: str | None = None
    ) -> AsyncGenerator[list[Frame], None]:
        """Yield the frames after a position, from the window or by ``read``, then each new one.

        A subject reads the log first, whatever the window holds: the store checks whether the session is its own. The
        owner does not change within an epoch, so later frames of it need no such check.
        """
        erasures, endings, has_started = self._erasures, self._endings, False
        while True:
            if self._failure is not None:
                raise self._failure
            if self._ending is not None and self._endings != endings:
                raise self._ending
            if self._erasures != erasures and self._erased_epoch == after.epoch:
                raise SessionDeleted
            version = self._version
            batch = self._after(after) if has_started or subject is None else None
            if batch is None:
                batch = await self._read_followed(after, read, version, subject, has_started=has_started)
                if batch:
                    self._precede(after.epoch, batch)
                elif version == self._version:
                    self._settle(after)
            has_started = True
            if batch:
                after = Cursor(after.epoch, batch[-1].offset)
                yield batch
            elif version == self._version:
                after = Cursor(after.epoch, await self._waiters.wait(after.offset, sink, self._loop))

    async def _read_followed(
        self, after: Cursor, read: Read, version: int, subject: str | None, *, has_started: bool
    ) -> list[Frame]:
        """Read the log; a tail that has started learns of an erasure here, even before it is announced."""
        try:
            is_known = self._epoch.known == after.epoch and (has_started or subject is None)
            return await self._pages.page(after, partial(self._read, read), version, subject, is_known=is_known)
        except EpochDeleted as exc:
            if has_started:
                raise SessionDeleted from exc
            raise

    async def _read(self, read: Read, after: Cursor, limit: int) -> list[Frame]:
        """Read the log. It gives frames only to a cursor of its own epoch, so that epoch is confirmed."""
        question = self._epoch.question()
        frames = await read(after, limit)
        if self._epoch.answer(question, after.epoch):
            self._report_foreign()
        return frames

    def _after(self, cursor: Cursor) -> list[Frame] | None:
        """Return frames of the window; empty at its end, ``None`` where only the log knows."""
        position = self.position
        if position is None or position.epoch != cursor.epoch or cursor.epoch != self._epoch.known:
            return None
        start = len(self._window) - (position.offset - cursor.offset)
        if start < max(0, len(self._window) - self._max_frames) or start > len(self._window):
            return None  # also where the log itself would report a gap
        return self._window[start : start + PAGE_FRAMES]

    def _settle(self, newest: Cursor) -> None:
        """Set the position, from a read that gave no more frames."""
        if self.position is None or self.position.epoch != newest.epoch:
            self._forget_window()
            self.position = newest

    def _precede(self, epoch: str, frames: list[Frame]) -> None:
        """Put frames of the log before the window, where they adjoin it, so that the next tail need not read them."""
        position, length = self.position, len(self._window)
        if position is None or position.epoch != epoch or frames[-1].offset != position.offset - length:
            return
        if length + len(frames) <= self._max_frames:
            self._window[:0] = frames
            self._window_bytes += sum(frame.size for frame in frames)

    def _extend(self, epoch: str, frames: list[Frame]) -> None:
        self._window.extend(frames)
        self._window_bytes += sum(frame.size for frame in frames)
        if len(self._window) > 2 * self._max_frames or self._window_bytes > self._max_bytes:
            self._trim()
        self.position = Cursor(epoch, frames[-1].offset)
        self._version += 1

    def _forget_window(self) -> None:
        self._window, self._window_bytes = [], 0

    def _trim(self) -> None:
        """Keep the newest frames. It moves all of these, so it is called seldom."""
        del self._window[: -self._max_frames]
        self._window_bytes = sum(frame.size for frame in self._window)
        while self._window_bytes > self._max_bytes / 2 and self._window:
            self._window_bytes -= self._window.pop(0).size

    def _wake(self) -> None:
        self._version += 1
        self._waiters.notify()
