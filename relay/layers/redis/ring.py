"""Which store keeps a session: a consistent hash, the same in every process."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from typing import Final

POINTS_EACH: Final = 128  # evens out the shares to a few per cent


class Ring:
    """Names of stores on a circle; a store that is added or taken out moves only its own share of the sessions."""

    def __init__(self, names: Sequence[str]) -> None:
        points = sorted((_place(f"{name}#{i}"), index) for index, name in enumerate(names) for i in range(POINTS_EACH))
        self._places = [place for place, _ in points]
        self._indexes = [index for _, index in points]

    def index(self, key: str) -> int:
        """Give the place in ``names`` of the store for a key."""
        return self._indexes[bisect.bisect(self._places, _place(key)) % len(self._places)]


def _place(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
