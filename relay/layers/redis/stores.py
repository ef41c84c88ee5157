"""The stores of a deployment: which one keeps a session, and each as the running event loop uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from relay.addresses.place import place
from relay.layers.bounds import Bounds
from relay.layers.redis.keys import namespace
from relay.layers.redis.ring import Ring
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.store import Store
from relay.tasks import running_loop


class Stores:
    """Sessions are spread over the stores by their ids.

    Args:
        clock: in place of the stores' own time; for tests.
    """

    def __init__(self, urls: Sequence[str], prefix: str, bounds: Bounds, clock: Callable[[], float] | None) -> None:
        self._urls = list(urls)
        self._prefix = prefix
        self._bounds = bounds
        self._clock = clock
        self._scripts = Scripts(bounds)
        self._ring = Ring([place(url) for url in urls])
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Store]] = WeakKeyDictionary()

    def all(self) -> list[Store]:
        """Return every store."""
        loop = running_loop()
        stores = self._by_loop.get(loop)
        if stores is None:
            stores = self._by_loop[loop] = [
                Store(url, namespace(self._prefix, url), self._bounds, self._scripts) for url in self._urls
            ]
        return stores

    def of(self, key: str) -> Store:
        """Return the store that keeps a session, or a limit."""
        stores = self.all()
        return stores[0] if len(stores) == 1 else stores[self._ring.index(key)]

    def now(self) -> str:
        """Return the time for a script; empty: the store's own."""
        return "" if self._clock is None else repr(self._clock())

    async def close(self) -> None:
        """Close the running loop's stores."""
        for store in self._by_loop.pop(asyncio.get_running_loop(), []):
            await store.close()
