"""The application without a server, before a scripted agent; each test on an event loop of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.layers import channel_layers

from relay.layers.base import SessionLayer
from relay.layers.memory import MemorySessionLayer
from relay.process import lifecycle
from tests.clients import LIMIT_SECONDS, V1, CommunicatorClient
from tests.http_clients import HttpClient
from tests.scripted_agent import Final, ScriptedAgent, Token

Open = Callable[..., CommunicatorClient]
LIMITS = (  # of a few seconds, which the gateway sets to clients, the store, the agent and itself
    "relay.access.auth.ADMIT_SECONDS",
    "relay.adapters.consumer.FINISH_SECONDS",
    "relay.adapters.consumer.SAY_SECONDS",
    "relay.agent.client.STOP_SECONDS",
    "relay.agent.refusals.REFUSAL_SECONDS",
    "relay.delivery.consumer.DISCONNECT_SECONDS",
    "relay.delivery.http_stream.LEAVE_SECONDS",
    "relay.delivery.inbox.FINISH_SECONDS",
    "relay.delivery.timeouts.STORE_SECONDS",
    "relay.policies.key_set.FETCH_SECONDS",
    "relay.process.drain.LEAVE_SECONDS",
    "relay.process.heartbeats.LAYER_SECONDS",
    "relay.process.readiness.HANDSHAKE_SECONDS",
    "relay.process.readiness.LIMIT_SECONDS",
)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no limit be over because the process has stood still; a test of one sets it itself."""
    for limit in LIMITS:
        monkeypatch.setattr(limit, LIMIT_SECONDS)


@pytest.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent() as agent:
        yield agent


@pytest.fixture
async def application(agent: ScriptedAgent, settings: Any) -> AsyncIterator[Any]:
    """The ASGI application; ``configure`` first where a test needs other settings."""
    from gateway_project.asgi import application

    settings.GATEWAY = {**settings.GATEWAY, "AGENT_URL": agent.url}
    channel_layers.backends = {}
    yield application
    await lifecycle.stop()
    channel_layers.backends = {}


@pytest.fixture
def configure(application: Any, settings: Any) -> Callable[..., None]:
    """Change settings of the gateway, without their prefix."""

    def change(**texts: str) -> None:
        settings.GATEWAY = {**settings.GATEWAY, **texts}

    return change


@pytest.fixture
async def sweeping(configure: Callable[..., None]) -> None:
    """Sweep often; leases are long all the same: the layer has taken its bounds before. ``abandon`` ends one."""
    configure(LEASE_SECONDS="60")
    sweeper = (await lifecycle.current()).sweeper
    await sweeper.stop()
    configure(LEASE_SECONDS="0.5")
    sweeper.start()


def abandon(session_id: str) -> None:
    """Let the lease of a session's turn lapse, as if its worker had died a while ago."""
    layer = lifecycle.session_layer()
    assert isinstance(layer, MemorySessionLayer)
    layer._index.get(session_id).running.lease_expires_at = 0.0


@pytest.fixture
def attaching_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each viewer attach itself at its heartbeats, as with a layer that cannot do better."""
    monkeypatch.setattr(MemorySessionLayer, "keep_attached", SessionLayer.keep_attached)


@pytest.fixture
def plain(application: Any) -> Open:
    """Open a plain socket on a session."""
    return lambda session_id="s": CommunicatorClient(application, f"/ws/{session_id}/")


@pytest.fixture
def v1(application: Any) -> Open:
    """Open a ``gateway.v1`` socket on a session, at a cursor if one is given."""

    def open_socket(session_id: str = "s", query: str = "") -> CommunicatorClient:
        return CommunicatorClient(application, f"/ws/{session_id}/{query and '?' + query}", [V1])

    return open_socket


@pytest.fixture
def http(application: Any) -> HttpClient:
    """Ask over HTTP, with the internal key."""
    return HttpClient(application)


@pytest.fixture
async def ended(v1: Open, agent: ScriptedAgent, configure: Callable[..., None]) -> str:
    """A session whose log holds the last 16 of 20 frames; its epoch."""
    configure(BUFFER_SIZE="16")
    agent.script = [*(Token(f"{number} ") for number in range(18)), Final()]
    async with v1() as browser:
        epoch = (await browser.frame())["epoch"]
        await browser.say("x")
        await browser.turn()
    return epoch
