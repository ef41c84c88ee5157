"""Which script an append runs: a turn without a position pays nothing for those that have one."""

from __future__ import annotations

import asyncio

import pytest

from relay.layers.bounds import Bounds
from relay.layers.redis.append import PendingAppend
from relay.layers.redis.group_commit import GroupCommit
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.store import Store
from relay.layers.values import AgentPosition, Turn
from relay.protocol import frames


@pytest.mark.parametrize("is_asking", [False, True])
async def test_append_without_a_position_sends_what_it_always_sent(monkeypatch, is_asking):
    sent = []
    monkeypatch.setattr(
        GroupCommit, "submit", lambda self, handler, name, keys, arguments: sent.append((name, arguments))
    )
    scripts = Scripts(Bounds())
    store = Store("redis://127.0.0.1:1", "test", Bounds(), scripts)
    turn = Turn("s", "t", "lease", {})
    call = {"type": "tool_call", "call_id": "c", "tool_name": "x", "arguments": {}, "requires_approval": True}
    said = frames.event("t", call) if is_asking else frames.token("t", "a")
    await asyncio.sleep(0)
    PendingAppend(store, turn, [said], "1")
    PendingAppend(store, turn, [said], "1", position=AgentPosition("run", "7", 2))
    (name, plain), (name_at, positioned) = sent
    assert name == ("append_calls" if is_asking else "append")
    assert (name_at, positioned) == (f"{name}_at", (*plain, "run\n7\n2"))
    assert "position" not in scripts[name].text


async def test_append_without_frames_tells_no_viewer(monkeypatch):
    """There is nothing to show, and no place to show it at."""
    monkeypatch.setattr(GroupCommit, "submit", lambda self, handler, name, keys, arguments: None)
    store = Store("redis://127.0.0.1:1", "test", Bounds(), Scripts(Bounds()))
    monkeypatch.setattr(store, "feed", pytest.fail)
    turn = Turn("s", "t", "lease", {})
    pending = PendingAppend(store, turn, [], "1", position=AgentPosition("run"))
    pending.set_result([1, 5, b"epoch"])
    assert await pending.wait() == 5
    assert turn.append_number == 1
