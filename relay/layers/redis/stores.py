"""The store of a deployment, as each event loop uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

from relay.addresses.cluster import parse_cluster_url
from relay.layers.bounds import Bounds
from relay.layers.redis.keys import namespace
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.store import Store
from relay.tasks import running_loop


class Stores:
    """Makes a ``Store`` for each event loop that asks for one.

    Args:
        clock: in place of the store's own time; for tests.
    """

    def __init__(self, url: str, prefix: str, bounds: Bounds, clock: Callable[[], float] | None) -> None:
        self._url = url
        self._namespace = namespace(prefix, url)
        self._bounds = bounds
        self._clock = clock
        self._scripts = Scripts(bounds, names_sender=parse_cluster_url(url) is not None)
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Store] = WeakKeyDictionary()

    def current(self) -> Store:
        """Return the running loop's store."""
        loop = running_loop()
        store = self._by_loop.get(loop)
        if store is None:
            store = self._by_loop[loop] = Store(self._url, self._namespace, self._bounds, self._scripts)
        return store

    def now(self) -> str:
        """Return the time for a script; empty: the store's own."""
        return "" if self._clock is None else repr(self._clock())

    async def close(self) -> None:
        """Close the running loop's store."""
        store = self._by_loop.pop(asyncio.get_running_loop(), None)
        if store is not None:
            await store.close()
