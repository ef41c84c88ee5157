"""No connection ends the watchdog."""

from __future__ import annotations

import asyncio

import pytest

from relay.server import limits
from relay.server.watchdog import Watchdog


class Poisoned:
    """A connection that can be neither looked at nor let go of."""

    def check_timeouts(self) -> None:
        raise RuntimeError("as the test wants it")

    def abort(self) -> None:
        raise RuntimeError("as the test wants it")


class Sound:
    """A connection that counts how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0
        self.is_seen_twice = asyncio.Event()

    def check_timeouts(self) -> None:
        self.looks += 1
        if self.looks == 2:
            self.is_seen_twice.set()


async def test_connection_that_raises_whatever_is_done_with_it_does_not_end_the_watchdog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.0)
    sound = Sound()
    watching = asyncio.create_task(Watchdog({Poisoned(): {}, sound: {}}).watch())
    async with asyncio.timeout(60):
        await sound.is_seen_twice.wait()
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
