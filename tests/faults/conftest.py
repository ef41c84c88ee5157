"""Two gateways over one store, each a process of its own."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack

import pytest

from tests import processes
from tests.clients import V1, SocketClient
from tests.faults.valkey import Valkey


class Cluster:
    """Gateways, the store and the agent."""

    def __init__(self, valkey: Valkey, agent: processes.Process, gateways: list[processes.Process]) -> None:
        self.valkey = valkey
        self.gateways = gateways
        self._agent = agent

    def open(self, gateway: int, session_id: str, query: str = "") -> SocketClient:
        return SocketClient(f"{self.gateways[gateway].ws_url}/ws/{session_id}/?{query}", [V1])

    def asked(self, session_id: str) -> int:
        """How often was the agent asked in a session?"""
        with urllib.request.urlopen(f"{self._agent.http_url}/requests") as response:
            requests = json.load(response)["requests"]
        return sum(request["json"]["session_id"] == session_id for request in requests)


@pytest.fixture
def cluster(scripted_agent):
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey(persistent=True))
        gateways = []
        for _ in range(2):
            settings = {"REDIS_URL": valkey.url, "HEARTBEAT_SECONDS": "1", "LEASE_SECONDS": "2"}
            settings |= {"INTERNAL_API_KEY": processes.KEY, "AGENT_URL": scripted_agent.http_url}
            env = {f"GATEWAY__{name}": value for name, value in settings.items()}
            gateway = processes.Process(
                processes.SERVERS["uvicorn"], DJANGO_SETTINGS_MODULE="tests.faults.settings", **env
            )
            gateways.append(stack.enter_context(gateway))
        yield Cluster(valkey, scripted_agent, gateways)
        for gateway in gateways:
            assert "Traceback" not in gateway.output(), gateway.output()
