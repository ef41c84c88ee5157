"""Lists of sessions over all nodes: those of a node that does not answer are missing, and delay no others."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from itertools import chain
from typing import Final, TypeAlias

from relay.layers.lists import urgency
from relay.layers.redis.keys import Bucket, ScriptKeys
from relay.layers.redis.node import Node
from relay.layers.redis.rounds import K, T, visit, visit_nodes
from relay.layers.redis.store import Store
from relay.layers.redis.wire import Reply
from relay.layers.values import SessionPage, SessionState

NAMES_SECONDS: Final = 1.0  # for one node to name sessions; with the next less than a client may be kept waiting
STATES_SECONDS: Final = 0.8  # for one node to describe them
AWAY_SECONDS: Final = 0.2  # instead, if its last call failed

Dated: TypeAlias = tuple[float, str]  # a session, with its time in an index
GetState: TypeAlias = Callable[[str], Awaitable[SessionState | None]]


class Listing:
    """One list. A node that has not answered once is not asked again.

    Args:
        get: describes a session.
        is_patient: wait for every node as long as calls wait, and list all or nothing.
    """

    def __init__(self, store: Store, get: GetState, now: str, *, is_patient: bool = False) -> None:
        self._store = store
        self._get = get
        self._now = now
        self._nodes = store.buckets_by_node()  # that may answer
        self._count = len(self._nodes)
        self._is_patient = is_patient or self._count == 1  # which delays no others

    async def page(self, cursor: str, limit: int) -> SessionPage:
        """See ``SessionLayer.page``."""
        found: list[SessionState] = []
        while True:
            names = await self._first_names(cursor, limit + 1)
            wanted = names[: limit - len(found)]
            found += await self._states(wanted)
            if len(wanted) == len(names):
                return self._page(found, "", is_all=True)
            cursor = wanted[-1]
            if len(found) == limit:
                return self._page(found, cursor, is_all=False)

    async def busiest(self, limit: int) -> SessionPage:
        """See ``SessionLayer.busiest``. Leases end late, so running turns are the latest of the index of work."""
        named = await self._ask(self._nodes, NAMES_SECONDS, partial(self._latest, limit + 1))
        latest = [heapq.nlargest(limit + 1, chain.from_iterable(index)) for index in zip(*named, strict=True)]
        names = list(dict.fromkeys(name for _, name in chain.from_iterable(latest)))
        states = await self._states(names[:limit])
        return self._page(sorted(states, key=urgency), "", is_all=len(names) <= limit)

    def _page(self, states: list[SessionState], cursor: str, *, is_all: bool) -> SessionPage:
        silent = self._count - len(self._nodes)
        return SessionPage(sessions=states, cursor=cursor, is_all=is_all, nodes=self._count, silent_nodes=silent)

    # Names.

    async def _first_names(self, after: str, limit: int) -> list[str]:
        """Name the sessions that follow a name, at most ``limit``, in order."""
        named = await self._ask(self._nodes, NAMES_SECONDS, partial(self._following, after.encode(), limit))
        return [name.decode() for name in heapq.nsmallest(limit, chain.from_iterable(named))]

    async def _following(self, after: bytes, limit: int, buckets: list[Bucket]) -> AsyncIterator[list[bytes]]:
        """Name those of a node.

        Few names of each bucket are asked for, and more only of buckets that may still have some before the last one.
        """
        size = limit // len(buckets) + 2
        names: list[bytes] = []
        ends = dict.fromkeys(buckets, after)  # of the buckets that may have more: the last known name

        def call(bucket: Bucket) -> Awaitable[Reply]:
            return self._store.call("page", bucket.all, ends[bucket], size)

        while ends:
            pages = await visit(list(ends), call)
            names = heapq.nsmallest(limit, [*names, *(name for _, page in pages for name in page)])
            full = {bucket: page[-1] for bucket, page in pages if len(page) == size}
            ends = {bucket: end for bucket, end in full.items() if len(names) < limit or end < names[-1]}
            size *= 2
        yield names

    async def _latest(self, limit: int, buckets: list[Bucket]) -> AsyncIterator[tuple[list[Dated], list[Dated]]]:
        """Name those sessions of a node that have work, and those that will be kept longest: they were used last."""
        yield (
            await self._latest_of(lambda bucket: bucket.work, limit, buckets, is_to_come=False),
            await self._latest_of(lambda bucket: bucket.expiring, limit, buckets, is_to_come=True),
        )

    async def _latest_of(
        self, index: Callable[[Bucket], ScriptKeys], limit: int, buckets: list[Bucket], *, is_to_come: bool
    ) -> list[Dated]:
        """Name the latest of an index: few of each bucket, and more only of those that may have more of the latest."""
        size = limit // len(buckets) + 2
        pages: dict[Bucket, list[Dated]] = {}
        asked = buckets

        def call(bucket: Bucket) -> Awaitable[Reply]:
            return self._store.call("latest", index(bucket), self._now, size, int(is_to_come))

        while True:
            pages |= {bucket: _dated(reply) for bucket, reply in await visit(asked, call)}
            latest = heapq.nlargest(limit, chain.from_iterable(pages.values()))
            asked = [each for each in asked if len(pages[each]) == size and not _has_all(latest, limit, pages[each])]
            if not asked:
                return latest
            size *= 2

    # States.

    async def _states(self, names: list[str]) -> list[SessionState]:
        """Describe sessions, in the same order; those that are gone, empty or of a silent node are left out."""
        nodes = {bucket: node for node, buckets in self._nodes.items() for bucket in buckets}
        served: dict[Node, list[str]] = {}
        for name in names:
            if (node := nodes.get(self._store.keys.bucket(name))) is not None:
                served.setdefault(node, []).append(name)
        answers = await self._ask(served, STATES_SECONDS, self._describe)
        states = {state.session_id: state for state in chain.from_iterable(answers) if state is not None}
        return [state for name in names if (state := states.get(name)) is not None and not state.is_empty]

    async def _describe(self, names: list[str]) -> AsyncIterator[Iterable[SessionState | None]]:
        yield await asyncio.gather(*map(self._get, names))

    # Nodes.

    async def _ask(
        self, nodes: dict[Node, list[K]], seconds: float, visit_node: Callable[[list[K]], AsyncIterator[T]]
    ) -> list[T]:
        """Ask these nodes; those that do not answer in time are left out from now on.

        Raises:
            StoreUnavailable: no node is left; or one does not answer, and all have to.
        """

        def limit(node: Node) -> float | None:
            return None if self._is_patient else seconds if node.failure is None else AWAY_SECONDS

        found, failures = await visit_nodes(nodes, limit, visit_node)
        self._nodes = {node: served for node, served in self._nodes.items() if node.place not in failures}
        if failures and (self._is_patient or not self._nodes):
            raise next(iter(failures.values()))
        return found


def _dated(reply: list[bytes]) -> list[Dated]:
    """Read the reply of ``latest.lua``."""
    return [(float(moment), name.decode()) for name, moment in zip(reply[::2], reply[1::2], strict=True)]


def _has_all(latest: list[Dated], limit: int, page: list[Dated]) -> bool:
    return len(latest) == limit and page[-1] < latest[-1]
