"""An agent's question outlives the worker that has asked it, and is answered once, whichever workers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from relay.layers.values import new_id
from relay.testing.contract.questions import decision, question
from relay.testing.turns import S, run_queue, start, stop
from tests import processes
from tests.clients import SocketClient
from tests.faults.conftest import Cluster, running_cluster

HERE, THERE = 0, 1
APPROVE = {"type": "hitl_decision", "content": "approved", "call_id": "c1", "decision": "approve"}


@pytest.fixture
def asking_cluster(scripted_agent: processes.Process) -> Iterator[Cluster]:
    with running_cluster("serve", scripted_agent, FORWARD_TYPES="hitl_decision", LEASE_SECONDS="5") as cluster:
        yield cluster


@pytest.fixture
def s() -> str:
    return new_id()


async def decide(browser: SocketClient, message_id: str) -> str:
    """Answer. Returns ``accepted``, or the code of the refusal."""
    await browser.send({**APPROVE, "client_message_id": message_id})
    while True:
        frame = await browser.frame()
        if frame.get("client_message_id") == message_id and frame["type"] in ("accepted", "error"):
            return frame.get("code", "accepted")


async def decided_and_answered(browser: SocketClient, message_id: str) -> str:
    """Answer, and see what the agent says to the answer that counts: it may come before the outcome of this one."""
    await browser.send({**APPROVE, "client_message_id": message_id})
    outcome, is_answered = "", False
    while not (outcome and is_answered):
        frame = await browser.frame()
        assert frame["type"] != "tool_call"
        if frame.get("client_message_id") == message_id and frame["type"] in ("accepted", "error"):
            outcome = frame.get("code", "accepted")
        is_answered = is_answered or frame.get("token") == "approved"
    return outcome


async def test_of_answers_at_once_over_two_workers_one_counts(asking_cluster: Cluster, s: str):
    async with asking_cluster.open(HERE, s) as one:
        await one.say("script:ask c1")
        await one.turn()
        async with asking_cluster.open(THERE, s) as two, asking_cluster.open(THERE, s) as three:
            for browser in (two, three):
                assert [asked["call_id"] for asked in (await browser.frame())["pending"]] == ["c1"]
            deciding = (decided_and_answered(*each) for each in ((one, "a"), (two, "b"), (three, "c")))
            outcomes = await asyncio.gather(*deciding)
            assert sorted(outcomes) == ["accepted", "already_decided", "already_decided"]
    async with asking_cluster.open(THERE, s) as later:
        assert (await later.frame())["pending"] == []
    assert await asyncio.to_thread(asking_cluster.asked, s) == 2


async def test_question_of_a_worker_that_is_killed_is_answered_on_another(asking_cluster: Cluster, s: str):
    async with asking_cluster.open(THERE, s) as two:
        async with asking_cluster.open(HERE, s) as one:
            await one.say(f"script:ask c1 gate={s}")
            await one.frame_of("tool_call")
            await two.frame_of("tool_call")
            asking_cluster.gateways[HERE].kill()
        assert (await two.turn())[-1]["code"] == "interrupted"
        async with asking_cluster.open(THERE, s) as reloaded:
            assert [asked["call_id"] for asked in (await reloaded.frame())["pending"]] == ["c1"]
        assert await decided_and_answered(two, "a") == "accepted"
        assert await decide(two, "b") == "already_decided"


async def test_answer_that_waits_in_the_queue_of_a_dead_worker_is_given_by_another(asking_cluster: Cluster, s: str):
    """The repeated message has no second effect."""
    async with asking_cluster.open(THERE, s) as two:
        async with asking_cluster.open(HERE, s) as one:
            await one.say("script:ask c1")
            await one.turn()
            await one.say(f"script:tokens 2 gate={s}")
            await one.frame_of("accepted")
            assert await decide(one, "a") == "accepted"
            asking_cluster.gateways[HERE].kill()
        asking_cluster.open_gate(s)
        assert await decide(two, "a") == "accepted"
        await two.frame_of("pending_resolved")
        assert await two.answer() == "approved"
    assert await asyncio.to_thread(asking_cluster.asked, s) == 3


async def test_store_keeps_a_session_as_long_as_its_question(valkey, open_layer):
    layer = await open_layer(valkey.url, question_seconds=1_000, ttl_seconds=10)
    turn = await start(layer)
    await layer.append(turn, [question(turn)])
    await stop(layer, turn)
    keys = layer._store.keys.of_session(S).names
    async with Redis.from_url(valkey.url) as redis:
        for key in (keys.session, keys.log, keys.turns):
            assert await redis.pttl(key) > 900_000
        await layer.enqueue(S, decision("c1"))
        await run_queue(layer)
        assert 0 < await redis.pttl(keys.session) <= 11_000
