"""The world of a run: workers behind a balancer, before a store, and what breaks."""

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
from tests.soak.history import History
from tests.soak.limits import limited
from tests.soak.stores import LEASE_SECONDS, Store

SETTINGS = {"HEARTBEAT_SECONDS": "1", "LEASE_SECONDS": str(LEASE_SECONDS), "DRAIN_SECONDS": "2", "LOG_LEVEL": "INFO"}
FAULT_SECONDS = 150.0  # far more than any fault takes
LOOK_LIMIT_SECONDS = 60.0  # whom we ask may stand still


class World:
    """Everything that a run needs, and the faults; after each fault the world is whole again."""

    def __init__(self, store: Store, history: History) -> None:
        self._history = history
        self._stack = AsyncExitStack()
        self.store = store
        self.agent = processes.agent("scripted")
        self.workers: list[processes.Process] = []
        self.balancer: Balancer

    async def __aenter__(self) -> World:
        await self._stack.enter_async_context(self.store)
        await asyncio.to_thread(self.agent.start)
        self._stack.push_async_callback(asyncio.to_thread, self.agent.__exit__, None, None, None)
        for url in self.store.urls:
            self.workers.append(processes.gateway("serve", self.agent.http_url, REDIS_URL=url, **SETTINGS))
        for worker in self.workers:
            self._stack.push_async_callback(asyncio.to_thread, worker.discard)
        await asyncio.gather(*(asyncio.to_thread(worker.start) for worker in self.workers))
        self.balancer = await self._stack.enter_async_context(Balancer([worker.port for worker in self.workers]))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for number, worker in enumerate(self.workers):
            self._history.add("log", worker=number, text=worker.output())
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
            (1, self._restart_balancer),
            (3, self._cut_agent_off),
            *self.store.faults(),
        ]
        fault = random.choices([fault for _, fault in faults], [weight for weight, _ in faults])[0]
        name = fault.__name__.removeprefix("_")
        self._history.add("fault", name=name)
        async with limited(FAULT_SECONDS, lambda: f"the fault {name}"):
            await self.store.look()
            await fault(random)
            await self.store.look()

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

    async def _restart_balancer(self, random: Random) -> None:
        await self.balancer.stop()
        await asyncio.sleep(random.uniform(0, 0.5))
        await self.balancer.start()

    async def _cut_agent_off(self, random: Random) -> None:
        for _ in range(random.choice([1, 1, 5])):
            await self.get(f"{self.agent.http_url}/cut")
            await asyncio.sleep(random.uniform(0, 0.3))

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
            with urllib.request.urlopen(request, timeout=LOOK_LIMIT_SECONDS) as response:
                return response.read().decode()

        return await asyncio.to_thread(read)
