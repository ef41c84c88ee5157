"""A drain ends, whatever a part of it does."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from relay import tasks
from relay.process import drain, lifecycle
from tests.clients import LIMIT_SECONDS


class Heedless:
    """A connection whose end neither comes nor can be cancelled."""

    session_id = "s"

    def __init__(self) -> None:
        self.is_asked = False
        self.release = asyncio.Event()
        self.has_ended = asyncio.Event()

    def has_seen(self, offset: int) -> bool:
        return True

    async def disconnect(self, reason: Exception | None = None) -> None:
        self.is_asked = True
        while not self.release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.release.wait()
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


async def test_a_drain_that_does_not_end_is_given_up_and_its_place_is_logged(configure, heedless, monkeypatch, caplog):
    configure(DRAIN_SECONDS="0")
    monkeypatch.setattr(drain, "LEAVE_SECONDS", 0.01)
    monkeypatch.setattr(lifecycle, "DRAIN_END_SECONDS", 0.5)
    monkeypatch.setattr(tasks, "CANCEL_SECONDS", 0.01)
    async with asyncio.timeout(LIMIT_SECONDS):
        await lifecycle.drain()
    assert heedless.is_asked
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said.startswith("drain given up: not ended within 0.5 s, at Gateway.drain:")
    assert "cancel_and_wait" in said
