"""What ends a turn whose agent continues without a connection: the agent is told to stop, or the run is handed over."""

from __future__ import annotations

import asyncio

import pytest

from relay.testing.turns import LEASE_SECONDS, S, log
from relay.turns import on_disconnect, runner
from relay.turns.on_disconnect import DisconnectPolicy
from tests.faults.going_on import LOG, agent, configured, layer, started, store, taken_over, until, workers

__all__ = ["agent", "configured", "layer", "store", "workers"]


async def unwatched(layer):
    """Let the last viewer leave for longer than a reload takes."""
    policy = DisconnectPolicy(layer)
    policy.last_viewer_left(S)
    await asyncio.gather(*policy._waiting)


def limits_of_turns(monkeypatch):
    """The limits on the time of turns, as they are set; so that a test can let one be over."""
    limits = []
    timeout_at = asyncio.timeout_at

    def note(when):
        limits.append(timeout_at(when))
        return limits[-1]

    monkeypatch.setattr(runner.asyncio, "timeout_at", note)
    return limits


WAYS = {
    "cancel": (lambda layer: layer.cancel(S), "final:cancelled"),
    "delete": (lambda layer: layer.delete(S), None),
    "unwatched": (unwatched, "final:cancelled"),
    "timeout": (None, "error:turn_timeout"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_end_of_a_turn_that_is_without_a_connection_reaches_the_agent(
    layer, agent, workers, configured, monkeypatch, way
):
    worker, _ = workers
    worker.layer.survives_process = layer.survives_process  # else the worker restores what was deleted
    monkeypatch.setattr(on_disconnect, "GRACE_SECONDS", 0.0)
    end, told = WAYS[way]
    configured(ON_DISCONNECT="cancel")
    limits = limits_of_turns(monkeypatch)

    async def is_limited():  # a turn's limit is set a moment after its start
        return limits

    agent.refusals = [503] * 100_000
    await started(layer, agent, worker, 2)
    agent.cut()
    await agent.until(lambda: len(agent.rejoins) > 1)
    if end:
        await end(layer)
    else:
        await until(is_limited)
        limits[0].reschedule(0)
    await worker.idle()
    await worker.client.close()
    if told is None:
        assert await layer.get(S) is None
    else:
        assert await log(layer) == [*LOG[:3], told]
    assert (len(agent.asks), len(agent.stops)) == (1, 1)


async def test_a_process_that_ends_tells_the_agent_where_no_other_can_read_its_run_on(layer, agent, workers):
    worker, _ = workers
    worker.layer.survives_process = False
    agent.refusals = [503] * 100_000
    await started(layer, agent, worker, 2)
    agent.cut()
    await agent.until(lambda: agent.rejoins)
    await worker.runner.stop()
    assert await log(layer) == [*LOG[:3], "error:shutting_down"]
    assert (len(agent.asks), len(agent.stops)) == (1, 1)


async def test_a_process_that_ends_hands_over_a_run_that_is_without_a_connection(layer, agent, workers):
    ending, living = workers
    agent.refusals = [503] * 100_000
    await started(layer, agent, ending, 2)
    agent.cut()
    await agent.until(lambda: agent.rejoins)
    async with asyncio.timeout(LEASE_SECONDS / 2):
        await ending.runner.drain(asyncio.Event())
    agent.refusals = []
    agent.go_on.set()
    living.runner.wake(S)
    await living.idle()
    assert await log(layer) == LOG
    assert (len(agent.asks), agent.stops) == (1, [])


async def test_a_turn_that_was_stopped_meanwhile_is_not_read_on_and_the_agent_is_told(store, layer, agent, workers):
    dying, living = workers
    await started(layer, agent, dying, 2)
    await dying.die()
    await layer.cancel(S)
    await taken_over(store, living)
    await living.idle()
    await living.client.close()
    assert await log(layer) == [*LOG[:3], "final:cancelled"]
    assert (agent.rejoins, len(agent.stops)) == ([], 1)


@pytest.mark.parametrize("left_seconds", [1, 0, -5])
async def test_the_limit_on_a_turn_counts_from_its_first_worker(store, layer, agent, workers, configured, left_seconds):
    configured(TURN_TIMEOUT=str(LEASE_SECONDS + left_seconds))
    dying, living = workers
    await started(layer, agent, dying, 2)
    await dying.die()
    await taken_over(store, living)
    await living.idle()
    await living.client.close()
    assert await log(layer) == [*LOG[:3], "error:turn_timeout"]
    assert (len(agent.asks), len(agent.stops)) == (1, 1)
