"""Which node of a cluster serves which slot, as the nodes say it. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Final, NamedTuple

from redis.exceptions import AskError

from relay.layers.redis.buckets import SLOTS
from relay.layers.redis.wire import Reply

_NO_NAMES: Final = (b"", b"?")  # names are preferred, and the node has none


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


class Topology:
    """The primaries of a cluster and their slots.

    Attributes:
        nodes: each once.
        ids: by node, as the cluster names it.
        missing: the number of slots that no node serves.
    """

    def __init__(self, ranges: list[tuple[int, int, Address]], ids: dict[Address, bytes]) -> None:
        self._ranges = sorted(ranges)
        self._starts = [first for first, _, _ in self._ranges]
        self.nodes = list(dict.fromkeys(address for _, _, address in self._ranges))
        self.ids = ids
        self.missing = SLOTS - sum(last - first + 1 for first, last, _ in ranges)

    def owner(self, slot: int) -> Address | None:
        """Return the node that serves a slot; ``None`` if there is none."""
        place = bisect.bisect(self._starts, slot) - 1
        if place < 0:
            return None
        _, last, address = self._ranges[place]
        return address if slot <= last else None


def topology(reply: Reply, asked: Address) -> Topology:
    """Read the reply to ``CLUSTER SLOTS`` of the node that was asked.

    Raises:
        ValueError: it is no such reply.
    """
    try:
        ids = {_address(primary, asked): primary[2] for _, _, primary, *_ in reply if len(primary) > 2}
        return Topology(list(_ranges(reply, asked)), ids)
    except (AttributeError, IndexError, TypeError, ValueError) as exc:
        raise ValueError("not the slots of a cluster") from exc


def _ranges(reply: Reply, asked: Address) -> Iterator[tuple[int, int, Address]]:
    for first, last, primary, *_replicas in reply:
        yield int(first), int(last), _address(primary, asked)


def _address(node: Reply, asked: Address) -> Address:
    return Address(_host(node, asked), int(node[1]))


def _host(node: Reply, asked: Address) -> str:
    """Return the host by which clients reach a node: its name, or its IP address if it has none.

    Where the nodes leave it to the client, by a null (``cluster-preferred-endpoint-type unknown-endpoint``), it is the
    host that was asked: their own addresses may be out of the client's reach.
    """
    host = node[0]
    if host in _NO_NAMES:
        metadata = node[3] if len(node) > 3 else []
        host = dict(zip(metadata[::2], metadata[1::2], strict=False)).get(b"ip")
    return asked.host if host is None else host.decode()


def redirection(reply: AskError, asked: Address) -> Address:
    """Return the node that ``MOVED`` or ``ASK`` names; ``reply.slot_id`` is the slot."""
    return Address(asked.host if reply.host in ("", "?") else reply.host, reply.port)
