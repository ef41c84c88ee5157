"""One server of a store, as one event loop uses it: two connections for calls, one for announcements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from relay.layers.redis.failures import reason
from relay.layers.redis.group_commit import GroupCommit
from relay.layers.redis.group_commit import Routes as CallRoutes
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.subscriber import Routes as ChannelRoutes
from relay.layers.redis.subscriber import Subscriber
from relay.observability.outage_log import OutageLog

logger = logging.getLogger(__name__)


class NodeOptions(msgspec.Struct, frozen=True):
    """Options that all nodes of a store have in common.

    Attributes:
        on_message, on_connection: those of ``Subscriber``.
        timeout_seconds: for one exchange; ``patience_seconds``: for a call, with all its repetitions.
    """

    scripts: Scripts
    on_message: Callable[[str, bytes], None]
    on_connection: Callable[[Collection[str], bool], None]
    timeout_seconds: float
    patience_seconds: float


class NodeRoutes(msgspec.Struct, frozen=True):
    """The ways from a node of a cluster to the others; none where there is one server."""

    writes: CallRoutes | None = None
    reads: CallRoutes | None = None
    channels: ChannelRoutes | None = None


NO_OTHERS: Final = NodeRoutes()


class Node:
    """Reads have a connection of their own, so that a long replay does not hold up a token.

    Args:
        place: host and port, for log lines.
    """

    def __init__(self, place: str, url: str, options: NodeOptions, routes: NodeRoutes = NO_OTHERS) -> None:
        self.place = place
        outages = OutageLog(logger, store=place)
        limits = {"timeout_seconds": options.timeout_seconds, "patience_seconds": options.patience_seconds}
        self.writes = GroupCommit(url, options.scripts, outages, routes=routes.writes, **limits)
        self.reads = GroupCommit(url, options.scripts, outages, routes=routes.reads, **limits)
        self.subscriber = Subscriber(
            url,
            outages,
            on_message=options.on_message,
            on_connection=options.on_connection,
            routes=routes.channels,
            **limits,
        )

    @property
    def failure(self) -> BaseException | None:
        """Why the last call, or the subscription, failed; ``None`` if it did not."""
        return self.writes.failure or self.reads.failure or self.subscriber.failure

    def trouble(self) -> str:
        """Say why the node does not serve at the moment; empty if nothing is known."""
        failure = self.failure
        return "" if failure is None else reason(failure)

    def hand_over(self) -> None:
        """Send calls that wait here, but are served by others now, to these."""
        self.writes.hand_over()
        self.reads.hand_over()

    async def close(self) -> None:
        """Close the connections; calls that wait are refused."""
        await self.subscriber.close()
        await self.writes.close()
        await self.reads.close()

    async def retire(self) -> None:
        """Close the connections; calls that wait go to the nodes that serve them now."""
        await self.subscriber.close()
        await self.writes.retire()
        await self.reads.retire()
