"""A real cluster on loopback: primaries and replicas of Valkey, which fail over, and give slots to each other."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from tests.faults.valkey import Valkey
from tests.processes import free_port

SLOTS = 16_384
START_SECONDS = 60.0
# Without an answer for so long a node is held to be down; elections wait as long.
PATIENT_MILLISECONDS = 60_000  # any node may stand still for seconds, and no replica takes its place unasked
SHORT_MILLISECONDS = 2_000  # while one is to be replaced


class Node(Valkey):
    """A server of the cluster. It keeps its id, its role and its slots on disk, and its data if it is persistent."""

    def __init__(self, *options: str, persistent: bool = False) -> None:
        bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        super().__init__(*bus, *options, persistent=persistent)
        self.id = ""
        self._is_frozen = False

    def start(self) -> Self:
        super().start()
        self.id = self.say("CLUSTER", "MYID")
        return self

    def say(self, *words: object):
        """Say one command on a connection of its own, and return the whole reply."""
        with Redis(port=self.port, decode_responses=True, socket_timeout=60, protocol=2) as redis:
            return redis.execute_command(*words)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)
        self._is_frozen = True

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)
        self._is_frozen = False

    def revive(self) -> None:
        """Thaw or start it, if it is frozen or dead."""
        if self._process is None:
            self._is_frozen = False
            self.start()
        elif self._is_frozen:
            self.thaw()

    @property
    def is_running(self) -> bool:
        """Is it neither dead nor frozen?"""
        return self._process is not None and not self._is_frozen

    def info(self) -> dict[str, str]:
        """What the node says of the cluster."""
        return dict(line.split(":", 1) for line in str(self.say("CLUSTER", "INFO")).split("\r\n") if ":" in line)


class ValkeyCluster:
    """Primaries with an even share of the slots each, and replicas of them.

    Args:
        options: further options of every node.
        node_timeout_milliseconds: by default so long that a node which is dead or frozen is replaced only where a test
            waits for that, with ``until_promoted``, or allows it, with ``failing_over``.
    """

    def __init__(
        self,
        *options: str,
        primaries: int = 3,
        replicas: int = 1,
        persistent: bool = False,
        node_timeout_milliseconds: int = PATIENT_MILLISECONDS,
    ) -> None:
        self._node_timeout_milliseconds = node_timeout_milliseconds
        self._options = (
            *("--cluster-node-timeout", str(node_timeout_milliseconds)),
            *("--cluster-require-full-coverage", "no"),
            *("--cluster-replica-validity-factor", "0"),
            *("--cluster-allow-replica-migration", "no"),
            *("--repl-diskless-sync-delay", "0"),
            *options,
        )
        self._persistent = persistent
        self._primaries = primaries
        self._replicas = replicas
        self.nodes: list[Node] = []

    @property
    def url(self) -> str:
        """An address that names the first nodes: the others are found."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:3])}"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.__exit__()
        self.nodes.clear()

    def start(self) -> Self:
        primaries = [self._new_node() for _ in range(self._primaries)]
        bounds = [SLOTS * number // len(primaries) for number in range(len(primaries) + 1)]
        for node, first, end in zip(primaries, bounds, bounds[1:], strict=False):
            node.say("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for number, node in enumerate(primaries):  # else they would find out by votes that their epochs collide
            node.say("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        replicas = [(self._new_node(), primary) for primary in primaries for _ in range(self._replicas)]
        with self.failing_over():  # nodes that are impatient tell each other more often, so this takes half the time
            self._introduce(*self.nodes)
            for replica, primary in replicas:
                replica.say("CLUSTER", "REPLICATE", primary.id)
            self.settle()
        return self

    def settle(self) -> None:
        """Wait until the nodes that run agree on what each is, see all slots served, and replicas follow.

        A node that has just come back knows it sooner than the others do.
        """

        def is_settled() -> bool:
            views = [self._view_of(node) for node in self.running()]
            return all(view == views[0] for view in views) and all(map(self._is_well, self.running()))

        self._until(is_settled, "the cluster did not settle")

    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.is_running]

    # Which node serves what.

    def primaries(self) -> list[Node]:
        """The nodes that serve slots, as most of the running ones see it at the moment."""
        return list(dict.fromkeys(node for _, _, node in self._map()))

    def primary_of(self, slot: int) -> Node:
        for first, last, node in self._map():
            if first <= slot <= last:
                return node
        raise LookupError(f"no node serves slot {slot}")

    def replica_of(self, primary: Node) -> Node:
        entries = [entry.split() for entry in str(primary.say("CLUSTER", "NODES")).splitlines()]
        ids = [entry[0] for entry in entries if entry[3] == primary.id and "fail" not in entry[2].split(",")]
        for node in self.running():
            if node.id in ids:
                return node
        raise LookupError(f"port {primary.port} has no replica that runs")

    def flush(self) -> None:
        """Forget every key and every script."""
        for node in self.primaries():
            node.say("FLUSHALL")
            node.say("SCRIPT", "FLUSH")

    def until_replicated(self, primary: Node) -> None:
        """Wait until all that a primary has written so far has reached its replica: a failover loses the rest."""
        role, written = primary.say("ROLE")[:2]
        if role != "master":
            raise LookupError(f"port {primary.port} is no primary any more")
        self._until(
            lambda: self.replica_of(primary).say("ROLE")[4] >= written, "what was written did not reach the replica"
        )

    # What happens to a cluster.

    @contextmanager
    def failing_over(self) -> Iterator[None]:
        """In this block the replica of a primary that is dead or frozen takes its place."""
        self._limit_silence(SHORT_MILLISECONDS)
        try:
            yield
        finally:
            self._limit_silence(self._node_timeout_milliseconds)

    def _limit_silence(self, milliseconds: int) -> None:
        for node in self.running():
            node.say("CONFIG", "SET", "cluster-node-timeout", milliseconds)

    def until_promoted(self, replica: Node) -> None:
        """Let a replica take its primary's place. Waits until every running node knows."""
        with self.failing_over():
            self._until_all_follow(replica)

    def _until_all_follow(self, promoted: Node) -> None:
        self._until(
            lambda: all(promoted in (entry[2] for entry in self._map_of(node)) for node in self.running()),
            "no replica was promoted",
        )

    def fail_over(self, primary: Node) -> Node:
        """Let a primary and its replica change places in peace. Returns the new primary."""
        replica = self.replica_of(primary)
        replica.say("CLUSTER", "FAILOVER")
        self._until_all_follow(replica)
        return replica

    def hold_back(self, replica: Node, primary: Node) -> None:
        """Freeze a replica: what its primary takes from now on does not reach it."""
        replica.freeze()
        primary.say("CLIENT", "KILL", "TYPE", "replica")  # else it would read the rest from its socket once it thaws

    def take_over(self, replica: Node) -> None:
        """Let a replica that was held back take the place of its primary, which is dead, at once and as it is."""
        replica.thaw()
        replica.say("CLUSTER", "FAILOVER", "TAKEOVER")
        self._until_all_follow(replica)

    def migrate_slot(self, slot: int, target: Node) -> Iterator[str]:
        """Move a slot key by key, as ``redis-cli --cluster reshard`` does; yields before the first and after each."""
        source = self.primary_of(slot)
        target.say("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        yield ""
        while keys := source.say("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.say("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 60_000)
            yield keys[0]
        for node in (target, source):  # the others hear of it from these
            node.say("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        self._until_all_know(slot, slot, target)

    def move_slots(self, first: int, last: int, target: Node) -> None:
        """Give a range of slots with their keys to another primary, as Valkey 9 does by itself."""
        for start, end, source in self._map():
            if source is not target and start <= last and first <= end:
                span = max(start, first), min(end, last)
                source.say("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *span, "NODE", target.id)
                self._until_all_know(*span, target)

    def add_node(self) -> Node:
        """Add a primary that has no slots yet."""
        node = self._new_node()
        self._introduce(*self.running())
        self.settle()
        return node

    def remove_node(self, leaving: Node) -> None:
        """Take a primary out: its slots, in turn, go to the others, and its replicas to one of them."""
        ranges = [(first, last) for first, last, node in self._map() if node is leaving]
        others = [node for node in self.primaries() if node is not leaving]
        for number, (first, last) in enumerate(ranges):
            self.move_slots(first, last, others[number % len(others)])
        for node in self.running():
            if node is not leaving and leaving.id in str(node.say("ROLE")):
                node.say("CLUSTER", "REPLICATE", others[0].id)
        for node in self.running():
            if node is not leaving:
                node.say("CLUSTER", "FORGET", leaving.id)
        leaving.kill()

    def _until_all_know(self, first: int, last: int, target: Node) -> None:
        def knows(node: Node) -> bool:
            return any(owner is target and low <= first and last <= high for low, high, owner in self._map_of(node))

        self._until(lambda: all(map(knows, self.running())), "the slots were not moved")

    # How it is made.

    def _new_node(self) -> Node:
        node = Node(*self._options, persistent=self._persistent)
        self.nodes.append(node)
        return node.start()

    def _introduce(self, *nodes: Node) -> None:
        for number, node in enumerate(nodes):
            for other in nodes[number + 1 :]:
                node.say("CLUSTER", "MEET", "127.0.0.1", other.port, other._options[3])
        self._until(
            lambda: (
                all(int(node.info()["cluster_known_nodes"]) == len(nodes) for node in nodes)
                and not any("handshake" in str(node.say("CLUSTER", "NODES")) for node in nodes)
            ),
            "the nodes did not meet",
        )

    def _view_of(self, node: Node) -> dict[str, tuple[str, str]]:
        """The role and the primary of each node that runs, as one of them sees it.

        Raises:
            LookupError: it does not see one of them, or holds it to be down.
        """
        seen = {}
        for known in str(node.say("CLUSTER", "NODES")).splitlines():
            node_id, _, flags, primary, _, _, _, link, *_ = known.split()
            if link == "connected" and not {"fail", "fail?", "handshake", "noaddr"} & set(flags.split(",")):
                seen[node_id] = ("master" if "master" in flags else "slave", primary)
        return {other.id: seen[other.id] for other in self.running()}

    def _is_well(self, node: Node) -> bool:
        info = node.info()
        if info["cluster_state"] != "ok" or info["cluster_slots_ok"] != str(SLOTS):
            return False
        role = node.say("ROLE")
        return role[0] == "master" or role[3] == "connected"

    def _map(self) -> list[tuple[int, int, Node]]:
        """The slots as the running node with the newest epoch sees them."""
        for node in sorted(self.running(), key=lambda node: -int(node.info()["cluster_current_epoch"])):
            return self._map_of(node)
        raise AssertionError("no node is running")

    def _map_of(self, node: Node) -> list[tuple[int, int, Node]]:
        by_id = {known.id: known for known in self.nodes}
        return [(first, last, by_id[primary[2]]) for first, last, primary, *_ in node.say("CLUSTER", "SLOTS")]

    @staticmethod
    def _until(is_so: Callable[[], bool], complaint: str) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                if is_so():
                    return
                why = ""
            except (RedisError, OSError, LookupError) as exc:
                why = f": {exc!r}"
            assert time.monotonic() < give_up_at, f"{complaint}{why}"
            time.sleep(0.02)
