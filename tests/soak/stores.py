"""The stores of a run, each worker before one through gates of its own, and what breaks there."""

from __future__ import annotations

import abc
import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import ClassVar, Self

from relay.layers.redis.buckets import SLOTS, slot_of, tag_of
from tests.faults.gate import Gate
from tests.faults.node_gates import UNKNOWN_HOSTS, NodeGates
from tests.faults.valkey import Valkey
from tests.faults.valkey_cluster import SHORT_MILLISECONDS, Node, ValkeyCluster
from tests.soak.history import History

LEASE_SECONDS = 2.0

Fault = Callable[[Random], Awaitable[None]]


class Store(abc.ABC):
    """What the workers of a run share. After each fault it is whole again.

    Attributes:
        urls: where each worker finds it.
        connections_each: how many a worker may have, in all.
    """

    urls: list[str]
    connections_each: ClassVar[int]

    def __init__(self, workers: int, history: History) -> None:
        self._workers = workers
        self._history = history
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @abc.abstractmethod
    async def _start(self) -> None: ...

    @abc.abstractmethod
    def servers(self) -> list[Valkey]:
        """The servers with keys."""

    @abc.abstractmethod
    def faults(self) -> list[tuple[int, Fault]]:
        """What can break, and how often it does among the others."""

    async def look(self) -> None:  # noqa: B027 - a server loses nothing by itself
        """Note what may have been lost since the last look."""

    async def _cut_clients(self, server: Valkey, random: Random) -> None:
        for kind in random.choice([("normal",), ("pubsub",), ("normal", "pubsub")]):
            await asyncio.to_thread(server.command, "CLIENT", "KILL", "TYPE", kind)

    async def _cut_off(self, gate: Gate, random: Random) -> None:
        if random.random() < 0.5:
            gate.break_off()
            return
        gate.shut()
        await asyncio.sleep(random.choice([0.3, 0.8, 1.8]) * LEASE_SECONDS)
        gate.open()


class ServerStore(Store):
    """A single server."""

    connections_each = 5  # docs/design/scale.md: three for sessions, two for groups and channels

    async def _start(self) -> None:
        self._valkey = Valkey(persistent=True)
        await asyncio.to_thread(self._valkey.start)
        self._stack.push_async_callback(asyncio.to_thread, self._valkey.__exit__)
        gates = [Gate(self._valkey.port) for _ in range(self._workers)]
        self._gates = [await self._stack.enter_async_context(gate) for gate in gates]
        self.urls = [gate.url for gate in gates]

    def servers(self) -> list[Valkey]:
        return [self._valkey]

    def faults(self) -> list[tuple[int, Fault]]:
        return [
            (2, self.kill_store),
            (2, self.lose_store),
            (2, self.freeze_store),
            (2, self.cut_clients),
            (3, self.cut_worker_off),
        ]

    async def kill_store(self, random: Random) -> None:
        self._valkey.kill()
        await asyncio.sleep(random.choice([0.1, 0.5, 1.5]) * LEASE_SECONDS)
        await asyncio.to_thread(self._valkey.start)

    async def lose_store(self, random: Random) -> None:
        self._valkey.kill()
        self._valkey.forget()
        await asyncio.sleep(random.uniform(0.2, 1))
        self._history.add("store_lost", after=len(self._history.events))
        await asyncio.to_thread(self._valkey.start)

    async def freeze_store(self, random: Random) -> None:
        self._valkey.signal(signal.SIGSTOP)
        await asyncio.sleep(random.choice([0.3, 0.7, 1.5]) * LEASE_SECONDS)
        self._valkey.signal(signal.SIGCONT)

    async def cut_clients(self, random: Random) -> None:
        await self._cut_clients(self._valkey, random)

    async def cut_worker_off(self, random: Random) -> None:
        await self._cut_off(random.choice(self._gates), random)


class ClusterStore(Store):
    """A cluster. A replica that takes over, unless it is asked to in peace, lacks what had not reached it."""

    connections_each = 11  # three for sessions to each of three nodes, two for groups and channels

    async def _start(self) -> None:
        self._cluster = ValkeyCluster(*UNKNOWN_HOSTS, persistent=True, node_timeout_milliseconds=SHORT_MILLISECONDS)
        self._stack.push_async_callback(asyncio.to_thread, self._cluster.__exit__)
        await asyncio.to_thread(self._cluster.start)
        gates = [NodeGates(self._cluster, f"127.0.0.{number + 11}") for number in range(self._workers)]
        self._gates = [await self._stack.enter_async_context(each) for each in gates]
        self.urls = [each.url for each in gates]
        self._primaries = set(self._cluster.primaries())
        self._replicated = 0  # that many events happened before all that was written had reached the replicas

    def servers(self) -> list[Valkey]:
        return list(self._cluster.primaries())

    def faults(self) -> list[tuple[int, Fault]]:
        return [
            (3, self.kill_primary),
            (2, self.freeze_primary),
            (2, self.fail_over),
            (3, self.fail_over_behind),
            (3, self.migrate_slots),
            (1, self.move_many_slots),
            (1, self.add_and_remove_node),
            (1, self.cut_clients),
            (3, self.cut_worker_off_from_node),
        ]

    async def look(self) -> None:
        found = set(await asyncio.to_thread(self._cluster.primaries))
        if found - self._primaries:
            self._history.add("newest_lost", since=self._replicated)
        self._primaries = found
        before = len(self._history.events)
        try:
            for primary in found:
                await asyncio.to_thread(self._cluster.until_replicated, primary)
        except LookupError:  # its replica takes its place at this moment: the next look tells what may be lost
            return
        self._replicated = before

    async def _settle(self) -> None:
        await asyncio.to_thread(self._cluster.settle)

    async def _a_primary(self, random: Random) -> Node:
        return random.choice(await asyncio.to_thread(self._cluster.primaries))

    async def kill_primary(self, random: Random) -> None:
        primary = await self._a_primary(random)
        replica = await asyncio.to_thread(self._cluster.replica_of, primary)
        primary.kill()
        if random.random() < 0.7:
            await asyncio.to_thread(self._cluster.until_promoted, replica)
        else:
            await asyncio.sleep(random.choice([0.1, 0.5]) * LEASE_SECONDS)
        await asyncio.to_thread(primary.start)
        await self._settle()

    async def freeze_primary(self, random: Random) -> None:
        primary = await self._a_primary(random)
        primary.freeze()
        await asyncio.sleep(random.choice([0.3, 0.7, 2.5]) * LEASE_SECONDS)  # after the last its replica has taken over
        primary.thaw()
        await self._settle()

    async def fail_over(self, random: Random) -> None:
        """In peace, so nothing is lost."""
        primary = await self._a_primary(random)
        self._primaries.add(await asyncio.to_thread(self._cluster.fail_over, primary))
        await self._settle()

    async def fail_over_behind(self, random: Random) -> None:
        """Let a replica take over that lacks what its primary has confirmed for a while."""
        primary = await self._a_primary(random)
        replica = await asyncio.to_thread(self._cluster.replica_of, primary)
        await asyncio.to_thread(self._cluster.hold_back, replica, primary)
        await asyncio.sleep(random.choice([0.1, 0.4, 0.8]) * LEASE_SECONDS)
        primary.kill()
        await asyncio.to_thread(self._cluster.take_over, replica)
        await asyncio.to_thread(primary.start)
        await self._settle()

    async def migrate_slots(self, random: Random) -> None:
        """Key by key, of some slots with keys."""
        primaries = await asyncio.to_thread(self._cluster.primaries)
        for _ in range(3):
            source, target = random.sample(primaries, 2)
            key = await asyncio.to_thread(source.say, "RANDOMKEY")
            if key is None:
                continue
            slot = slot_of(tag_of(str(key)))
            moving = self._cluster.migrate_slot(slot, target)
            while await asyncio.to_thread(next, moving, None) is not None:
                await asyncio.sleep(random.uniform(0, 0.02))

    async def move_many_slots(self, random: Random) -> None:
        first = random.randrange(SLOTS * 3 // 4)
        target = await self._a_primary(random)
        await asyncio.to_thread(self._cluster.move_slots, first, first + SLOTS // 4 - 1, target)

    async def add_and_remove_node(self, random: Random) -> None:
        node = await asyncio.to_thread(self._cluster.add_node)
        for gates in self._gates:
            await gates.add(node)
        self._primaries.add(node)
        first = random.randrange(SLOTS * 3 // 4)
        await asyncio.to_thread(self._cluster.move_slots, first, first + SLOTS // 4 - 1, node)
        await asyncio.sleep(random.uniform(0, 1) * LEASE_SECONDS)
        await asyncio.to_thread(self._cluster.remove_node, node)
        await self._settle()

    async def cut_clients(self, random: Random) -> None:
        await self._cut_clients(await self._a_primary(random), random)

    async def cut_worker_off_from_node(self, random: Random) -> None:
        await self._cut_off(random.choice(self._gates)[await self._a_primary(random)], random)
