"""``Limits`` in Redis, shared by all processes."""

from __future__ import annotations

from relay.layers.base import Limits
from relay.layers.redis.stores import Stores
from relay.layers.redis.wire import Reply
from relay.layers.values import Rate, new_id


class RedisLimits(Limits):
    """Limits kept in the session layer's stores."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def take(self, key: str, rate: Rate) -> float:
        keys = (("b", key), ("m", new_id()))
        return float(await self._call("take", key, keys, repr(rate.count), repr(rate.seconds)))

    async def use_once(self, key: str, ttl_seconds: float, purpose: str = "") -> bool:
        keys = (("u", key),)
        return bool(await self._call("use_once", key, keys, repr(ttl_seconds), new_id(), purpose))

    async def used_for(self, key: str) -> str | None:
        purpose = await self._call("used_for", key, (("u", key),))
        return purpose.decode() if isinstance(purpose, bytes) else None

    async def _call(self, name: str, key: str, kinds: tuple[tuple[str, str], ...], *arguments: str) -> Reply:
        """Call a script in the store that a limit belongs to; the names of its keys are given by their parts."""
        store = self._stores.of(key)
        return await store.call(name, tuple(store.keys.name(*kind) for kind in kinds), self._stores.now(), *arguments)
