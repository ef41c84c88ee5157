"""Each agent protocol behind a runner and a store: a worker dies or ends behind any event, and another continues."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from relay.testing.turns import LEASE_SECONDS, enqueue, log, whole_log
from tests.faults.going_on import Worker, configured, layer, store, until
from tests.resumable_agent import ResumableAgent, held_behind
from tests.unit.agent.test_rejoining_protocols import AGUI, KINDS, AgUi, frames_behind
from tests.unit.agent.test_rejoining_tasks import TASK, Tasks, merged, piece

__all__ = ["configured", "layer", "store"]

WHOLE = "whole"


class AnyAgUi(AgUi):
    """Of any run."""

    def kind(self, asked):
        return "rejoin" if "last-event-id" in asked.headers else "ask"


@asynccontextmanager
async def running(store, layer, configured, protocol, dialect, values):
    """An agent and two workers; the first one has read the answer of session ``3`` up to the third event, and so on.

    Gives them, the sessions, and the frames of a whole answer.
    """
    async with ResumableAgent(values, dialect(), hold_after=held_behind) as agent:
        configured(AGENT_URL=agent.url, AGENT_PROTOCOL=protocol, AGENT_RESUMES="true")
        first, second = (Worker(each, protocol=protocol) for each in (layer, await store.peer()))
        await enqueue(layer, session_id=WHOLE)
        second.runner.wake(WHOLE)
        await second.idle()
        sessions = [str(place) for place in range(protocol != "agent", len(values))]
        for session_id in sessions:
            await enqueue(layer, f"wait behind {session_id}", session_id=session_id)
            first.runner.wake(session_id)
            frames = frames_behind(protocol, agent, int(session_id))
            await until(lambda: _has(layer, first, session_id, 1 + frames))  # noqa: B023 - called here
        yield agent, first, second, sessions, await said(layer, WHOLE)
        for worker in (first, second):
            await worker.die()


async def _has(layer, worker, session_id, newest):
    """Has an answer been read and stored so far, with its position if its run has any?"""
    recorder, answer = worker.runner._answers.get(session_id, (None, None))
    run = answer and answer._events.run
    is_stored = run is not None and (recorder.is_resumable or run.position is None)
    return is_stored and (await layer.get(session_id)).newest == newest


async def said(layer, session_id):
    """The frames of the answer in a log."""
    return [(frame.kind, frame.body, frame.members) for frame in (await whole_log(layer, session_id))[1:]]


async def goes(way, store, worker):
    """Let a worker die, or end."""
    if way == "dies":
        await worker.die()
        await store.advance(LEASE_SECONDS)
    else:
        await worker.runner.drain(asyncio.Event())


async def run(worker, sessions):
    for session_id in sessions:
        worker.runner.wake(session_id)
    await worker.idle()


@pytest.mark.parametrize("way", ["dies", "ends"])
@pytest.mark.parametrize("kind", KINDS)
async def test_another_worker_continues_behind_any_event(store, layer, configured, kind, way):
    async with running(store, layer, configured, *KINDS[kind]) as (agent, first, second, sessions, whole):
        await goes(way, store, first)
        await run(second, sessions)
        for session_id in sessions:
            assert await said(layer, session_id) == whole, f"behind {session_id} events"
        assert (len(agent.asks), len(agent.rejoins), agent.stops) == (1 + len(sessions), len(sessions), [])


async def test_task_that_has_ended_meanwhile_is_read_as_a_whole(store, layer, configured):
    """Its server refuses to let it be rejoined."""
    values = [TASK[0], piece({"text": "a "}, append=False), *map(piece, [{"text": "größer "}, {"text": "b"}]), TASK[-1]]
    async with running(store, layer, configured, "a2a", Tasks, values) as (agent, first, second, sessions, whole):
        await first.die()
        await store.advance(LEASE_SECONDS)
        agent.refusals = [404] * len(sessions)
        await run(second, sessions)
        for session_id in sessions:
            assert merged(await said(layer, session_id)) == merged(whole), f"behind {session_id} events"
        assert (len(agent.asks), len(agent.results), agent.stops) == (1 + len(sessions), len(sessions), [])


async def test_ag_ui_run_continues_over_another_connection(store, layer, configured):
    async with running(store, layer, configured, "agui", AnyAgUi, AGUI) as (agent, first, _, sessions, whole):
        agent.cut()
        await first.idle()
        for session_id in sessions:
            assert await said(layer, session_id) == whole, f"behind {session_id} events"
        assert (len(agent.asks), len(agent.rejoins)) == (1 + len(sessions), len(sessions))


async def test_ag_ui_run_is_sent_to_no_agent_again_by_another_worker(store, layer, configured):
    async with running(store, layer, configured, "agui", AnyAgUi, AGUI) as (agent, first, second, sessions, _):
        await first.die()
        await store.advance(LEASE_SECONDS)
        await run(second, sessions)
        for session_id in sessions:
            assert (await log(layer, session_id))[-1] == "error:interrupted"
        assert (len(agent.asks), agent.rejoins) == (1 + len(sessions), [])
