"""The backends under test: one factory each. What only a backend can do (move time, lose data) is done here."""

from __future__ import annotations

from typing import Any

from relay.layers.base import Limits, SessionLayer
from relay.layers.bounds import Bounds
from relay.layers.memory.layer import MemorySessionLayer
from tests.buffer.clock import Clock
from tests.buffer.redis_store import RedisStore


class MemoryStore:
    """The store of one process. Every worker and viewer of a test shares its one layer."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._layer: MemorySessionLayer | None = None

    async def layer(self, bounds: Bounds, **channels: Any) -> SessionLayer:
        """Open an empty layer."""
        self._layer = MemorySessionLayer(bounds, clock=self.clock, **channels)
        await self._layer.start()
        return self._layer

    async def peer(self) -> SessionLayer:
        """Give the layer as another process sees it: the same store."""
        assert self._layer is not None
        return self._layer

    async def limits(self) -> Limits:
        return (await self.layer(Bounds())).limits

    async def advance(self, seconds: float) -> None:
        """Let time pass for the store and for every layer on it."""
        self.clock.now += seconds

    async def deafen(self) -> None:
        """Nothing: in one process nothing is announced."""

    async def compare(self) -> None:
        """Nothing, for the same reason."""

    async def forget(self, session_id: str) -> None:
        """Lose a session, as a store without persistence does when it restarts."""
        assert self._layer is not None
        session = self._layer._index.get(session_id)
        assert session is not None
        self._layer._index.forget(session)

    async def close(self) -> None:
        if self._layer is not None:
            await self._layer.flush()
            await self._layer.close()


STORES = {"memory": MemoryStore, "redis": RedisStore}
