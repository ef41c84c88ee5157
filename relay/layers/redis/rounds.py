"""Rounds: the same call in every bucket, a few at a time, so that no token waits behind hundreds of calls."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

from relay.exceptions import StoreUnavailable
from relay.layers.redis.keys import Bucket
from relay.layers.redis.node import Node
from relay.layers.redis.store import Store
from relay.layers.redis.wire import Reply

AT_ONCE: Final = 32  # calls in one exchange: a fraction of a millisecond for the store

T = TypeVar("T")


def a_few(buckets: Sequence[Bucket]) -> Iterator[Sequence[Bucket]]:
    """Divide buckets into parts that are visited at once."""
    return (buckets[first : first + AT_ONCE] for first in range(0, len(buckets), AT_ONCE))


async def visits(
    buckets: Sequence[Bucket], call: Callable[[Bucket], Awaitable[Reply]]
) -> AsyncIterator[list[tuple[Bucket, Reply]]]:
    """Call in each bucket, and pair it with the reply: a few at a time."""
    for few in a_few(buckets):
        yield list(zip(few, await asyncio.gather(*map(call, few)), strict=True))


async def visit(buckets: Sequence[Bucket], call: Callable[[Bucket], Awaitable[Reply]]) -> list[tuple[Bucket, Reply]]:
    """Call in each bucket, and pair it with the reply."""
    return [pair async for few in visits(buckets, call) for pair in few]


async def visit_nodes(
    nodes: dict[Node, list[Bucket]], seconds: float, visit_node: Callable[[list[Bucket]], AsyncIterator[T]]
) -> tuple[list[T], dict[str, StoreUnavailable]]:
    """Visit the buckets of each node for a limited time: a node that is away must not delay the sessions of the others.

    Args:
        nodes: buckets, by the node that serves them.
        visit_node: yields the results of a visit one by one; those before a failure count.

    Returns:
        The results of all visits, and the failures by the nodes' places.
    """
    found: list[T] = []
    failures: dict[str, StoreUnavailable] = {}

    async def try_to_visit(node: Node, buckets: list[Bucket]) -> None:
        try:
            async with asyncio.timeout(seconds):
                async for result in visit_node(buckets):
                    found.append(result)  # noqa: PERF401 - at once, because the next reply may fail
        except TimeoutError:
            failures[node.place] = StoreUnavailable(node.trouble() or "it does not answer")
        except StoreUnavailable as exc:
            failures[node.place] = exc

    await asyncio.gather(*(try_to_visit(node, buckets) for node, buckets in nodes.items()))
    return found, failures


async def first_names(store: Store, after: str, limit: int) -> list[str]:
    """Name the sessions that follow a name, at most ``limit``, in order.

    Few names of each bucket are asked for, and more only of buckets that may still have some before the last one.
    """
    size = limit // len(store.keys.buckets) + 2
    names: list[bytes] = []
    ends = dict.fromkeys(store.keys.buckets, after.encode())  # of the buckets that may have more: the last known name
    while ends:
        pages = await visit(list(ends), partial(_page, store, ends, size))
        names = heapq.nsmallest(limit, [*names, *(name for _, page in pages for name in page)])
        full = {bucket: page[-1] for bucket, page in pages if len(page) == size}
        ends = {bucket: end for bucket, end in full.items() if len(names) < limit or end < names[-1]}
        size *= 2
    return [name.decode() for name in names]


def _page(store: Store, ends: dict[Bucket, bytes], size: int, bucket: Bucket) -> Awaitable[Reply]:
    return store.call("page", bucket.all, ends[bucket], size)
