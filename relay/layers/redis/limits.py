"""``Limits`` in Redis, shared by all processes."""

from __future__ import annotations

from relay.layers.limits import Limits
from relay.layers.redis.keys import ScriptKeys
from relay.layers.redis.stores import Stores
from relay.layers.redis.wire import Reply
from relay.layers.values import Rate, new_id


class RedisLimits(Limits):
    """Limits kept in the session layer's store."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def take(self, key: str, rate: Rate, session_id: str = "") -> float:
        keys = (("b", key), ("m", new_id()))
        return float(await self._call("take", session_id or key, keys, repr(rate.count), repr(rate.seconds)))

    async def use_once(self, key: str, ttl_seconds: float, purpose: str = "") -> bool:
        keys = (("u", key),)
        return bool(await self._call("use_once", key, keys, repr(ttl_seconds), new_id(), purpose))

    async def used_for(self, key: str) -> str | None:
        purpose = await self._call("used_for", key, (("u", key),))
        return purpose.decode() if isinstance(purpose, bytes) else None

    async def _call(self, name: str, place: str, kinds: tuple[tuple[str, str], ...], *arguments: str) -> Reply:
        """Call a script in the bucket of a place; the names of its keys are given by their parts."""
        store = self._stores.current()
        bucket = store.keys.bucket(place)
        keys = ScriptKeys(bucket.number, tuple(bucket.name(*kind) for kind in kinds))
        return await store.call(name, keys, self._stores.now(), *arguments)
