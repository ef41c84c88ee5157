"""Real servers that keep their runs: a connection is cut behind any piece of an answer, and the answer is the same."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import aclosing
from itertools import groupby
from uuid import uuid4

import httpx
import pytest

from relay.agent import client, protocols, rejoining
from relay.agent.client import AgentClient
from relay.layers.values import Turn, new_id
from relay.protocol.frames import FrameKind
from tests import processes
from tests.agents import kinds
from tests.agents.cutting_proxy import CuttingProxy
from tests.clients import LIMIT_SECONDS
from tests.front_ends import node

SERVERS = ["langgraph", "a2a"]


@pytest.fixture(scope="module", params=SERVERS)
def kind(request):
    return kinds.KINDS[request.param]


@pytest.fixture
async def proxy(kind, start_agent, settings, monkeypatch):
    monkeypatch.setattr(rejoining, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(client, "WHOLE_PAUSE_SECONDS", 0.05)
    async with CuttingProxy(start_agent(kind).port) as proxy:
        further = {name: value for name, value in kind.settings.items() if name != "FORWARD_TYPES"}
        settings.GATEWAY = {**settings.GATEWAY, **further, "AGENT_URL": proxy.url}
        yield proxy


async def answer(protocol, message):
    """Ask a question of its own. Returns the frames, with neighbouring texts as one."""
    client = AgentClient(protocols.load(protocol))
    turn = Turn(str(uuid4()), new_id(), "lease", {"type": "user_message", "content": message})
    frames = []
    async with asyncio.timeout(LIMIT_SECONDS), aclosing(client.ask(turn).batches()) as batches:
        async for batch in batches:
            frames += batch
    found = []
    for is_token, run in groupby(frames, lambda frame: frame.kind is FrameKind.TOKEN):
        made = list(run)
        found += ["".join(frame.token_text for frame in made)] if is_token else [frame.kind for frame in made]
    return found


@pytest.mark.parametrize("message", ["hello", "slowly"])
async def test_an_answer_that_is_cut_is_the_same(kind, proxy, message):
    """Whether its run has ended meanwhile, or is at work."""
    protocol = kind.settings["AGENT_PROTOCOL"]
    expected = await answer(protocol, message)
    assert expected[-1] is FrameKind.FINAL
    for cut in [700, 1_100, 1_700, 2_500, *([4_000] if message == "hello" else range(3_000, 9_000, 700))]:
        proxy.sent.clear()
        proxy.cut_after = cut
        assert await answer(protocol, message) == expected, f"cut behind {cut} bytes"
        assert proxy.cut_after is None
        assert proxy.sent.count(message.encode()) == 1


@pytest.fixture(scope="module")
def tanstack():
    """TanStack AI's server side, which keeps runs and knows ``Last-Event-ID``."""
    if (reason := node.lacks()) is not None:
        pytest.fail(reason)
    program = processes.Process([str(node.FOLDER / "agents/tanstack.js"), "{port}"], "/", python=shutil.which("node"))
    with program:
        yield program


@pytest.mark.parametrize("message", ["hello", "slowly"])
async def test_an_ag_ui_agent_that_keeps_its_runs_is_asked_once(tanstack, settings, monkeypatch, message):
    monkeypatch.setattr(rejoining, "FIRST_PAUSE_SECONDS", 0.0)
    async with CuttingProxy(tanstack.port) as proxy:
        settings.GATEWAY = {**settings.GATEWAY, "AGENT_URL": proxy.url, "AGENT_RESUMES": "true"}
        expected = await answer("agui", message)
        assert expected[-2:] == [FrameKind.EVENT, FrameKind.FINAL]
        before = httpx.get(tanstack.http_url, timeout=LIMIT_SECONDS).text
        cuts = range(420, 3_400, 97)
        for cut in cuts:
            proxy.cut_after = cut
            assert await answer("agui", message) == expected, f"cut behind {cut} bytes"
            assert proxy.cut_after is None
        assert int(httpx.get(tanstack.http_url, timeout=LIMIT_SECONDS).text) == int(before) + len(cuts)
