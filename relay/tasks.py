"""The asyncio idioms, once: a task with an owner, a race, an end that is waited for, pauses between attempts.

Nothing is cancelled without being awaited: a task that is merely cancelled still runs, and its error is seen nowhere.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
        """Start the work. The owner sees to it that it runs once at a time."""
        self._task = asyncio.get_running_loop().create_task(work, name=name)

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
    """

    __slots__ = ("_first_seconds", "_longest_seconds", "_next_seconds")

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        self._first_seconds = self._next_seconds = first_seconds
        self._longest_seconds = longest_seconds

    def reset(self) -> None:
        """Start again with the first pause: an attempt has succeeded."""
        self._next_seconds = self._first_seconds

    async def pause(self) -> None:
        """Sleep between half of the next pause and all of it."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, self._longest_seconds)
        await asyncio.sleep(seconds * random.uniform(0.5, 1))  # noqa: S311 - no secret


async def cancel_and_wait(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until each has ended. Their errors are dropped: the caller has no more use for them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
