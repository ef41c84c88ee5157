"""Real servers before a real agent. No test looks at which server it is; some name what it needs of one."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import processes
from tests.clients import V1, SocketClient

Open = Callable[..., SocketClient]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a server under test cannot do."""
    left_out = [item for item in items if needs(item) & processes.LACKS.get(server_of(item), set())]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def needs(item: pytest.Item) -> set[str]:
    return {need for mark in item.iter_markers("needs") for need in mark.args}


def server_of(item: pytest.Item) -> str:
    return item.callspec.params.get("server", "") if hasattr(item, "callspec") else ""


@pytest.fixture(scope="module", params=processes.servers_under_test("serve", "uvicorn"))
def server(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def service(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway with small limits before the scripted agent."""
    settings = {
        "MAX_EVENT_BYTES": "65536",
        "MAX_TURN_BYTES": "1000000",
        "HEARTBEAT_SECONDS": "0.5",
        "FORWARD_TYPES": "tool_result",
    }
    with processes.gateway(server, scripted_agent.http_url, **settings) as gateway:
        yield gateway


@pytest.fixture
def plain(service: processes.Process) -> Open:
    return lambda session_id: SocketClient(f"{service.ws_url}/ws/{session_id}/")


@pytest.fixture
def v1(service: processes.Process) -> Open:
    def open_socket(session_id: str, query: str = "", **options: Any) -> SocketClient:
        return SocketClient(f"{service.ws_url}/ws/{session_id}/?{query}", [V1], **options)

    return open_socket


@pytest.fixture
def asked(scripted_agent: processes.Process) -> Callable[[str], list[dict[str, Any]]]:
    """What the agent was asked in a session."""

    def requests(session_id: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{scripted_agent.http_url}/requests") as response:
            known = json.load(response)["requests"]
        return [request for request in known if request["json"]["session_id"] == session_id]

    return requests
