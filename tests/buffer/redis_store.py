"""The Redis backend under test, on a real server: GATEWAY__REDIS_URL if it is set, else Valkey from the wheel."""

from __future__ import annotations

import atexit
import functools
import os
from typing import Any

from redis.asyncio import Redis

from relay.layers.base import Limits, SessionLayer
from relay.layers.bounds import Bounds
from relay.layers.redis.keys import namespace
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import new_id
from tests.buffer.clock import Clock
from tests.buffer.turns import S
from tests.faults.valkey import Valkey

# Cases of the one-process layer alone: Redis keeps no count of sessions,
# and its calls' cost is commands, not Python's steps.
MEMORY_ONLY_MODULES = ("test_cost",)
MEMORY_ONLY_CASES = (
    "test_room_is_made_for_one_session_more",
    "test_sessions_with_work_are_not_forgotten_for_others",
    "test_watched_sessions_do_not_make_room",
    "test_a_session_makes_room",
    "test_a_store_full_of_work",
    "test_attach_is_refused_where_there_is_no_room",
)


@functools.cache
def server_url() -> str:
    """Start the server, once for the whole run."""
    url = os.environ.get("GATEWAY__REDIS_URL")
    if url:
        return url.split(",")[0]
    server = Valkey().start()
    atexit.register(server.__exit__)
    return server.url


class RedisStore:
    """Sessions under a prefix of their own; workers and viewers each have a layer."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._layers: list[RedisSessionLayer] = []
        self._prefix = ""

    async def layer(self, bounds: Bounds, **channels: Any) -> SessionLayer:
        """Open an empty layer."""
        self._prefix = f"test-{new_id()}"
        return await self._open(bounds, **channels)

    async def peer(self) -> SessionLayer:
        """Open the layer as another process does: the same store."""
        return await self._open(self._layers[-1].bounds)

    async def limits(self) -> Limits:
        return (await self.layer(Bounds())).limits

    async def _open(self, bounds: Bounds, **channels: Any) -> RedisSessionLayer:
        layer = RedisSessionLayer([server_url()], bounds, prefix=self._prefix, clock=self.clock, **channels)
        self._layers.append(layer)
        await layer.start()
        return layer

    async def advance(self, seconds: float) -> None:
        """Let time pass for the store and for every layer on it."""
        self.clock.now += seconds

    async def deafen(self) -> None:
        """Lose what is announced to the newest layer from now on, without a trace."""
        subscriber = self._layers[-1]._store(S)._subscriber
        subscriber._on_message = lambda channel, data: None

    async def compare(self) -> None:
        """Let the newest layer hear again, and compare with the store as it does now and then."""
        store = self._layers[-1]._store(S)
        store._subscriber._on_message = store._on_message
        await store.compare()

    async def forget(self, session_id: str) -> None:
        """Lose a session, as a store without persistence does when it restarts."""
        names = namespace(self._prefix, server_url())
        keys = [f"{names}:{part}:{session_id}" for part in "slxtqnov"]
        async with Redis.from_url(server_url()) as redis:
            assert await redis.delete(*keys)

    async def close(self) -> None:
        if self._layers:
            await self._layers[-1].flush()
        for layer in self._layers:
            await layer.close()
