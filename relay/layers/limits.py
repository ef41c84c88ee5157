"""``Limits`` in memory: token buckets and things that may be used once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from relay.layers.base import Limits
from relay.layers.values import Rate


class MemoryLimits(Limits):
    """Limits of one process. A bucket that is full again, or a use that has lapsed, is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets = _Expiring(clock)
        self._used = _Expiring(clock)

    async def take(self, key: str, rate: Rate) -> float:
        # A bucket is kept as the moment at which it will be full again (the "generic cell rate algorithm").
        now = self._clock()
        seconds_each = rate.seconds / rate.count
        full_at = max(self._buckets.get(key), now) + seconds_each
        wait_seconds = full_at - now - rate.seconds
        if wait_seconds > 1e-9:
            return wait_seconds
        self._buckets.set(key, full_at)
        return 0.0

    async def use_once(self, key: str, ttl_seconds: float) -> bool:
        now = self._clock()
        if self._used.get(key) > now:
            return False
        self._used.set(key, now + ttl_seconds)
        return True


class _Expiring:
    """Moments by key. Each call also looks at two of the oldest entries, so lapsed ones never pile up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._moments: OrderedDict[str, float] = OrderedDict()

    def get(self, key: str) -> float:
        return self._moments.get(key, 0.0)

    def set(self, key: str, moment: float) -> None:
        self._moments[key] = moment
        self._moments.move_to_end(key)
        for _ in range(2):
            oldest = next(iter(self._moments), key)
            if self._moments.get(oldest, 0.0) > self._clock():
                self._moments.move_to_end(oldest)
            else:
                self._moments.pop(oldest, None)
