"""``Limits`` in Redis, shared by all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.layers.base import Limits
from relay.layers.values import Rate, new_id

if TYPE_CHECKING:
    from relay.layers.redis.layer import RedisSessionLayer


class RedisLimits(Limits):
    """Limits kept in the session layer's stores, over its connections."""

    def __init__(self, layer: RedisSessionLayer) -> None:
        self._layer = layer

    async def take(self, key: str, rate: Rate) -> float:
        keys = (f"b:{key}", f"m:{new_id()}")
        return float(await self._layer.call("take", key, keys, repr(rate.count), repr(rate.seconds)))

    async def use_once(self, key: str, ttl_seconds: float, purpose: str = "") -> bool:
        keys = (f"u:{key}",)
        return bool(await self._layer.call("use_once", key, keys, repr(ttl_seconds), new_id(), purpose))

    async def used_for(self, key: str) -> str | None:
        purpose = await self._layer.call("used_for", key, (f"u:{key}",))
        return purpose.decode() if isinstance(purpose, bytes) else None
