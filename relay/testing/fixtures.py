"""The fixtures of the contract suite, over the fixture ``make_store``.

A test with other bounds opens its own layer: ``await store.layer(Bounds(max_queue=2))``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from relay.layers.base import SessionLayer
from relay.layers.bounds import Bounds
from relay.layers.limits import Limits
from relay.testing.store import Store
from relay.testing.turns import LEASE_SECONDS


@pytest.fixture
async def store(make_store: Callable[[], Store]) -> AsyncIterator[Store]:
    """An empty store; ``advance`` moves its time, ``forget`` loses a session."""
    store = make_store()
    yield store
    await store.close()


@pytest.fixture
async def layer(store: Store) -> SessionLayer:
    return await store.layer(Bounds(lease_seconds=LEASE_SECONDS))


@pytest.fixture
async def peer(store: Store, layer: SessionLayer) -> SessionLayer:
    """The same sessions, seen from another process."""
    return await store.peer()


@pytest.fixture
async def limits(store: Store) -> Limits:
    return await store.limits()
