"""A gateway that speaks the protocols of other front ends, and their own packages before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.front_ends import node, tanstack

KEY = {"X-Internal-Auth": processes.KEY}
ADAPTERS = {
    "ADAPTERS": "ai-sdk,ag-ui,openai",
    "FORWARD_TYPES": "hitl_decision",
    "MAX_MESSAGE_BYTES": "4096",
    "HEARTBEAT_SECONDS": "0.5",
}

Asked = Callable[[str], int]
Post = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _installed() -> None:
    if (reason := node.lacks()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module", params=processes.servers_under_test("serve"))
def gateway(request: pytest.FixtureRequest, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway(request.param, scripted_agent.http_url, **ADAPTERS) as gateway:
        yield gateway


@pytest.fixture
def mortal(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway that a test may kill."""
    with processes.gateway("serve", scripted_agent.http_url, **ADAPTERS) as gateway:
        yield gateway


@pytest.fixture
def session_id() -> str:
    return uuid4().hex


@pytest.fixture
def times_asked(scripted_agent: processes.Process) -> Callable[[str], int]:
    """How often the agent was asked for something in particular."""

    def count(content: str) -> int:
        known = json.loads(get(f"{scripted_agent.http_url}/requests"))["requests"]
        return sum(request["json"].get("content") == content for request in known)

    return count


@pytest.fixture
def open_gate(scripted_agent: processes.Process) -> Callable[[str], object]:
    return lambda name: get(f"{scripted_agent.http_url}/open/{name}")


def get(url: str) -> str:
    return httpx.get(url, headers=KEY, timeout=LIMIT_SECONDS, trust_env=False).text


def post(url: str) -> Any:
    return httpx.post(url, headers=KEY, timeout=LIMIT_SECONDS, trust_env=False).json()


@pytest.fixture(params=[tanstack.HTTP, tanstack.SOCKET], ids=["HTTP", "WebSocket"])
def transport(request: pytest.FixtureRequest) -> tanstack.Transport:
    """TanStack AI's way to the gateway."""
    return request.param
