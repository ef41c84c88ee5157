"""Rounds: the same call in every bucket, a few at a time, so that no token waits behind hundreds of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar

from relay.exceptions import StoreUnavailable
from relay.layers.redis.keys import Bucket
from relay.layers.redis.node import Node
from relay.layers.redis.wire import Reply
from relay.tasks import FairTimeout

AT_ONCE: Final = 32  # calls in one exchange: a fraction of a millisecond for the store

K = TypeVar("K")
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
    nodes: dict[Node, list[K]],
    seconds: float | Callable[[Node], float | None],
    visit_node: Callable[[list[K]], AsyncIterator[T]],
) -> tuple[list[T], dict[str, StoreUnavailable]]:
    """Visit each node for a limited time: a node that is away must not delay the sessions of the others.

    Args:
        nodes: buckets, or names of sessions, by the node that serves them.
        visit_node: yields the results of a visit one by one; those before a failure count.

    Returns:
        The results of all visits, and the failures by the nodes' places.
    """
    found: list[T] = []
    failures: dict[str, StoreUnavailable] = {}

    async def try_to_visit(node: Node, served: list[K]) -> None:
        try:
            async with FairTimeout(seconds(node) if callable(seconds) else seconds):
                async for result in visit_node(served):
                    found.append(result)  # noqa: PERF401 - at once, because the next reply may fail
        except TimeoutError:
            failures[node.place] = StoreUnavailable(node.trouble() or "it does not answer")
        except StoreUnavailable as exc:
            failures[node.place] = exc

    await asyncio.gather(*(try_to_visit(node, served) for node, served in nodes.items()))
    return found, failures
