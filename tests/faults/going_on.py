"""Workers that die or stand still before an agent that keeps its runs: helpers and fixtures of ``test_going_on…``."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from relay.agent import protocols, rejoining
from relay.agent.client import AgentClient
from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.testing.turns import LEASE_SECONDS, LIMIT_SECONDS, S, enqueue
from relay.transcripts.history import History
from relay.transcripts.writer import Transcripts
from relay.turns.runner import Runner
from relay.turns.tracing import Tracing
from relay.webhooks.sender import Webhooks
from tests.buffer.stores import STORES
from tests.resumable_agent import ResumableAgent

VALUES = [
    {"type": "assistant_message", "token": "a "},
    {"type": "reasoning", "token": "hm"},
    {"type": "tool_call", "call_id": "c", "tool_name": "pay", "arguments": {}, "requires_approval": True},
    {"type": "assistant_message", "token": "b"},
    {"type": "assistant_message", "token": "c", "is_final": True},
]
LOG = ["user:hi", "token:a ", "event:reasoning", "event:tool_call", "token:b", "token:c", "final:stop"]


class Mortal:
    """A worker's way to the store. ``positions``: how many appends have told one without frames."""

    survives_process = True

    def __init__(self, layer):
        self._layer = layer
        self.is_dead = False
        self.positions = 0

    def __getattr__(self, name):
        found = getattr(self._layer, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, found, *arguments):
        return _refuse() if self.is_dead else found(*arguments)

    def append_nowait(self, *arguments):
        return not self.is_dead and self._layer.append_nowait(*arguments)

    async def append(self, turn, frames, position=None):
        if self.is_dead:
            raise StoreUnavailable
        await self._layer.append(turn, frames, position)
        self.positions += not frames


async def _refuse():
    raise StoreUnavailable


class Worker:
    """A runner of turns, and what it needs."""

    def __init__(self, layer, agent=None, *, protocol="agent"):
        self.layer = Mortal(layer)
        self.client = agent or AgentClient(protocols.load(protocol))
        transcripts = Transcripts()
        history = History(self.layer, transcripts)
        webhooks = Webhooks(layer.outbox, survives_process=True)
        self.runner = Runner(self.layer, self.client, transcripts, history, Tracing(), webhooks)

    async def die(self):
        """End at once, and do nothing more."""
        self.layer.is_dead = self.layer.survives_process = True
        self.client._send_stop = _ignore
        await self.runner.stop()

    async def idle(self):
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.runner._wait_idle()


async def _ignore(request):
    """Send nothing."""


@pytest.fixture(params=sorted(STORES))
async def store(request):
    store = STORES[request.param]()
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def configured(monkeypatch, settings):
    monkeypatch.setattr(rejoining, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(rejoining, "LONGEST_PAUSE_SECONDS", 0.01)

    def change(**texts):
        settings.GATEWAY = {**settings.GATEWAY, **texts}

    return change


@pytest.fixture
async def agent(configured):
    async with ResumableAgent(VALUES) as agent:
        configured(AGENT_URL=agent.url)
        yield agent


@pytest.fixture
async def layer(store):
    return await store.layer(Bounds(lease_seconds=LEASE_SECONDS))


@pytest.fixture
async def workers(store, layer):
    """Two workers, each with a layer of its own where the store allows it."""
    workers = [Worker(layer), Worker(await store.peer())]
    yield workers
    for worker in workers:
        await worker.die()


async def until(condition):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await condition():
            await asyncio.sleep(0.001)


async def started(layer, agent, worker, events):
    """A turn of which the worker has stored so many events, and the agent waits."""
    agent.hold_after = events
    await enqueue(layer)
    worker.runner.wake(S)

    async def is_there():
        state = await layer.get(S)
        return worker.layer.positions and state.newest == 1 + events

    await until(is_there)


async def taken_over(store, worker):
    """Let the lease run out, and another worker have the turn."""
    await store.advance(LEASE_SECONDS)
    worker.runner.wake(S)
