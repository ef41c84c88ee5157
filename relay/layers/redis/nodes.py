"""The servers of a store, and which of them serves which bucket: one server, or the primaries of a cluster.

The nodes of a cluster are asked what they serve when one refuses a call, because it serves the slot no more, or does
not answer. Calls and subscriptions then go to the nodes that serve their slots.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from redis.exceptions import AskError, MovedError, RedisError

from relay.addresses.cluster import ClusterUrl, parse_cluster_url
from relay.addresses.place import place
from relay.exceptions import StoreUnavailable
from relay.layers.redis.buckets import BUCKETS, TAGS, slot_of
from relay.layers.redis.failures import DISAGREEMENT, ClusterFailure, reason
from relay.layers.redis.group_commit import GroupCommit
from relay.layers.redis.node import Node, NodeOptions, NodeRoutes
from relay.layers.redis.questions import ask_any, refuse_cluster, uncovered
from relay.layers.redis.topology import Address, redirection
from relay.observability.outage_log import OutageLog
from relay.tasks import BackgroundTask

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.5  # between two questions, at most
MAX_MOVES: Final = 4  # of a bucket between two questions, because nodes say so: its nodes may send it to each other

_SLOTS: Final = [slot_of(tag) for tag in TAGS]  # by bucket
_BUCKETS: Final = {slot: bucket for bucket, slot in enumerate(_SLOTS)}


class Nodes:
    """Finds the node of a bucket.

    Attributes:
        of: returns the node that serves a bucket, or that did when the nodes were asked last.
    """

    def __init__(self, url: str, options: NodeOptions) -> None:
        self._url = url
        self._options = options
        self._cluster = parse_cluster_url(url)
        self._nodes: dict[Address, Node] = {}
        self._failure: Exception | None = None  # of the last question
        self._is_one_server = False  # as far as is known
        self._outages = OutageLog(logger, store=place(url))
        self._is_in_doubt = False
        self._asking = BackgroundTask()
        self._retiring: set[asyncio.Task[None]] = set()
        self._moves: Counter[int] = Counter()  # by bucket, since the last question
        cluster = self._cluster
        first = Node(place(url), url, options) if cluster is None else self.at(Address(*cluster.nodes[0]))
        self._owners = [first] * BUCKETS
        self.of: Callable[[int], Node] = self._owners.__getitem__
        self.doubt()

    def all(self) -> list[Node]:
        """Return the nodes that serve something."""
        return list(dict.fromkeys(self._owners))

    def trouble(self) -> str:
        """Say why not everything is served; empty if nothing is known."""
        if self._failure is not None:
            return reason(self._failure)
        nodes = self.all()
        troubles = [trouble for node in nodes if (trouble := node.trouble())]
        if not troubles or self._cluster is None:
            return "".join(troubles)
        return f"{len(troubles)} of the {len(nodes)} nodes of its cluster cannot be used: {troubles[0]}"

    async def check(self) -> None:
        """Ask whether the store is what its address says, and a cluster whole.

        Raises:
            StoreUnavailable: no node answers, the store is of the other kind, or slots have no node.
        """
        if self._cluster is not None:
            await self._ask_any(self._cluster)
        elif not self._is_one_server:
            await self._ask_the_one()
        if self._failure is not None:
            raise StoreUnavailable(reason(self._failure)) from self._failure

    async def close(self) -> None:
        """Close all connections; calls that wait are refused."""
        await self._asking.stop()
        await asyncio.gather(*self._retiring)
        for node in {*self._nodes.values(), *self._owners}:
            await node.close()

    # Clusters: which node serves what.

    def at(self, address: Address) -> Node:
        """Return the node at an address."""
        node = self._nodes.get(address)
        if node is None:
            assert self._cluster is not None  # noqa: S101 - others have no addresses
            routes = NodeRoutes(
                _Routes(self, address, _writes), _Routes(self, address, _reads), _Routes(self, address, _writes)
            )
            where = f"{address.host}:{address.port}"
            node = self._nodes[address] = Node(where, self._cluster.of_node(*address), self._options, routes)
        return node

    def learn(self, slot: int, address: Address) -> None:
        """Note where a slot is served, as one node says; soon others are asked about all slots."""
        bucket = _BUCKETS.get(slot)
        if bucket is not None and self.at(address) is not self._owners[bucket]:
            self._moves[bucket] += 1
            if self._moves[bucket] <= MAX_MOVES:
                self._assign([(bucket, address)])
        self.doubt()

    def doubt(self) -> None:
        """Ask the nodes soon: not everything is where it was."""
        self._is_in_doubt = True
        if self._cluster is not None and not self._asking.is_running:
            self._asking.start(self._ask_while_in_doubt(self._cluster), "ask the cluster")

    async def _ask_while_in_doubt(self, cluster: ClusterUrl) -> None:
        while self._is_in_doubt:
            self._is_in_doubt = False
            await self._ask_any(cluster)
            self._settle_disputes()
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1))  # noqa: S311 - no secret

    def _settle_disputes(self) -> None:
        """Subscribe again, in buckets that nodes have sent to each other, where they are served by the last answer."""
        disputed = [bucket for bucket, moves in self._moves.items() if moves > MAX_MOVES]
        self._moves.clear()
        for bucket in disputed:
            self._outages.failed("announcements do not arrive: %s", DISAGREEMENT)
            self._owners[bucket].subscriber.ask_again(TAGS[bucket])

    async def _ask_any(self, cluster: ClusterUrl) -> None:
        """Ask the nodes in turn until one answers, and take its word."""
        try:
            found = await ask_any(cluster, self._to_ask(cluster))
        except (RedisError, OSError, ValueError) as exc:
            self._failure = exc
            self._outages.failed("the cluster does not tell its nodes: %s", reason(exc))
            return
        served = ((bucket, found.owner(slot)) for bucket, slot in enumerate(_SLOTS))
        for address, node_id in found.ids.items():
            self.at(address).subscriber.sender = node_id
        self._assign((bucket, owner) for bucket, owner in served if owner is not None)
        self._retire_unused()
        self._failure = uncovered(found)

    async def _ask_the_one(self) -> None:
        try:
            await refuse_cluster(self._url)
        except ClusterFailure as exc:
            self._failure = exc
        except (RedisError, OSError):
            self._failure = None  # calls will tell
        else:
            self._failure, self._is_one_server = None, True

    def _to_ask(self, cluster: ClusterUrl) -> Iterable[Address]:
        """Order the nodes: those first that served the last call, those last that only the setting names."""
        known = list(self._nodes.items())
        random.shuffle(known)
        known.sort(key=lambda item: item[1].failure is not None)
        return dict.fromkeys([*(address for address, _ in known), *(Address(*node) for node in cluster.nodes)])

    def _assign(self, owners: Iterable[tuple[int, Address]]) -> None:
        """Let calls and subscriptions in buckets go where these are served."""
        former = set()
        for bucket, address in owners:
            node, old = self.at(address), self._owners[bucket]
            if node is not old:
                self._owners[bucket] = node
                node.subscriber.take_over(old.subscriber, TAGS[bucket])
                former.add(old)
        for old in former:
            old.hand_over()

    def _retire_unused(self) -> None:
        used = set(self._owners)
        for address, node in list(self._nodes.items()):
            if node not in used:
                del self._nodes[address]
                retiring = asyncio.create_task(node.retire(), name="retire a node")
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)


class _Routes:
    """The ways from one node to the others; see ``group_commit.Routes`` and ``subscriber.Routes``."""

    def __init__(self, nodes: Nodes, here: Address, lane: Callable[[Node], GroupCommit]) -> None:
        self._nodes = nodes
        self._here = here
        self._lane = lane

    def owner(self, bucket: int) -> GroupCommit:
        return self._lane(self._nodes.of(bucket))

    def learn(self, reply: MovedError) -> None:
        self._nodes.learn(reply.slot_id, redirection(reply, self._here))

    def ask(self, reply: AskError) -> GroupCommit:
        return self._lane(self._nodes.at(redirection(reply, self._here)))

    def doubt(self) -> None:
        self._nodes.doubt()


def _writes(node: Node) -> GroupCommit:
    return node.writes


def _reads(node: Node) -> GroupCommit:
    return node.reads
