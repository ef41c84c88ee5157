"""Buckets of sessions, even over the slots of a cluster. The same names are used on a single server. Pure.

A session's keys, and the indexes that its scripts touch, must be in one slot of a cluster. So each session belongs to a
bucket, by a hash of its id, and each name has the bucket's tag between braces, which alone decides the slot
(https://valkey.io/topics/cluster-spec/, "Hash tags").
"""

from __future__ import annotations

import binascii
import hashlib
import math
from itertools import count
from typing import Final

BUCKETS: Final = 256
SLOTS: Final = 16_384
_SLOTS_EACH: Final = SLOTS // BUCKETS


def slot_of(tag: str) -> int:
    """Return the slot of a cluster that names with this tag belong to."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


def _even_tags() -> tuple[str, ...]:
    """Find for each bucket the smallest number whose slot is in the bucket's part of all slots."""
    found: dict[int, str] = {}
    for number in map(str, count()):
        found.setdefault(slot_of(number) // _SLOTS_EACH, number)
        if len(found) == BUCKETS:
            return tuple(found[bucket] for bucket in range(BUCKETS))
    raise AssertionError("unreachable")


TAGS: Final = _even_tags()  # by bucket, in the order of their slots


def bucket_of(name: str) -> int:
    """Return the bucket of a session, a limit or the orders: the same in every process."""
    return hashlib.blake2b(name.encode(), digest_size=1).digest()[0]


def share(bound: int) -> int:
    """Return how many a bucket may have of what is bounded in all: its part, and room for an uneven hash.

    That is four standard deviations of how many come to one bucket, so that a full bucket means that the whole is.
    """
    mean = bound / BUCKETS
    return min(bound, math.ceil(mean + 4 * math.sqrt(mean) + 1))


def tag_of(name: str) -> str:
    """Return the tag of a key or a channel."""
    return name[name.index("{") + 1 : name.index("}")]
