"""A run: sessions that talk, viewers that come and go, a fault every few seconds; then peace, and a last look."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any
from urllib.error import HTTPError

from redis.asyncio import Redis

from relay.tasks import cancel_and_wait, first_completed
from tests.clients import V1
from tests.faults.valkey import Valkey
from tests.processes import Process
from tests.scraping import Scrape
from tests.soak.history import History
from tests.soak.limits import limited
from tests.soak.stores import LEASE_SECONDS, ServerStore, Store
from tests.soak.viewers import Talker, Viewer
from tests.soak.world import World

ACCEPT_SECONDS = 240.0  # in which some message is accepted, whatever breaks: longer than any fault
PEACE_SECONDS = 60.0  # in which something must come to its end, once nothing breaks any more
LOOK_SECONDS = 0.2
INDEX = re.compile(rb"relay:0:\{\d+\}:[wae]")


class Run:
    """One run of so many turns; everything that is chosen comes from the seed."""

    def __init__(
        self,
        seed: int,
        *,
        turns: int,
        sessions: int,
        workers: int = 3,
        fault_seconds: float = 2.0,
        store: type[Store] = ServerStore,
    ) -> None:
        self.history = History()
        self._store = store(workers, self.history)
        self._seed = seed
        self._turns = turns
        self._sessions = [f"s{number}" for number in range(sessions)]
        self._workers = workers
        self._fault_seconds = fault_seconds
        self._names: Iterator[int] = itertools.count(1)
        self._talkers: list[Talker] = []
        self._is_breaking = True
        self._is_over = False  # for those who stay to the end
        self._world: World

    def __str__(self) -> str:
        where = f"{self._workers} workers, {type(self._store).__name__}"
        return f"seed {self._seed}, {self._turns} turns in {len(self._sessions)} sessions on {where}"

    async def play(self) -> History:
        """Let it all happen."""
        async with World(self._store, self.history) as self._world, AsyncExitStack() as leaving:
            crowd = [asyncio.create_task(self._visit(session_id, n)) for session_id in self._sessions for n in range(2)]
            leaving.push_async_callback(cancel_and_wait, *crowd)
            faults = asyncio.create_task(self._break_things())
            leaving.push_async_callback(self._stop_breaking, faults)
            self._talkers = [self._talker(session_id) for session_id in self._sessions]
            staying = [asyncio.create_task(talker.stay(lambda: self._is_over)) for talker in self._talkers]
            leaving.push_async_callback(cancel_and_wait, *staying)
            await self._until_all_is_said(faults)
            await self._stop_breaking(faults)
            await self._come_to_rest()
            self._is_over = True
            await leaving.aclose()
            await self._look_at_everything()
        return self.history

    async def _stop_breaking(self, faults: asyncio.Task[None]) -> None:
        """Wait for the last fault: the world is whole after each."""
        self._is_breaking = False
        await faults

    # What happens.

    async def _until_all_is_said(self, faults: asyncio.Task[None]) -> None:
        await first_completed(self._talk_all(), self._outlast(faults), self._keep_accepting())

    async def _talk_all(self) -> None:
        await asyncio.gather(*(self._talk(talker) for talker in self._talkers))

    @staticmethod
    async def _outlast(faults: asyncio.Task[None]) -> None:
        """Raise the error of a fault: the world is not whole after it, and what is said may never be accepted."""
        await asyncio.shield(faults)

    async def _keep_accepting(self) -> None:
        """Raise an error when no message is accepted any more."""
        while True:
            accepted = self._accepted
            async with limited(ACCEPT_SECONDS, lambda: f"a message accepted; {self._what_waits()}"):
                while self._accepted == accepted:
                    await asyncio.sleep(LOOK_SECONDS)

    def _what_waits(self) -> str:
        waiting = [f"{talker.name}: {', '.join(talker.waiting)}" for talker in self._talkers if talker.is_waiting]
        return f"not answered: {'; '.join(waiting) or 'nothing'}"

    @property
    def _accepted(self) -> int:
        return sum(talker.accepted for talker in self._talkers)

    def _talker(self, session_id: str) -> Talker:
        name = f"{session_id}-talker"
        return Talker(name, self._world.ws_url, session_id, self.history, self._random(name))

    async def _talk(self, talker: Talker) -> None:
        random = self._random(f"{talker.name} talks")
        while self._accepted < self._turns:
            if talker.is_waiting:  # at most a few at a time, or they would all be refused
                await asyncio.sleep(LOOK_SECONDS)
                continue
            message = f"m{next(self._names)}"
            count, delay = random.choice([(30, 0.01), (20, 0.05), (60, 0.0), (5, LEASE_SECONDS * 0.4), (1, 0.0)])
            script = random.choice(["distinct", "kept"])  # the agent keeps the answer, and can be rejoined
            content = f"script:{script} {count} {message} delay={delay}"
            text = "".join(f"{message}-{number} " for number in range(count))
            on_busy = random.choices(["enqueue", "interrupt", "reject"], [8, 1, 1])[0]
            await talker.say(message, content, text, on_busy)
            await asyncio.sleep(random.choice([0.0, 0.2, 0.5, 1.0]))
            if random.random() < 0.08:
                await talker.cancel()
            if random.random() < 0.05:
                talker.drop()

    async def _visit(self, session_id: str, number: int) -> None:
        """Watch for a while, be gone for a while; some with a cursor, some anew, some in plain."""
        random = self._random(f"{session_id} visitor {number}")
        for visit in itertools.count():
            dialect = random.choice([V1, V1, "plain"])
            name = f"{session_id}-visitor-{number}-{visit}"
            viewer = Viewer(name, self._world.ws_url, session_id, self.history, random, dialect=dialect)
            leave_at = asyncio.get_running_loop().time() + random.uniform(1, 8)
            staying = asyncio.create_task(viewer.stay(lambda: False))
            try:
                while asyncio.get_running_loop().time() < leave_at:
                    await asyncio.sleep(random.uniform(0.5, 3))
                    if random.random() < 0.5:
                        viewer.drop()
            finally:
                staying.cancel()
                await asyncio.gather(staying, return_exceptions=True)
            await asyncio.sleep(random.uniform(0, 1))

    async def _break_things(self) -> None:
        random = self._random("faults")
        while self._is_breaking:
            await asyncio.sleep(random.uniform(0.25, 1) * self._fault_seconds)
            await asyncio.shield(self._world.fault(random))

    def _random(self, name: str) -> Random:
        return Random(f"{self._seed} {name}")

    # What is left.

    async def _come_to_rest(self) -> None:
        """Wait for as long as anything is done: on a busy machine a queue of slow answers takes its time."""
        moved_at, before = time.monotonic(), ""
        left = list(self._sessions)
        while left and time.monotonic() - moved_at < PEACE_SECONDS:
            work = await self._work(left[0])
            if work is None:
                left.pop(0)
            elif work != before:
                moved_at, before = time.monotonic(), work
            else:
                await asyncio.sleep(LOOK_SECONDS)
        if left:
            self.history.add("leftover", what=f"work in {left[0]}, not changed for {PEACE_SECONDS} s: {before}")
        for talker in self._talkers:
            if talker.is_waiting:
                self.history.add("leftover", what=f"{talker.name} was never answered")

    async def _work(self, session_id: str) -> str | None:
        """Describe what is left to do in a session, or to be said in any; ``None``: nothing."""
        try:
            state = await self._state(session_id)
        except OSError:
            return "not known, its worker does not say"
        if any(talker.is_waiting for talker in self._talkers):
            return self._what_waits()
        if state is None or not (state["active"] or state["queued"]):
            return None
        return f"{state['active']}, {len(state['queued'])} queued, offset {state['offset']}"

    async def _state(self, session_id: str) -> dict[str, Any] | None:
        """Describe a session; ``None``: the store has lost it, and nothing was said in it since."""
        try:
            return await self._world.state(session_id)
        except HTTPError as exc:
            if exc.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _look_at_everything(self) -> None:
        for session_id in self._sessions:
            await self._read_log(session_id)
        for turn, content in await self._world.asked():
            self.history.add("asked", turn=turn, content=content)
        await self._look_at_workers()
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(self._client_of(server)) for server in self._store.servers()]
            await self._look_at_store(servers)
            await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in self._world.workers))
            await self._expect("connections after the workers have gone", partial(self._connections, servers), 0)

    async def _read_log(self, session_id: str) -> None:
        """A last viewer reads all that is kept, so that every end has been seen by somebody."""
        state = await self._state(session_id)
        if state is None:
            return
        name = f"{session_id}-last"
        viewer = Viewer(name, self._world.ws_url, session_id, self.history, self._random(name), dialect=V1)
        viewer.cursor = {"epoch": "", "offset": 0}
        end = {"epoch": state["epoch"], "offset": state["offset"]}
        async with limited(PEACE_SECONDS, lambda: f"all of {session_id} read: {end} wanted, {viewer.cursor} reached"):
            staying = asyncio.create_task(viewer.stay(lambda: viewer.cursor == end))
            while viewer.cursor != end:
                await asyncio.sleep(LOOK_SECONDS / 4)
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)

    async def _look_at_workers(self) -> None:
        for worker in self._world.workers:
            await self._until_idle(worker)
            if wrong := Scrape(await self._world.get(f"{worker.http_url}/metrics")).wrong():
                self.history.add("leftover", what=f"what must stay 0: {wrong}")
            if "Traceback" in worker.output():
                self.history.add("leftover", what="a traceback: " + worker.output().partition("Traceback")[2][-1500:])

    async def _until_idle(self, worker: Process) -> None:
        left = ["everything"]
        async with limited(PEACE_SECONDS, lambda: f"gone from a worker: {left}"):
            while left := self._busy_gauges(await self._world.get(f"{worker.http_url}/metrics")):
                await asyncio.sleep(LOOK_SECONDS)

    @staticmethod
    def _busy_gauges(metrics: str) -> list[str]:
        names = ("gateway_sockets", "gateway_turns_running", "gateway_event_streams")
        return [line for line in metrics.splitlines() if line.startswith(names) and not line.endswith(" 0.0")]

    async def _look_at_store(self, servers: list[Redis]) -> None:
        for redis in servers:
            for key in [key async for key in redis.scan_iter()]:
                if not INDEX.fullmatch(key) and await redis.pttl(key) == -1:
                    self.history.add("leftover", what=f"{key.decode()} has no TTL")
                if b"}:s:" in key and await redis.hget(key, "running"):
                    self.history.add("leftover", what=f"a lease in {key.decode()}")
        await self._expect("indexes of work that are not empty", partial(self._busy_indexes, servers), 0)
        at_most = self._workers * self._store.connections_each
        await self._expect("connections to the store", partial(self._connections, servers), at_most)

    @staticmethod
    def _client_of(server: Valkey) -> Redis:
        return Redis.from_url(server.url, socket_timeout=PEACE_SECONDS)

    @staticmethod
    async def _busy_indexes(servers: list[Redis]) -> int:
        return len([key for redis in servers async for key in redis.scan_iter("*}:w")])

    @staticmethod
    async def _connections(servers: list[Redis]) -> int:
        """Count them, without our own and those of nodes of a cluster among each other."""
        kinds = ("normal", "pubsub")
        return sum([len(await redis.client_list(kind)) for redis in servers for kind in kinds]) - len(servers)

    async def _expect(self, what: str, count: Callable[[], Awaitable[int]], at_most: int) -> None:
        """Wait until there are so few; what is too much after a while is left over."""
        give_up_at = asyncio.get_running_loop().time() + PEACE_SECONDS
        while (found := await count()) > at_most:
            if asyncio.get_running_loop().time() > give_up_at:
                self.history.add("leftover", what=f"{found} {what}")
                return
            await asyncio.sleep(LOOK_SECONDS)
