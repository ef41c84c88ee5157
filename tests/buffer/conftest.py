"""The fixtures of the contract suite: one store, empty, for each backend.

A test with other bounds opens its own layer: ``await store.layer(Bounds(max_queue=2))``.
"""

from __future__ import annotations

import pytest

from relay.layers.bounds import Bounds
from tests.buffer.stores import STORES


@pytest.fixture(params=sorted(STORES))
async def store(request):
    """An empty store; ``advance`` moves its time, ``forget`` loses a session."""
    store = STORES[request.param]()
    yield store
    await store.close()


@pytest.fixture
async def layer(store):
    return await store.layer(Bounds())


@pytest.fixture
async def peer(store, layer):
    """The same sessions, seen from another process."""
    return await store.peer()


@pytest.fixture
async def limits(store):
    return await store.limits()
