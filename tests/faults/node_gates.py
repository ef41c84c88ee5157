"""Gates between one worker and each node of a cluster."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from typing import Final, Self

from tests.faults.gate import Gate
from tests.faults.valkey_cluster import Node, ValkeyCluster

# For the nodes: they tell ports, and leave it to their clients by which address these reach them.
UNKNOWN_HOSTS: Final = ("--cluster-preferred-endpoint-type", "unknown-endpoint")


class NodeGates:
    """One worker's gates: on the nodes' own ports, but at an address of loopback that no other worker uses.

    Args:
        cluster: its nodes have the options ``UNKNOWN_HOSTS``.
        host: the address, of ``127.0.0.0/8``.
        tls: how the worker must speak TLS to them.
    """

    def __init__(self, cluster: ValkeyCluster, host: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._cluster = cluster
        self._tls = tls
        self._host = host
        self._stack = AsyncExitStack()
        self._gates: dict[Node, Gate] = {}

    @property
    def url(self) -> str:
        """Where the worker finds the cluster."""
        url = self._cluster.url.replace("127.0.0.1", self._host)
        return url if self._tls is None else url.replace("redis+", "rediss+")

    def __getitem__(self, node: Node) -> Gate:
        return self._gates[node]

    async def add(self, node: Node) -> None:
        """Let the worker through to a node."""
        gate = Gate(node.port, tls=self._tls, host=self._host, port=node.port)
        self._gates[node] = await self._stack.enter_async_context(gate)

    async def __aenter__(self) -> Self:
        for node in self._cluster.nodes:
            await self.add(node)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
