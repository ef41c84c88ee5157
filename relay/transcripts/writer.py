"""Writes ended turns to the database, in a thread of its own: no turn waits, however slow the database is.

The runner hands over one value at a turn's end and continues. The queue is bounded. Turns that end within a moment are
written in one transaction, and a slow database gets larger batches. A batch that fails several times is given up,
counted and logged, with one line for a series of failures. The thread is a daemon, so it does not keep the process from
ending while a database does not answer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from types import NoneType
from typing import Any, Final, NamedTuple, TypeVar

from django.db import DatabaseError, connection

from relay.conf import conf
from relay.database import failures
from relay.exceptions import StoreUnavailable
from relay.observability import metrics
from relay.tasks import FairTimeout
from relay.transcripts import rows
from relay.transcripts.kept_turn import Bounds, KeptTurn, Part, Reader
from relay.transcripts.rows import EndedTurn

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_WAITING_TURNS: Final = 10_000  # a hundred a second for more than a minute and a half
MAX_WAITING_CHARACTERS: Final = 64_000_000  # of their answers and events together
MAX_BATCH: Final = 200  # turns in one transaction
GATHER_SECONDS: Final = 0.1  # a turn waits so long for others; most of its cost is the transaction's
RETRY_SECONDS: Final = (0.2, 1.0, 3.0)  # before each further attempt to write a batch
READ_SECONDS: Final = 1.0  # for a session's last turns, while a turn waits for them
FLUSH_SECONDS: Final = 3.0  # at the end of a drain
LAST_SECONDS: Final = 1.0  # at the end of the process, for turns that ended since


class _Job(NamedTuple):
    """Another job for the thread, in the order of the queue. ``Any``: its result is the caller's."""

    do: Callable[[], Any]
    done: Future[Any]


_Queued = EndedTurn | _Job | None  # None: the end


class Transcripts:
    """Writes one event loop's ended turns. Without ``TRANSCRIPTS`` it never uses the database."""

    def __init__(self) -> None:
        self._jobs: deque[_Queued] = deque()
        self._turns = 0  # queued, or being written
        self._characters = 0  # of their answers and events
        self._awaited = 0  # other jobs that are queued: a caller waits for them
        self._changed = threading.Condition()  # guards the four above
        self._thread: threading.Thread | None = None
        self._is_full = False
        self._is_failing = False
        self._last_reading: Future[Any] = Future()  # that was late
        self._last_reading.set_result(None)

    @property
    def is_on(self) -> bool:
        """Are transcripts kept?"""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread, if transcripts are kept."""
        if conf.transcripts and not self.is_on:
            self._thread = threading.Thread(target=self._work, name="transcripts", daemon=True)
            self._thread.start()

    def keep(self, turn: EndedTurn) -> None:
        """Queue an ended turn. Never waits, never raises; a turn without room is dropped and counted."""
        if not self.is_on:
            return
        size = turn.size
        with self._changed:
            is_full = self._turns >= MAX_WAITING_TURNS or self._characters + size > MAX_WAITING_CHARACTERS
            if not is_full:
                self._turns += 1
                self._characters += size
                self._jobs.append(turn)
                if len(self._jobs) == 1:  # otherwise the thread knows, and gathers more
                    self._changed.notify()
        if is_full:
            metrics.TRANSCRIPTS_DROPPED.labels("full").inc()
            if not self._is_full:
                logger.error("transcripts lost: the database is too slow, its queue is full")
        self._is_full = is_full

    async def erase(self, session_id: str) -> int:
        """Erase a session's transcripts, queued ones too. Returns how many there were.

        Raises:
            StoreUnavailable: the database did not answer; the caller may try again.
        """
        try:
            return await self._ask(partial(rows.erase, session_id, datetime.now(UTC)), 0)
        except DatabaseError as exc:
            logger.error("session %s: transcripts not erased: %s", session_id, type(exc).__name__)
            raise StoreUnavailable from exc

    async def ask(self, do: Callable[[], T], otherwise: T) -> T:
        """Read or change conversations, after the turns that are queued; gives ``otherwise`` without transcripts.

        Raises:
            StoreUnavailable: the database refused; the caller may try again.
        """
        try:
            return await self._ask(do, otherwise)
        except DatabaseError as exc:
            logger.error("conversations not read or changed: %s", type(exc).__name__)
            raise StoreUnavailable from exc

    async def newest(self, session_id: str, owner: str | None, limit: int) -> list[KeptTurn]:
        """Read a session's last turns, oldest first, queued ones too. None if the database fails, or is slow."""
        return await self._read(partial(rows.newest, session_id, owner, limit)) or []

    async def page(self, session_id: str, reader: Reader, before: str, bounds: Bounds) -> Part | None:
        """Read a session's turns before a cursor, newest first, queued ones too; see ``rows.page``.

        Returns:
            ``None`` if the database fails, or is slow.
        """
        return (
            await self._read(partial(rows.page, session_id, reader, before, bounds)) if self.is_on else Part([], True)
        )

    async def has(self, session_id: str, place: str) -> bool:
        """Is the turn at a place written? A database that fails, or is slow, has not got it."""
        return bool(await self._read(partial(rows.has, session_id, place)))

    async def _read(self, do: Callable[[], T]) -> T | None:
        """Read from the database for a limited time; ``None`` if it fails, is slow, or is not used.

        While one reading is late, no other waits for it: a database that stands still delays one turn, not all.
        """
        if not self.is_on or not self._last_reading.done():
            return None
        reading = self._submit(partial(_attempt, do))
        try:
            async with FairTimeout(READ_SECONDS):
                return await asyncio.shield(asyncio.wrap_future(reading))
        except TimeoutError:
            self._last_reading = reading
            logger.info("history without transcripts: %s", "the database is slow")
            return None

    async def flush(self, seconds: float) -> None:
        """Wait until all queued turns are written or given up, up to a limit."""
        try:
            async with asyncio.timeout(seconds):
                await self._ask(lambda: None, None)
        except TimeoutError:
            logger.error("transcripts not written in time: %d", self._turns)

    async def stop(self) -> None:
        """Write queued turns for a moment, and end the thread."""
        await self.flush(LAST_SECONDS)
        self._put(None)
        self._thread = None

    async def _ask(self, do: Callable[[], T], otherwise: T) -> T:
        """Queue a job for the thread, and await it; it is done even if the caller is cancelled."""
        if not self.is_on:
            return otherwise
        return await asyncio.shield(asyncio.wrap_future(self._submit(do)))

    def _submit(self, do: Callable[[], T]) -> Future[T]:
        job = _Job(do, Future())
        self._put(job)
        return job.done

    def _put(self, job: _Job | None) -> None:
        with self._changed:
            self._jobs.append(job)
            self._awaited += 1
            self._changed.notify()

    # The methods below run in the thread.

    def _work(self) -> None:
        try:
            _warn_at_start()
            while True:
                for kind, run in groupby(self._take(), key=type):
                    if kind is NoneType:
                        return
                    self._do(list(run))
        finally:
            connection.close()

    def _take(self) -> list[_Queued]:
        """Wait for jobs, and take all that are queued; turns for which no caller waits gather for a moment."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs)
            self._changed.wait_for(lambda: self._awaited, GATHER_SECONDS)
            jobs = list(self._jobs)
            self._jobs.clear()
            self._awaited = 0
        return jobs

    def _do(self, run: Sequence[_Queued]) -> None:
        """Do jobs of one kind."""
        for job in (job for job in run if isinstance(job, _Job)):
            _run(job)
        turns = [job for job in run if isinstance(job, EndedTurn)]
        for start in range(0, len(turns), MAX_BATCH):
            self._write(turns[start : start + MAX_BATCH])

    def _write(self, batch: list[EndedTurn]) -> None:
        """Write turns, with several attempts, and make room for others."""
        try:
            _write_patiently(batch)
        except Exception as exc:
            metrics.TRANSCRIPTS_DROPPED.labels("failed").inc(len(batch))
            if not self._is_failing:
                logger.error("transcripts lost: the database cannot be written to: %s", type(exc).__name__)
            self._is_failing = True
        else:
            metrics.TRANSCRIPTS_WRITTEN.inc(len(batch))
            if self._is_failing:
                logger.info("transcripts written again")
            self._is_failing = False
        with self._changed:
            self._turns -= len(batch)
            self._characters -= sum(turn.size for turn in batch)


def _write_patiently(batch: list[EndedTurn]) -> None:
    for pause_seconds in RETRY_SECONDS:
        try:
            return rows.write(batch)
        except DatabaseError:
            connection.close()  # the next attempt opens another
            if not rows.has_table():
                raise
        time.sleep(pause_seconds)
    return rows.write(batch)


def _attempt(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Exception as exc:  # a turn continues without its history
        connection.close()
        logger.info("history without transcripts: %s", type(exc).__name__)
        return None


def _run(job: _Job) -> None:
    try:
        job.done.set_result(job.do())
    except Exception as exc:
        connection.close()
        job.done.set_exception(exc)


def _warn_at_start() -> None:
    """Name what keeps turns from being written now: a database that cannot be used, or one without tables."""
    try:
        connection.ensure_connection()
    except DatabaseError as exc:
        connection.close()
        logger.warning("transcripts not kept for now: the database cannot be used: %s", failures.reason(exc))
        return
    if not rows.has_table():
        logger.warning(
            "transcripts not kept: the database has no tables. Run: python manage.py migrate "
            "(or set GATEWAY__TRANSCRIPTS=false)"
        )
