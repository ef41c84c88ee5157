"""A queue and an event that hold little memory while they are empty; asyncio's hold four deques and three dicts."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from relay.tasks import running_loop

T = TypeVar("T")


class _Waited:
    """The tasks that wait; all of them are woken, and each looks again."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    async def _wait_until_woken(self) -> None:
        waiter = running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _wake_all(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class LightEvent(_Waited):
    """An event with the methods of ``asyncio.Event``."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        super().__init__()
        self._is_set = False

    def is_set(self) -> bool:
        """Is it set?"""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake the tasks that wait."""
        self._is_set = True
        self._wake_all()

    def clear(self) -> None:
        """Let tasks wait again."""
        self._is_set = False

    async def wait(self) -> bool:
        """Wait until it is set."""
        if not self._is_set:
            await self._wait_until_woken()
        return True


class LightQueue(_Waited, Generic[T]):
    """A queue without a limit, with those methods of ``asyncio.Queue`` that servers use."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        super().__init__()
        self._items: deque[T] | None = None  # only while there are items

    def empty(self) -> bool:
        """Is there no item?"""
        return self._items is None

    def qsize(self) -> int:
        """Return the number of items."""
        return len(self._items or ())

    def put_nowait(self, item: T) -> None:
        """Add an item."""
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        self._wake_all()

    async def get(self) -> T:
        """Remove and return the oldest item; wait for one if there is none."""
        while self._items is None:
            await self._wait_until_woken()
        return self.get_nowait()

    def get_nowait(self) -> T:
        """Remove and return the oldest item.

        Raises:
            asyncio.QueueEmpty: there is none.
        """
        if self._items is None:
            raise asyncio.QueueEmpty
        item = self._items.popleft()
        if not self._items:
            self._items = None
        return item
