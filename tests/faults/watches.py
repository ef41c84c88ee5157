"""What a worker knows of the session, and when it knows all there is."""

from __future__ import annotations

import asyncio

from relay.layers.redis.feed import SessionFeed
from relay.layers.redis.layer import RedisSessionLayer
from tests.buffer.turns import LIMIT_SECONDS, S


def watch_of(layer: RedisSessionLayer) -> SessionFeed:
    """The session as a worker knows it; somebody watches it there, or did a moment ago."""
    watch = layer._store(S).watched(S)
    assert watch is not None
    return watch


def make_deaf(layer: RedisSessionLayer) -> None:
    """Lose every announcement from now on; the line itself stays."""
    layer._store(S)._subscriber._on_message = lambda channel, data: None


async def waits(layer: RedisSessionLayer) -> None:
    """Wait until the viewer has read all there is: from now on, only an announcement tells it of more."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not watch_of(layer)._waiters._subscribers:
            await asyncio.sleep(0)
