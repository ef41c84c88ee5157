"""Two gateways over one store, each a process of its own; and session layers without a gateway."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TypeVar

import pytest

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis.layer import RedisSessionLayer
from relay.management import doctor_store
from tests import processes
from tests.clients import LIMIT_SECONDS, V1, SocketClient
from tests.faults.returning_clients import ReturningClient, ReturningPlainClient
from tests.faults.valkey import Valkey
from tests.faults.valkey_cluster import ValkeyCluster
from tests.scraping import Scrape, assert_nothing_wrong, scrape

T = TypeVar("T")

PATIENT = {"REQUEST_TIMEOUT": "600"}  # an agent that stalls is not given up before its worker is killed


async def until_served(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call of a layer until the store serves it. Within a short limit, a slow moment is an outage."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


class Cluster:
    """Gateways, the store and the agent."""

    def __init__(
        self, valkey: Valkey | ValkeyCluster, agent: processes.Process, gateways: list[processes.Process]
    ) -> None:
        self.valkey = valkey
        self.gateways = gateways
        self._agent = agent
        self._asked_before = len(self._requests())  # the same agent serves every case of a file

    def open(self, gateway: int, session_id: str, query: str = "") -> SocketClient:
        return ReturningClient(f"{self._address(gateway, session_id)}?{query}", [V1])

    def open_once(self, gateway: int, session_id: str) -> SocketClient:
        """Open a client that is refused if the store is out of reach, and its messages too."""
        return SocketClient(self._address(gateway, session_id), [V1])

    def open_plain(self, gateway: int, session_id: str) -> SocketClient:
        return ReturningPlainClient(self._address(gateway, session_id))

    def open_plain_once(self, gateway: int, session_id: str) -> SocketClient:
        return SocketClient(self._address(gateway, session_id))

    def _address(self, gateway: int, session_id: str) -> str:
        return f"{self.gateways[gateway].ws_url}/ws/{session_id}/"

    def status(self, gateway: int, path: str) -> int:
        """What does a gateway answer to a probe?"""
        try:
            with urllib.request.urlopen(self.gateways[gateway].http_url + path) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    async def counted(self, gateway: int) -> Scrape:
        """What has a gateway counted since it started?"""
        return await asyncio.to_thread(scrape, self.gateways[gateway].http_url)

    async def counts(self, gateway: int, name: str) -> float:
        """Wait until a gateway has counted something: others may see it earlier. Returns how much it is then."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (count := (await self.counted(gateway))[name]):
                await asyncio.sleep(0.05)
        return count

    async def becomes_ready(self, gateway: int, wanted: bool = True) -> None:
        """Wait until a gateway says that answers can flow through it, or that they cannot."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while (await asyncio.to_thread(self.status, gateway, "/ready") == 200) is not wanted:
                await asyncio.sleep(0.05)

    def open_gate(self, name: str) -> None:
        """Let an answer go on that waits at a gate."""
        with urllib.request.urlopen(f"{self._agent.http_url}/open/{name}"):
            pass

    def asked(self, session_id: str) -> int:
        """How often was the agent asked in a session?"""
        requests = self._requests()[self._asked_before :]
        return sum(request["json"]["session_id"] == session_id for request in requests)

    def _requests(self) -> list[dict]:
        with urllib.request.urlopen(f"{self._agent.http_url}/requests") as response:
            return json.load(response)["requests"]


@contextmanager
def running_cluster(server, agent, **settings):
    with Valkey(persistent=True) as valkey, running_gateways(server, agent, valkey, [valkey.url] * 2, **settings) as it:
        yield it


@contextmanager
def running_gateways(server, agent, valkey, urls, **settings):
    """Run a gateway for each address at which it finds the store."""
    settings = {"HEARTBEAT_SECONDS": "1", **PATIENT, **settings}
    gateways = [processes.gateway(server, agent.http_url, REDIS_URL=url, **settings) for url in urls]
    with processes.running(*gateways):
        yield Cluster(valkey, agent, gateways)
        for gateway in gateways:
            assert_nothing_wrong(gateway)


@pytest.fixture(autouse=True)
def _loaded_machine(monkeypatch):
    """The doctor finds round trips slow that a machine delays which other tests keep busy."""
    monkeypatch.setattr(doctor_store, "SLOW_SECONDS", LIMIT_SECONDS)


@pytest.fixture
def valkey():
    """A store of a test's own, in memory."""
    with Valkey() as valkey:
        yield valkey


@pytest.fixture
async def open_layer():
    """Open layers on the store at an address; each is closed at the end."""
    layers = []

    async def open_one(url, **bounds):
        layers.append(RedisSessionLayer(url, Bounds(**bounds)))
        await layers[-1].start()
        return layers[-1]

    yield open_one
    for layer in layers:
        await layer.close()


@pytest.fixture(params=processes.servers_under_test("serve"))
def cluster(request, scripted_agent):
    """A cluster of a test's own, to be broken for longer than a lease, which is the default's five seconds."""
    with running_cluster(request.param, scripted_agent) as cluster:
        yield cluster


@pytest.fixture(params=processes.servers_under_test("serve"))
def patient_cluster(request, scripted_agent):
    """A cluster of a test's own, to be broken for a moment: its leases outlast that on a slow machine too."""
    with running_cluster(request.param, scripted_agent, LEASE_SECONDS="20") as cluster:
        yield cluster


@pytest.fixture(scope="module", params=processes.servers_under_test("serve"))
def calm_cluster(request, scripted_agent):
    """A cluster that all tests of a module share; its logs hold 16 frames."""
    settings = {"BUFFER_SIZE": "16", "DRAIN_SECONDS": "0", "LEASE_SECONDS": "20"}
    with running_cluster(request.param, scripted_agent, **settings) as cluster:
        yield cluster
