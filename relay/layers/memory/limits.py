"""``Limits`` in memory: token buckets and things that may be used once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from relay.layers.limits import Limits
from relay.layers.values import Rate

_NEVER: Final = (0.0, "")


class TokenBuckets:
    """Token buckets of one process. A bucket that is full again is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets = _Expiring(clock)

    def take(self, key: str, rate: Rate) -> float:
        """Take one from a bucket. Returns 0, or the seconds after which there will be one."""
        # A bucket is kept as the moment at which it will be full again (the "generic cell rate algorithm").
        now = self._clock()
        seconds_each = rate.seconds / rate.count
        full_at = max(self._buckets.get(key), now) + seconds_each
        wait_seconds = full_at - now - rate.seconds
        if wait_seconds > 1e-9:
            return wait_seconds
        self._buckets.set(key, full_at)
        return 0.0


class MemoryLimits(Limits):
    """Limits of one process. Entries that have expired are forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets = TokenBuckets(clock)
        self._used = _Expiring(clock)

    async def take(self, key: str, rate: Rate, session_id: str = "") -> float:
        return self._buckets.take(key, rate)

    async def use_once(self, key: str, ttl_seconds: float, purpose: str = "") -> bool:
        now = self._clock()
        if self._used.get(key) > now:
            return False
        self._used.set(key, now + ttl_seconds, purpose)
        return True

    async def used_for(self, key: str) -> str | None:
        return self._used.note(key) if self._used.get(key) > self._clock() else None


class _Expiring:
    """Moments by key, each with a note. Each ``set`` looks at two of the oldest, so expired ones never pile up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._moments: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def get(self, key: str) -> float:
        return self._moments.get(key, _NEVER)[0]

    def note(self, key: str) -> str:
        return self._moments.get(key, _NEVER)[1]

    def set(self, key: str, moment: float, note: str = "") -> None:
        self._moments[key] = (moment, note)
        self._moments.move_to_end(key)
        for _ in range(2):
            oldest = next(iter(self._moments), key)
            if self.get(oldest) > self._clock():
                self._moments.move_to_end(oldest)
            else:
                self._moments.pop(oldest, None)
