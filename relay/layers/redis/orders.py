"""Operators' orders over one store: published by a script, received on the connection of all announcements."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from relay.layers.base import Order
from relay.layers.redis.foreign import ForeignMessages
from relay.layers.redis.keys import ScriptKeys
from relay.layers.redis.nodes import Nodes
from relay.layers.values import new_id

REMEMBERED_ORDERS: Final = 64  # far more than are given while a call of the store is repeated


class _Published(msgspec.Struct):
    """An order on the wire; a repetition has the same id."""

    id: str
    order: Order


class Orders:
    """Publishes orders, and hands on those that arrive, each once."""

    def __init__(self, keys: ScriptKeys, nodes: Nodes, foreign: ForeignMessages) -> None:
        self._keys = keys
        (self.channel,) = keys.names
        self._nodes = nodes
        self._foreign = foreign
        self._follow: Callable[[Order], None] | None = None
        self._recent: deque[str] = deque(maxlen=REMEMBERED_ORDERS)

    async def publish(self, order: Order) -> None:
        """See ``SessionLayer``. After a lost reply the script is called again, and the order is published twice."""
        message = msgspec.json.encode(_Published(new_id(), order))
        await self._nodes.of(self._keys.bucket).writes.call("announce", self._keys, (message,))

    async def listen(self, follow: Callable[[Order], None]) -> None:
        """See ``SessionLayer``; the subscription is kept through every outage."""
        self._follow = follow
        subscriber = self._nodes.of(self._keys.bucket).subscriber
        subscriber.add(self.channel)
        await subscriber.confirmed(self.channel)

    def hear(self, data: bytes) -> None:
        """Hand on an order that was published, unless it was heard before."""
        try:
            published = msgspec.json.decode(data, type=_Published)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._foreign.report("orders", "format")
            return
        if published.id not in self._recent and self._follow is not None:
            self._recent.append(published.id)
            self._follow(published.order)
