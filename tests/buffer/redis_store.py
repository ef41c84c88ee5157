"""The Redis backend under test, on a real server: GATEWAY__REDIS_URL if it is set, else Valkey from the wheel."""

from __future__ import annotations

import functools
import itertools
import os
from typing import Any

from redis.asyncio import Redis

from relay.layers.base import SessionLayer
from relay.layers.bounds import Bounds
from relay.layers.redis.buckets import TAGS, bucket_of, slot_of
from relay.layers.redis.keys import Bucket
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import new_id
from relay.testing import Store
from tests.faults.valkey import Valkey
from tests.faults.valkey_cluster import ValkeyCluster
from tests.faults.watches import make_deaf, subscriber_of
from tests.shared import SHARED


@functools.cache
def server_url() -> str:
    """Start the server, once for the whole run."""
    url = os.environ.get("GATEWAY__REDIS_URL")
    if url:
        return url
    return SHARED.enter_context(Valkey()).url


@functools.cache
def cluster() -> ValkeyCluster:
    """Start a cluster, once for the whole run."""
    return SHARED.enter_context(ValkeyCluster())


class RedisStore(Store):
    """Sessions under a prefix of their own; workers and viewers each have a layer."""

    @property
    def url(self) -> str:
        return server_url()

    def __init__(self) -> None:
        super().__init__()
        self._layers: list[RedisSessionLayer] = []
        self._prefix = ""

    async def layer(self, bounds: Bounds, **channels: Any) -> SessionLayer:
        """Open an empty layer."""
        self._prefix = f"test-{new_id()}"
        return await self._open(bounds, **channels)

    async def peer(self) -> SessionLayer:
        """Open the layer as another process does: the same store."""
        return await self._open(self._layers[-1].bounds)

    async def _open(self, bounds: Bounds, **channels: Any) -> RedisSessionLayer:
        layer = RedisSessionLayer(self.url, bounds, prefix=self._prefix, clock=self.clock, **channels)
        self._layers.append(layer)
        await layer.start()
        return layer

    def beside(self, session_id: str, count: int) -> list[str]:
        """Name sessions of the same bucket."""
        others = (f"{session_id}-{number}" for number in itertools.count())
        return list(itertools.islice((name for name in others if bucket_of(name) == bucket_of(session_id)), count))

    async def deafen(self) -> None:
        """Lose what is announced to the newest layer from now on, without a trace."""
        make_deaf(self._layers[-1])

    async def compare(self) -> None:
        """Let the newest layer hear again, and compare with the store as it does now and then."""
        store = self._layers[-1]._store
        subscriber_of(self._layers[-1])._on_message = store._on_message
        await store.compare()

    async def forget(self, session_id: str) -> None:
        """Lose a session, as a store without persistence does when it restarts."""
        bucket = self._layers[-1]._store.keys.bucket(session_id)
        async with Redis.from_url(self._server_of(bucket)) as redis:
            assert await redis.delete(*(bucket.name(kind, session_id) for kind in "slxtqnov"))

    def _server_of(self, bucket: Bucket) -> str:
        """The address of the server that has the keys of a bucket."""
        return self.url

    async def close(self) -> None:
        if self._layers:
            await self._layers[-1].flush()
        for layer in self._layers:
            await layer.close()


class ClusterStore(RedisStore):
    """The same over a cluster."""

    @property
    def url(self) -> str:
        return cluster().url

    def _server_of(self, bucket: Bucket) -> str:
        return cluster().primary_of(slot_of(TAGS[bucket.number])).url
