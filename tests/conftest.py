"""Fixtures for every layer of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import processes


@pytest.fixture(scope="module")
def demo_agent() -> Iterator[processes.Process]:
    """The demo agent, quick."""
    with processes.agent("demo") as agent:
        yield agent


@pytest.fixture(scope="module")
def scripted_agent() -> Iterator[processes.Process]:
    """The scripted agent in its own process: the message says what it does."""
    with processes.agent("scripted") as agent:
        yield agent


@pytest.fixture
def gateway(demo_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway under daphne before the demo agent, with the chat page; it may be killed and restarted."""
    with processes.gateway("daphne", demo_agent.http_url, CHAT_PAGE="true", HEARTBEAT_SECONDS="1") as gateway:
        yield gateway
