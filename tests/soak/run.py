"""A run: sessions that talk, viewers that come and go, a fault every few seconds; then peace, and a last look."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from random import Random

from redis.asyncio import Redis

from tests.clients import V1
from tests.scraping import Scrape
from tests.soak.history import History
from tests.soak.viewers import Talker, Viewer
from tests.soak.world import CONNECTIONS_EACH, INDEXES, LEASE_SECONDS, World

PEACE_SECONDS = 60.0  # in which everything must come to its end once nothing breaks any more
LEFT_SECONDS = 10.0  # for what has ended to be gone from the store: a line's end passes through a gate
LOOK_SECONDS = 0.2


class Run:
    """One run of so many turns; everything that is chosen comes from the seed."""

    def __init__(self, seed: int, *, turns: int, sessions: int, workers: int = 3, fault_seconds: float = 2.0) -> None:
        self.history = History()
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
        return f"seed {self._seed}, {self._turns} turns in {len(self._sessions)} sessions on {self._workers} workers"

    async def play(self) -> History:
        """Let it all happen."""
        async with World(self._workers, self.history) as self._world:
            crowd = [asyncio.create_task(self._visit(session_id, n)) for session_id in self._sessions for n in range(2)]
            faults = asyncio.create_task(self._break_things())
            self._talkers = [self._talker(session_id) for session_id in self._sessions]
            staying = [asyncio.create_task(talker.stay(lambda: self._is_over)) for talker in self._talkers]
            await asyncio.gather(*(self._talk(talker) for talker in self._talkers))
            self._is_breaking = False
            await faults  # the world is whole after each: wait for the last
            await self._come_to_rest()
            self._is_over = True
            for task in (*crowd, *staying):
                task.cancel()
            await asyncio.gather(*crowd, *staying, return_exceptions=True)
            await self._look_at_everything()
        return self.history

    # What happens.

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
            content = f"script:distinct {count} {message} delay={delay}"
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
        try:
            async with asyncio.timeout(PEACE_SECONDS):
                for session_id in self._sessions:
                    while await self._is_busy(session_id):
                        await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            self.history.add("leftover", what=f"work in {session_id}, {PEACE_SECONDS} s after the last fault")
        for talker in self._talkers:
            if talker.is_waiting:
                self.history.add("leftover", what=f"{talker.name} was never answered")

    async def _is_busy(self, session_id: str) -> bool:
        try:
            state = await self._world.state(session_id)
        except OSError:
            return True
        return bool(state["active"] or state["queued"]) or any(talker.is_waiting for talker in self._talkers)

    async def _look_at_everything(self) -> None:
        for session_id in self._sessions:
            await self._read_log(session_id)
        for turn, content in await self._world.asked():
            self.history.add("asked", turn=turn, content=content)
        await self._look_at_workers()
        async with Redis.from_url(self._world.valkey.url) as redis:
            await self._look_at_store(redis)
            await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in self._world.workers))
            await self._expect("connections after the workers have gone", partial(self._connections, redis), 0)

    async def _read_log(self, session_id: str) -> None:
        """A last viewer reads all that is kept, so that every end has been seen by somebody."""
        state = await self._world.state(session_id)
        name = f"{session_id}-last"
        viewer = Viewer(name, self._world.ws_url, session_id, self.history, self._random(name), dialect=V1)
        viewer.cursor = {"epoch": "", "offset": 0}
        end = {"epoch": state["epoch"], "offset": state["offset"]}
        async with asyncio.timeout(PEACE_SECONDS):
            staying = asyncio.create_task(viewer.stay(lambda: viewer.cursor == end))
            while viewer.cursor != end:
                await asyncio.sleep(LOOK_SECONDS / 4)
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)

    async def _look_at_workers(self) -> None:
        for worker in self._world.workers:
            async with asyncio.timeout(PEACE_SECONDS):
                while left := self._busy_gauges(await self._world.get(f"{worker.http_url}/metrics")):
                    await asyncio.sleep(LOOK_SECONDS)
            del left
            if wrong := Scrape(await self._world.get(f"{worker.http_url}/metrics")).wrong():
                self.history.add("leftover", what=f"what must stay 0: {wrong}")
            if "Traceback" in worker.output():
                self.history.add("leftover", what="a traceback: " + worker.output().partition("Traceback")[2][-1500:])

    @staticmethod
    def _busy_gauges(metrics: str) -> list[str]:
        names = ("gateway_sockets", "gateway_turns_running", "gateway_event_streams")
        return [line for line in metrics.splitlines() if line.startswith(names) and not line.endswith(" 0.0")]

    async def _look_at_store(self, redis: Redis) -> None:
        for key in [key async for key in redis.scan_iter()]:
            if key not in INDEXES and await redis.pttl(key) == -1:
                self.history.add("leftover", what=f"{key.decode()} has no TTL")
            if key.startswith(b"relay:0:s:") and await redis.hget(key, "running"):
                self.history.add("leftover", what=f"a lease in {key.decode()}")
        await self._expect("sessions in the index of work", partial(redis.zcard, "relay:0:w"), 0)
        connections = partial(self._connections, redis)
        await self._expect("connections to the store", connections, self._workers * CONNECTIONS_EACH)

    @staticmethod
    async def _connections(redis: Redis) -> int:
        return len(await redis.client_list()) - 1  # less our own

    async def _expect(self, what: str, count: Callable[[], Awaitable[int]], at_most: int) -> None:
        """Wait until there are so few; what is too much after a while is left over."""
        give_up_at = asyncio.get_running_loop().time() + LEFT_SECONDS
        while (found := await count()) > at_most:
            if asyncio.get_running_loop().time() > give_up_at:
                self.history.add("leftover", what=f"{found} {what}")
                return
            await asyncio.sleep(LOOK_SECONDS)
