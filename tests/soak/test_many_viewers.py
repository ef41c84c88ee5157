"""Two thousand viewers on two workers: few connections to the store, one replay, bounded memory."""

import asyncio
import json
import resource
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from scripts.balancer import Balancer
from tests import processes, scraping
from tests.clients import V1
from tests.faults.valkey import Valkey

VIEWERS = 2_000
SESSIONS = 4
TOKENS = 1_500
PAGES = TOKENS // 256 + 1
CONNECTIONS_EACH = 5  # docs/design/scale.md
VIEWER_BYTES = 200_000  # of a worker's memory: socket, consumer, tasks, and what is on its way
OPENING = 50  # at a time, as browsers' jitter does


@pytest.fixture(autouse=True)
def enough_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Watcher:
    """A viewer that keeps nothing but the number of tokens it saw; it comes back with its cursor."""

    def __init__(self, url, session_id):
        self._url = f"{url}/ws/{session_id}/"
        self.cursor = "offset=0"
        self.returns = 0  # how often it was sent away
        self.connection = None

    async def open(self):
        self.connection = await connect(
            f"{self._url}?coalesce=1&{self.cursor}", subprotocols=[V1], proxy=None, compression=None, open_timeout=60
        )

    async def see(self, offset):
        """Read until the frame at this offset."""
        async with asyncio.timeout(60):
            while True:
                frame = json.loads(await self.connection.recv())
                if frame["type"] == "disconnect":
                    await self._come_back(frame)
                    continue
                if frame["type"] == "welcome":
                    assert frame["recovered"]
                    epoch, seen = frame["epoch"], frame["after"]
                elif "turn_id" in frame and "offset" in frame:
                    assert frame.get("from_offset", frame["offset"]) == seen + 1
                    seen = frame["offset"]
                if seen == offset:
                    self.cursor = f"epoch={epoch}&offset={seen}"
                    return

    async def _come_back(self, disconnect_frame):
        """Do as the gateway says, as every client does; in an hour of need it may say so."""
        assert disconnect_frame["reconnect"], disconnect_frame
        assert disconnect_frame["code"] == "store_unavailable", disconnect_frame
        self.returns += 1
        await asyncio.sleep(disconnect_frame["delay_ms"] / 1_000)
        await self.open()


def memory_bytes(gateway):
    statm = Path(f"/proc/{gateway.pid}/statm").read_text()
    return int(statm.split()[1]) * resource.getpagesize()


async def together(calls):
    """Make calls, some at a time."""
    turnstile = asyncio.Semaphore(OPENING)

    async def one(call):
        async with turnstile:
            await call

    await asyncio.gather(*map(one, calls))


async def come(connections, offset):
    await together(connection.open() for connection in connections)
    await asyncio.gather(*(connection.see(offset) for connection in connections))


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_two_thousand_come_back_after_a_restart_of_the_balancer():
    async with AsyncExitStack() as stack:
        valkey, agent = stack.enter_context(Valkey()), stack.enter_context(processes.agent("scripted"))
        settings = {"REDIS_URL": valkey.url, "LOG_LEVEL": "WARNING"}
        gateways = [stack.enter_context(processes.gateway("serve", agent.http_url, **settings)) for _ in range(2)]
        balancer = await stack.enter_async_context(Balancer([gateway.port for gateway in gateways]))
        url = f"ws://127.0.0.1:{balancer.port}"
        end = TOKENS + 2
        sessions = [f"many-{number}" for number in range(SESSIONS)]
        first = [Watcher(url, session_id) for session_id in sessions]
        for connection in first:
            await connection.open()
            message = {"type": "user_message", "content": f"script:distinct {TOKENS} x"}
            await connection.connection.send(json.dumps(message))
            await connection.see(end)
            await connection.connection.close()
        empty = [memory_bytes(gateway) for gateway in gateways]
        before = [await asyncio.to_thread(scraping.scrape, gateway.http_url) for gateway in gateways]

        connections = [Watcher(url, sessions[number % SESSIONS]) for number in range(VIEWERS)]
        await come(connections, end)
        full = [memory_bytes(gateway) for gateway in gateways]
        async with Redis.from_url(valkey.url) as redis:
            to_store = len(await redis.client_list()) - 1

        await balancer.stop()
        for connection in connections:
            connection.cursor = "offset=0"  # a reload: everything is asked for again
            connection.connection.transport.abort()
        await balancer.start()
        await come(connections, end)
        again = [memory_bytes(gateway) for gateway in gateways]
        after = [await asyncio.to_thread(scraping.scrape, gateway.http_url) for gateway in gateways]
        for connection in connections:
            connection.connection.transport.abort()

    reads = [
        change['gateway_store_call_duration_seconds_count{call="read"}']
        for change in (now.since(then) for now, then in zip(after, before, strict=True))
    ]
    growth = [(most - least) / (VIEWERS / 2) for most, least in zip(again, empty, strict=True)]
    print(
        f"{VIEWERS} viewers on 2 workers: {to_store} connections to the store; reads for each worker, {SESSIONS}"
        f" sessions of {PAGES} pages, coming twice: {reads}; memory for each viewer: {growth} bytes;"
        f" memory before, with all, with all again: {empty}, {full}, {again};"
        f" sent away and come back: {sum(connection.returns for connection in connections)}"
    )
    assert to_store <= 2 * CONNECTIONS_EACH
    assert all(0 < count <= 2 * 3 * SESSIONS * (PAGES + 4) for count in reads)
    assert all(each < VIEWER_BYTES for each in growth)
