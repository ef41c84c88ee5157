"""The fixtures of the contract suite: one store, empty, for each backend.

A test with other bounds opens its own layer: ``await store.layer(Bounds(max_queue=2))``.
"""

from __future__ import annotations

import pytest

from relay.layers.bounds import Bounds
from tests.buffer.redis_store import MEMORY_ONLY_CASES, MEMORY_ONLY_MODULES
from tests.buffer.stores import STORES
from tests.buffer.turns import LEASE_SECONDS


def pytest_collection_modifyitems(config, items):
    """Leave out what only the memory layer promises."""
    left_out = [item for item in items if _is_memory_only(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_memory_only(item):
    module = item.module.__name__.rpartition(".")[2] if hasattr(item, "module") else ""
    is_redis = "redis" in item.callspec.params.values() if hasattr(item, "callspec") else False
    return is_redis and (module in MEMORY_ONLY_MODULES or item.name.startswith(MEMORY_ONLY_CASES))


@pytest.fixture(params=sorted(STORES))
async def store(request):
    """An empty store; ``advance`` moves its time, ``forget`` loses a session."""
    store = STORES[request.param]()
    yield store
    await store.close()


@pytest.fixture
async def layer(store):
    return await store.layer(Bounds(lease_seconds=LEASE_SECONDS))


@pytest.fixture
async def peer(store, layer):
    """The same sessions, seen from another process."""
    return await store.peer()


@pytest.fixture
async def limits(store):
    return await store.limits()
