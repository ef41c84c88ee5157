"""The backends under test: one store each."""

from relay.testing import MemoryStore
from tests.buffer.redis_store import ClusterStore, RedisStore

STORES = {"memory": MemoryStore, "redis": RedisStore, "cluster": ClusterStore}
