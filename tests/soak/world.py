"""The world of a run: workers behind a balancer, each before the store through a gate of its own, and what breaks."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any

from scripts.balancer import Balancer
from tests import processes
from tests.faults.gate import Gate
from tests.faults.valkey import Valkey
from tests.soak.history import History

LEASE_SECONDS = 2.0
SETTINGS = {"HEARTBEAT_SECONDS": "1", "LEASE_SECONDS": str(LEASE_SECONDS), "DRAIN_SECONDS": "2", "LOG_LEVEL": "INFO"}
CONNECTIONS_EACH = 5  # docs/design/scale.md: three for sessions, two for groups and channels
INDEXES = {b"relay:0:w", b"relay:0:a", b"relay:0:e"}


class World:
    """Everything that a run needs, and the faults; after each fault the world is whole again."""

    def __init__(self, workers: int, history: History) -> None:
        self._history = history
        self._stack = AsyncExitStack()
        self.valkey = Valkey(persistent=True)
        self.agent = processes.agent("scripted")
        self.gates: list[Gate] = []
        self.workers: list[processes.Process] = []
        self._count = workers
        self.balancer: Balancer

    async def __aenter__(self) -> World:
        for part in (self.valkey, self.agent):
            await asyncio.to_thread(part.start)
            self._stack.push_async_callback(asyncio.to_thread, part.__exit__, None, None, None)
        for _ in range(self._count):
            gate = await self._stack.enter_async_context(Gate(self.valkey.port))
            self.gates.append(gate)
            self.workers.append(processes.gateway("serve", self.agent.http_url, REDIS_URL=gate.url, **SETTINGS))
        for worker in self.workers:
            self._stack.push_async_callback(asyncio.to_thread, worker.kill)
        await asyncio.gather(*(asyncio.to_thread(worker.start) for worker in self.workers))
        self.balancer = await self._stack.enter_async_context(Balancer([worker.port for worker in self.workers]))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.balancer.port}"

    # Faults.

    async def fault(self, random: Random) -> None:
        """Let something break, and come back."""
        faults: list[tuple[int, Callable[[Random], Awaitable[None]]]] = [
            (4, self._kill_worker),
            (3, self._pause_worker),
            (2, self._restart_worker),
            (2, self._kill_store),
            (2, self._lose_store),
            (2, self._freeze_store),
            (2, self._cut_clients),
            (3, self._cut_worker_off),
            (1, self._restart_balancer),
        ]
        fault = random.choices([fault for _, fault in faults], [weight for weight, _ in faults])[0]
        self._history.add("fault", name=fault.__name__.removeprefix("_"))
        await fault(random)

    async def _kill_worker(self, random: Random) -> None:
        worker = random.choice(self.workers)
        worker.kill()
        await asyncio.sleep(random.uniform(0, LEASE_SECONDS))
        await asyncio.to_thread(worker.start)

    async def _pause_worker(self, random: Random) -> None:
        worker = random.choice(self.workers)
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(random.choice([0.5, 1.5, 2.5]) * LEASE_SECONDS)
        worker.signal(signal.SIGCONT)

    async def _restart_worker(self, random: Random) -> None:
        worker = random.choice(self.workers)
        code = await asyncio.to_thread(worker.stop)
        if code != 0:
            self._history.add("leftover", what=f"a worker that was asked to stop ended with {code}")
        await asyncio.to_thread(worker.start)

    async def _kill_store(self, random: Random) -> None:
        self.valkey.kill()
        await asyncio.sleep(random.choice([0.1, 0.5, 1.5]) * LEASE_SECONDS)
        await asyncio.to_thread(self.valkey.start)

    async def _lose_store(self, random: Random) -> None:
        self.valkey.kill()
        self.valkey.forget()
        await asyncio.sleep(random.uniform(0.2, 1))
        self._history.add("store_lost")
        await asyncio.to_thread(self.valkey.start)

    async def _freeze_store(self, random: Random) -> None:
        self.valkey.signal(signal.SIGSTOP)
        await asyncio.sleep(random.choice([0.3, 0.7, 1.5]) * LEASE_SECONDS)
        self.valkey.signal(signal.SIGCONT)

    async def _cut_clients(self, random: Random) -> None:
        for kind in random.choice([("normal",), ("pubsub",), ("normal", "pubsub")]):
            await asyncio.to_thread(self.valkey.command, "CLIENT", "KILL", "TYPE", kind)

    async def _cut_worker_off(self, random: Random) -> None:
        gate = random.choice(self.gates)
        if random.random() < 0.5:
            gate.break_off()
            return
        gate.shut()
        await asyncio.sleep(random.choice([0.3, 0.8, 1.8]) * LEASE_SECONDS)
        gate.open()

    async def _restart_balancer(self, random: Random) -> None:
        await self.balancer.stop()
        await asyncio.sleep(random.uniform(0, 0.5))
        await self.balancer.start()

    # Looking.

    async def state(self, session_id: str) -> dict[str, Any]:
        """Describe a session as REST does."""
        path = f"/api/v1/sessions/{session_id}"
        return json.loads(await self.get(self.workers[0].http_url + path))

    async def asked(self) -> list[tuple[str, str]]:
        """Give the turn id and the content of every request to the agent."""
        requests = json.loads(await self.get(self.agent.http_url + "/requests"))["requests"]
        return [(request["headers"]["idempotency-key"], request["json"]["content"]) for request in requests]

    @staticmethod
    async def get(url: str) -> str:
        request = urllib.request.Request(url, headers={"X-Internal-Auth": processes.KEY})

        def read() -> str:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.read().decode()

        return await asyncio.to_thread(read)
