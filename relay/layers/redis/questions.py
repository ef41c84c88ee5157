"""Asks servers which of them serves which slot, each on a connection of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from redis.exceptions import RedisError, ResponseError

from relay.addresses.cluster import ClusterUrl
from relay.layers.redis.buckets import SLOTS
from relay.layers.redis.connection import RedisConnection, pack
from relay.layers.redis.failures import IS_CLUSTER, ClusterFailure
from relay.layers.redis.topology import Address, Topology, topology
from relay.layers.redis.wire import Reply

ANSWER_SECONDS: Final = 0.5  # for each node that is asked: there are others

_SLOTS: Final = pack("CLUSTER", "SLOTS")
_ASKING: Final = pack("ASKING")  # allowed or refused here, where nothing follows it, and not first when a slot moves


async def ask_any(cluster: ClusterUrl, addresses: Iterable[Address]) -> Topology:
    """Ask nodes in turn until one answers.

    Raises:
        RedisError, OSError, ValueError: why the last one did not, or not as a node of a cluster.
    """
    failure: Exception = ValueError("no address")
    for address in addresses:
        try:
            slots, asking = await _ask(cluster.of_node(*address), _SLOTS, _ASKING)
            for reply in (slots, asking):
                if isinstance(reply, Exception):
                    raise reply
            return topology(slots, address)
        except (RedisError, OSError, ValueError) as exc:
            failure = exc
    raise failure


def uncovered(found: Topology) -> ClusterFailure | None:
    """Return what is wrong with a cluster in which slots have no node; else ``None``."""
    return (
        ClusterFailure(f"its cluster has no node for {found.missing} of its {SLOTS} slots") if found.missing else None
    )


async def refuse_cluster(url: str) -> None:
    """Ask a server that should be none of a cluster. One that does not say is taken for such a server.

    Raises:
        RedisError, OSError: it is one, or does not answer.
    """
    (reply,) = await _ask(url, _SLOTS)
    if not isinstance(reply, ResponseError):
        raise ClusterFailure(IS_CLUSTER)


async def _ask(url: str, *commands: bytes) -> list[Reply]:
    connection = RedisConnection(url, timeout_seconds=ANSWER_SECONDS)
    replies: list[Reply] = []
    try:
        await connection.exchange(commands, replies)
    finally:
        await connection.close()
    return replies
