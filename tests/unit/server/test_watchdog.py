"""The watchdog looks at each connection, but not at one that rests; and no connection ends it."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from relay.server import limits
from relay.server.watchdog import Watchdog

LONG_SECONDS = 1_000.0


@pytest.fixture(autouse=True)
def _looks_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.001)


class Connection:
    """A connection that counts how often it was looked at, and rests as the test wants it."""

    rests_until: float | None = None

    def __init__(self, rest: Callable[[], float | None] = lambda: None) -> None:
        self.looks = 0
        self._rest = rest

    def check_timeouts(self) -> float | None:
        self.looks += 1
        return self._rest()

    async def until_looked_at(self, more: int) -> None:
        wanted = self.looks + more
        async with asyncio.timeout(60):
            while self.looks < wanted:
                await asyncio.sleep(0)


class Poisoned(Connection):
    """A connection that can be neither looked at nor let go of."""

    def check_timeouts(self) -> float | None:
        raise RuntimeError("as the test wants it")

    def abort(self) -> None:
        raise RuntimeError("as the test wants it")


@asynccontextmanager
async def watching(*protocols: Connection) -> AsyncIterator[tuple[Watchdog, dict[Any, dict[str, Any]]]]:
    connections: dict[Any, dict[str, Any]] = {protocol: {} for protocol in protocols}
    watchdog = Watchdog(connections)
    for protocol in protocols:
        watchdog.wake(protocol)
    del protocols, protocol  # a test may want to be the last that holds one
    task = asyncio.create_task(watchdog.watch())
    try:
        yield watchdog, connections
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_connection_that_raises_whatever_is_done_with_it_does_not_end_the_watchdog() -> None:
    sound = Connection()
    async with watching(Poisoned(), sound):
        await sound.until_looked_at(2)


async def test_connection_that_rests_is_not_looked_at_until_it_wakes() -> None:
    resting, other = Connection(lambda: time.monotonic() + LONG_SECONDS), Connection()
    async with watching(resting, other) as (watchdog, _):
        await other.until_looked_at(3)
        assert resting.looks == 1
        watchdog.wake(resting)
        await other.until_looked_at(3)
        assert resting.looks == 2  # and it rests again


async def test_rest_ends_at_its_moment() -> None:
    moments: list[float] = []

    def rest() -> float:
        moments.append(time.monotonic())
        return moments[-1] + 3 * limits.WATCH_SECONDS

    resting = Connection(rest)
    async with watching(resting):
        await resting.until_looked_at(3)
    assert all(later - earlier >= 3 * limits.WATCH_SECONDS for earlier, later in pairwise(moments))


async def test_connection_that_has_ended_is_not_held() -> None:
    resting, other = Connection(lambda: time.monotonic() + LONG_SECONDS), Connection()
    async with watching(resting, other) as (watchdog, connections):
        await other.until_looked_at(3)
        del connections[resting]
        watchdog.forget(resting)
        held = weakref.ref(resting)
        del resting
        gc.collect()
        assert held() is None
