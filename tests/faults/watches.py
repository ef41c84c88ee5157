"""What a worker knows of the session, and when it knows all there is."""

from __future__ import annotations

import asyncio

from relay.layers.redis.feed import SessionFeed
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.redis.subscriber import Subscriber
from relay.testing.turns import LIMIT_SECONDS, S


def watch_of(layer: RedisSessionLayer) -> SessionFeed:
    """The session as a worker knows it; somebody watches it there, or did a moment ago."""
    watch = layer._store.watched(S)
    assert watch is not None
    return watch


def make_deaf(layer: RedisSessionLayer, session_id: str = S) -> None:
    """Lose every announcement of the session's node from now on; the line itself stays."""
    subscriber_of(layer, session_id)._on_message = lambda channel, data: None


def subscriber_of(layer: RedisSessionLayer, session_id: str = S) -> Subscriber:
    """The line on which the session's announcements arrive."""
    store = layer._store
    return store._nodes.of(store.keys.bucket(session_id).number).subscriber


async def waits(layer: RedisSessionLayer) -> None:
    """Wait until the viewer has read all there is: from now on, only an announcement tells it of more."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not watch_of(layer)._waiters._subscribers:
            await asyncio.sleep(0)
