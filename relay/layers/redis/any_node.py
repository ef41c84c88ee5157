"""Connections of redis-py to any node of a cluster, whichever answers: plain pub/sub reaches all nodes from each."""

from __future__ import annotations

import random
from collections import deque
from typing import Any, Final

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from relay.addresses.cluster import ClusterUrl

CONNECT_SECONDS: Final = 1.0  # for each node: there are others


class AnyNodeConnection(Connection):
    """Each attempt to connect goes to the next node.

    Args:
        nodes: hosts and ports.
        options: of redis-py; of any type.
    """

    def __init__(self, *, nodes: tuple[tuple[str, int], ...], **options: Any) -> None:
        super().__init__(**options)
        self._nodes = deque(random.sample(nodes, len(nodes)))

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect to a node, unless there is a connection."""
        if not self.is_connected:
            self.host, self.port = self._nodes[0]
            self._nodes.rotate(-1)
        await super().connect_check_health(*args, **kwargs)


class AnyNodeTlsConnection(AnyNodeConnection, SSLConnection):
    """The same with TLS."""


def any_node(url: ClusterUrl) -> dict[str, Any]:
    """Return the options of a pool of such connections."""
    options: dict[str, Any] = dict(parse_url(url.of_node(*url.nodes[0])))
    has_tls = options.pop("connection_class", None) is SSLConnection
    return {
        "socket_connect_timeout": CONNECT_SECONDS,
        **options,
        "connection_class": AnyNodeTlsConnection if has_tls else AnyNodeConnection,
        "nodes": url.nodes,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2 * len(url.nodes)),
    }
