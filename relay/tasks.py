"""The asyncio idioms, once: a task with an owner, a race, an end that is waited for, pauses between attempts.

Nothing is cancelled without being awaited: a task that is merely cancelled still runs, and its error is seen nowhere.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, Final, TypeVar

T = TypeVar("T")

CANCEL_SECONDS: Final = 1.0  # for work whose time is up, to end
LATE_SECONDS: Final = 0.05  # after its limit; a wait that is ended later is one of a process that stood still
GRACE_SECONDS: Final = 0.2  # for such a process, to read the reply that came meanwhile, or to send what is waiting


class BackgroundTask:
    """One task that runs beside its owner, and ends with it. ``Any``: the work's result is ignored."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None

    @property
    def is_running(self) -> bool:
        """Was it started, and has it not ended?"""
        return self._task is not None and not self._task.done()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Start the work. The owner sees to it that it runs once at a time.

        Its context is its own: its log lines carry no name of the request in which it happens to start.
        """
        self._task = asyncio.get_running_loop().create_task(work, name=name, context=Context())

    async def stop(self) -> None:
        """End the work, if it was started, and wait for its end."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait(task)


class Backoff:
    """Pauses between attempts, each twice as long as the one before, spread so that processes do not move in step.

    Args:
        first_seconds: the first pause, at most.
        longest_seconds: no pause is longer.
        least: the part of a pause that is always slept; the rest is random.
    """

    __slots__ = ("_first_seconds", "_least", "_longest_seconds", "_next_seconds")

    def __init__(self, first_seconds: float, longest_seconds: float, least: float = 0.5) -> None:
        self._least = least
        self._first_seconds = self._next_seconds = first_seconds
        self._longest_seconds = longest_seconds

    def reset(self) -> None:
        """Start again with the first pause: an attempt has succeeded."""
        self._next_seconds = self._first_seconds

    async def pause(self) -> None:
        """Sleep between the least part of the next pause and all of it."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, self._longest_seconds)
        await asyncio.sleep(seconds * random.uniform(self._least, 1))  # noqa: S311 - no secret


async def cancel_and_wait(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until each has ended. Their errors are dropped: the caller has no more use for them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class FairTimeout:
    """Limits a wait as ``asyncio.timeout`` does, but gives a moment more to a process that stood still.

    Its time is over then before it has read a reply that came long ago, and it gets ``GRACE_SECONDS`` to do so.

    Args:
        seconds: ``None``: no limit.

    Raises:
        TimeoutError: the time is over.
    """

    __slots__ = ("_limit", "_seconds", "_timer")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        if self._seconds is not None:
            loop = running_loop()
            ends_at = loop.time() + self._seconds
            self._timer = loop.call_at(ends_at, self._end, ends_at)

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, failure, traceback)

    def _end(self, ends_at: float) -> None:
        self._limit.reschedule(end_of_time(ends_at))


def end_of_time(ends_at: float) -> float:
    """Return when to give up something whose time is over at ``ends_at``: now, or later if the process stood still."""
    now = running_loop().time()
    return now if now - ends_at < LATE_SECONDS else now + GRACE_SECONDS


class Unfinished(Exception):
    """Work was cancelled before its end. The text says where it waited."""


async def within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Run work that must not hold up its caller; ``asyncio.timeout`` waits for work that ignores its cancellation.

    Raises:
        Unfinished: the time is up, or another task has cancelled the work. It is left behind if it still does not end.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds)
    except asyncio.CancelledError:
        await cancel_and_wait(task)
        raise
    if not task.done():
        place = _place(task)
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_SECONDS)
        raise Unfinished(f"not ended within {seconds:g} s, at {place}")
    if task.cancelled():
        raise Unfinished("cancelled")
    task.result()


def _place(task: asyncio.Task[Any]) -> str:
    """Name the functions in which a task waits, each with its line, the innermost last."""
    places = []
    waiting: Any = task.get_coro()  # then what each coroutine awaits: another one, or something without a frame
    while (frame := getattr(waiting, "cr_frame", None)) is not None:
        places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        waiting = waiting.cr_await
    return " > ".join(places)


async def first_completed(*contenders: Coroutine[Any, Any, T]) -> T:
    """Run coroutines until the first has ended, end the others, and return its result or raise its error.

    Of several that end at once the one named first wins.
    """
    tasks = [asyncio.ensure_future(contender) for contender in contenders]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
    finally:
        await cancel_and_wait(*tasks)
    try:
        return winner.result()
    finally:
        del tasks, winner  # the error's traceback has this frame: it would hold the error, and all that the error holds


class WatchedBlock:
    """Runs a block of the current task, which a watcher may end with an error (``async with``).

    The watcher starts only when the block has lasted for a while, so a short one costs a timer and no task. When the
    watcher raises, the block is cancelled where it waits, and the watcher's error is raised in its place. The watcher
    ends with the block.

    Args:
        watch: makes the watcher.
        after_seconds: how long the block runs without it.
    """

    __slots__ = ("_after_seconds", "_cancelling", "_is_interrupted", "_task", "_timer", "_watch", "_watcher")

    def __init__(self, watch: Callable[[], Coroutine[Any, Any, None]], after_seconds: float) -> None:
        self._watch = watch
        self._after_seconds = after_seconds
        self._watcher: asyncio.Task[None] | None = None
        self._is_interrupted = False
        self._task: asyncio.Task[Any]
        self._timer: asyncio.TimerHandle

    async def __aenter__(self) -> None:
        loop = running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._task, self._cancelling = task, task.cancelling()
        self._timer = loop.call_later(self._after_seconds, self._start)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        await cancel_and_wait(watcher)
        if not self._is_interrupted:
            return
        is_cancelled_too = self._task.uncancel() > self._cancelling
        if error is None or is_cancelled_too:
            return
        try:
            watcher.result()
        finally:
            del watcher, error  # as in ``first_completed``

    def _start(self) -> None:
        self._watcher = running_loop().create_task(self._watch())
        self._watcher.add_done_callback(self._interrupt)

    def _interrupt(self, watcher: asyncio.Task[None]) -> None:
        if watcher is self._watcher and not watcher.cancelled() and watcher.exception() is not None:
            self._is_interrupted = True
            self._task.cancel()


class _Known(threading.local):
    loop: asyncio.AbstractEventLoop | None = None


_known = _Known()


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop; a thread that runs one runs no other.

    On Python 3.11 ``asyncio.get_running_loop`` makes a system call (``getpid``, 2 to 6 µs).

    Raises:
        RuntimeError: none is running in this thread.
    """
    loop = _known.loop
    if loop is None or not loop.is_running():
        loop = _known.loop = asyncio.get_running_loop()
    return loop
