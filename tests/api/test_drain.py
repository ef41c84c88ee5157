"""A drain ends, whatever a part of it does."""

from __future__ import annotations

import asyncio

import pytest

from relay import tasks
from relay.process import drain, lifecycle
from tests.clients import LIMIT_SECONDS

END_SECONDS = 1_000.0


class Heedless:
    """A connection whose end neither comes nor can be cancelled."""

    session_id = "s"

    def __init__(self) -> None:
        self.is_asked, self.is_cancelled = asyncio.Event(), asyncio.Event()
        self.release = asyncio.Event()
        self.has_ended = asyncio.Event()

    def has_seen(self, offset: int) -> bool:
        return True

    async def disconnect(self, reason: Exception | None = None) -> None:
        self.is_asked.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.is_cancelled.set()
        self.has_ended.set()


@pytest.fixture
async def heedless(application):
    """Such a connection, in the gateway; at the end of the test it ends after all."""
    connection = Heedless()
    (await lifecycle.current()).connections.add(connection)
    yield connection
    connection.release.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        await connection.has_ended.wait()


async def test_a_drain_that_does_not_end_is_given_up_and_its_place_is_logged(
    configure, heedless, monkeypatch, clock, caplog
):
    configure(DRAIN_SECONDS="0")
    monkeypatch.setattr(drain, "LEAVE_SECONDS", 0.01)
    monkeypatch.setattr(lifecycle, "DRAIN_END_SECONDS", END_SECONDS)
    monkeypatch.setattr(tasks, "CANCEL_SECONDS", 0.01)
    draining = asyncio.create_task(lifecycle.drain())
    for moment in (heedless.is_asked, heedless.is_cancelled):
        async with asyncio.timeout(LIMIT_SECONDS):
            await moment.wait()
    clock.advance(END_SECONDS)  # not before the drain waits for the end of what it has cancelled
    async with asyncio.timeout(LIMIT_SECONDS):
        await draining
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said.startswith("drain given up: not ended within 1000 s, at Gateway.drain:")
    assert "cancel_and_wait" in said
