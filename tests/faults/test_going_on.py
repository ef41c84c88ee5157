"""A worker dies, stands still or loses its turn: another reads the agent's run on, and the answer is the same."""

from __future__ import annotations

import asyncio
import logging

import pytest

from relay.agent.choice import make_agent
from relay.agent.function import FunctionAgent, Marked
from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.protocol.cursor import Cursor
from relay.testing.turns import LEASE_SECONDS, LIMIT_SECONDS, S, enqueue, gap_at, log, shown, whole_log
from tests.faults.going_on import (
    LOG,
    VALUES,
    Worker,
    agent,
    configured,
    layer,
    started,
    store,
    taken_over,
    until,
    workers,
)
from tests.resumable_agent import Dialect

__all__ = ["agent", "configured", "layer", "store", "workers"]


@pytest.mark.parametrize("events", range(len(VALUES)))
async def test_the_owner_is_killed_behind_any_event(store, layer, agent, workers, events):
    dying, living = workers
    await started(layer, agent, dying, events)
    await dying.die()
    await taken_over(store, living)
    agent.go_on.set()
    await living.idle()
    assert await log(layer) == LOG
    assert [frame.offset for frame in await whole_log(layer)] == list(range(1, len(LOG) + 1))
    assert [question.call_id for question in (await layer.get(S)).questions] == ["c"]
    assert (len(agent.asks), len(agent.rejoins), agent.stops) == (1, 1, [])


@pytest.mark.parametrize("events", range(len(VALUES)))
async def test_two_workers_read_one_run_and_one_writes(store, layer, agent, workers, events):
    """The first one stood still for longer than its lease, and goes on as if nothing had happened."""
    late, living = workers
    await started(layer, agent, late, events)
    await taken_over(store, living)
    await agent.until(lambda: agent.rejoins)
    agent.go_on.set()
    await living.idle()
    await late.idle()
    assert await log(layer) == LOG
    assert (len(agent.asks), agent.stops) == (1, [])


async def test_killed_again_and_again(store, layer, agent):
    """Each worker stores one more event than the one before."""
    for events in range(len(VALUES)):
        worker = Worker(await store.peer())
        agent.hold_after = events
        if not events:
            await started(layer, agent, worker, events)
        else:
            await taken_over(store, worker)

            async def is_there(newest=1 + events):
                return (await layer.get(S)).newest == newest

            await until(is_there)
        await worker.die()
    last = Worker(await store.peer())
    agent.hold_after = None
    await taken_over(store, last)
    await last.idle()
    assert await log(layer) == LOG
    assert (len(agent.asks), agent.stops) == (1, [])


async def test_a_run_that_is_gone_is_interrupted(store, layer, agent, workers):
    dying, living = workers
    await started(layer, agent, dying, 2)
    await dying.die()
    agent.refusals = [410]
    await taken_over(store, living)
    await living.idle()
    assert await log(layer) == [*LOG[:3], "error:interrupted"]


async def test_a_run_whose_response_had_no_head_yet_is_interrupted(store, layer, agent, workers):
    """Only the head says that there is a run; and the message is not sent again."""
    dying, living = workers
    agent.is_slow = True
    await enqueue(layer)
    dying.runner.wake(S)
    await agent.until(lambda: agent.asks)
    await dying.die()
    await taken_over(store, living)
    await living.idle()
    assert await log(layer) == [*LOG[:1], "error:interrupted"]
    assert (len(agent.asks), agent.rejoins) == (1, [])


async def test_an_agent_that_offers_nothing_is_interrupted(store, layer, agent, workers, monkeypatch):
    monkeypatch.setattr(Dialect, "head", {})
    dying, living = workers
    agent.hold_after = 2
    await enqueue(layer)
    dying.runner.wake(S)

    async def is_there():
        return (await layer.get(S)).newest == 3

    await until(is_there)
    await dying.die()
    await taken_over(store, living)
    await living.idle()
    assert await log(layer) == [*LOG[:3], "error:interrupted"]
    assert agent.rejoins == []


async def test_a_trimmed_log_goes_on_too(store, agent):
    layer = await store.layer(Bounds(lease_seconds=LEASE_SECONDS, max_frames=2))
    dying, living = Worker(layer), Worker(await store.peer())
    await started(layer, agent, dying, 3)
    await dying.die()
    await taken_over(store, living)
    agent.go_on.set()
    await living.idle()
    assert await log(layer) == LOG[-2:]
    for worker in (dying, living):
        await worker.die()


async def cut_off(agent, worker):
    """Let the worker give its turn up, because it cannot store the next event that the agent sends."""
    worker.layer.is_dead = True
    agent.hold_after += 1
    agent.go_on.set()
    agent.go_on.clear()
    await until(lambda: _is(not worker.runner.is_running(S)))


async def test_a_worker_that_gives_up_stops_no_agent_that_another_one_reads(store, layer, agent, workers, monkeypatch):
    """The store was away for longer than the lease, and the other worker comes first."""
    monkeypatch.setattr("relay.turns.runner.OUTAGE_PAUSE_SECONDS", 0.001)
    late, living = workers
    await started(layer, agent, late, 2)
    await cut_off(agent, late)
    await taken_over(store, living)
    await agent.until(lambda: agent.rejoins)
    late.layer.is_dead = False
    await late.idle()
    await late.client.close()
    assert agent.stops == []
    agent.go_on.set()
    await living.idle()
    assert await log(layer) == LOG


async def test_a_worker_that_gives_up_stops_the_agent_once_the_turn_has_ended(layer, agent, workers, monkeypatch):
    monkeypatch.setattr("relay.turns.runner.OUTAGE_PAUSE_SECONDS", 0.001)
    worker, _ = workers
    await started(layer, agent, worker, 2)
    await cut_off(agent, worker)
    assert agent.stops == []
    worker.layer.is_dead = False
    await worker.idle()
    await worker.client.close()
    assert await log(layer) == [*LOG[:3], "error:store_unavailable"]
    assert len(agent.stops) == 1


class Flaky:
    """A call of a layer that fails once, or first lets the store lose the session."""

    def __init__(self, call, store=None):
        self._call = call
        self._store = store
        self.failures = 0

    async def __call__(self, *arguments):
        self.failures += 1
        if self.failures == 1:
            if self._store is None:
                raise StoreUnavailable
            await self._store.forget(S)
        return await self._call(*arguments)


@pytest.mark.parametrize("call", ["get", "read"])
async def test_a_store_that_does_not_answer_costs_an_answer_no_text(store, layer, agent, workers, monkeypatch, call):
    """The worker that takes over knows the whole text: it is all that is left when the store loses the session."""
    monkeypatch.setattr("relay.turns.runner.OUTAGE_PAUSE_SECONDS", 0.0)
    dying, living = workers
    await started(layer, agent, dying, 2)
    await dying.die()
    flaky = Flaky(getattr(living.layer, call))
    setattr(living.layer, call, flaky)
    await taken_over(store, living)
    await agent.until(lambda: agent.rejoins)
    await store.forget(S)
    agent.go_on.set()
    await living.idle()
    snapshot = await gap_at(layer, Cursor("", 0))
    assert flaky.failures > 1
    assert (shown(snapshot.terminal), snapshot.text[:2]) == ("error:buffer_lost", "a ")


@pytest.mark.parametrize("call", ["get", "read"])
async def test_a_store_that_loses_the_session_while_it_is_read_leaves_no_rest_without_its_beginning(
    store, layer, agent, workers, call
):
    dying, living = workers
    await started(layer, agent, dying, 2)
    await dying.die()
    setattr(living.layer, call, Flaky(getattr(living.layer, call), store))
    agent.go_on.set()
    await taken_over(store, living)
    await living.idle()
    await living.client.close()
    snapshot = await gap_at(layer, Cursor("", 0))
    assert (shown(snapshot.terminal), snapshot.text) == ("error:buffer_lost", "")
    assert (agent.rejoins, len(agent.stops)) == ([], 1)


async def test_what_was_counted_and_told_of_a_turn_is_the_whole(store, layer, agent, workers, caplog):
    caplog.set_level(logging.INFO)
    dying, living = workers
    await started(layer, agent, dying, 4)
    await dying.die()
    await taken_over(store, living)
    agent.go_on.set()
    await living.idle()
    ended = next(record for record in caplog.records if record.getMessage() == "turn ended: answered")
    assert ended.tokens == 3
    assert ended.duration_seconds >= LEASE_SECONDS  # counted from its first worker


@pytest.mark.parametrize("events", range(len(VALUES)))
@pytest.mark.parametrize("way", ["drain", "stop"])
async def test_a_process_that_ends_hands_its_turn_over(store, layer, agent, workers, way, events):
    """Another worker has it at once: no lease runs out, and the agent is not stopped."""
    ending, living = workers
    await started(layer, agent, ending, events)
    orders = []
    await layer.listen_for_orders(orders.append)
    if way == "drain":
        assert ending.runner.hands_over
        await ending.runner.drain(asyncio.Event())
    else:
        await ending.runner.stop()
    assert not ending.runner.is_running(S)
    assert await layer.pending(10) == [S]
    await until(lambda: _is(orders == [{"order": "wake", "session_id": S}]))
    living.runner.wake(S)
    agent.go_on.set()
    await living.idle()
    assert await log(layer) == LOG
    assert (len(agent.asks), len(agent.rejoins), agent.stops) == (1, 1, [])


async def _is(value):
    return value


async def test_a_process_that_ends_hands_over_as_soon_as_the_agent_has_answered(store, layer, agent, workers):
    ending, living = workers
    agent.is_slow = True
    await enqueue(layer)
    ending.runner.wake(S)
    await agent.until(lambda: agent.asks)
    draining = asyncio.ensure_future(ending.runner.drain(asyncio.Event()))
    await asyncio.sleep(0)
    assert ending.runner.is_running(S)
    agent.begin.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        await draining
    if (await layer.get(S)).active_turn_id is not None:  # else it was over before the next look
        living.runner.wake(S)
        await living.idle()
    assert await log(layer) == LOG
    assert (len(agent.asks), agent.stops) == (1, [])


async def test_an_answer_that_cannot_go_on_is_waited_for(layer, agent, workers, monkeypatch):
    monkeypatch.setattr(Dialect, "head", {})
    ending, _ = workers
    agent.hold_after = 2
    await enqueue(layer)
    ending.runner.wake(S)

    async def is_there():
        return (await layer.get(S)).newest == 3

    await until(is_there)
    draining = asyncio.ensure_future(ending.runner.drain(asyncio.Event()))
    await asyncio.sleep(0.1)
    assert ending.runner.is_running(S)
    assert not ending.runner.hands_over
    agent.go_on.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        await draining
    assert await log(layer) == LOG


class Counting:
    """A function that counts, and goes on behind any number; it waits once."""

    def __init__(self, wait_behind, *, is_marked=True):
        self.calls = []
        self.go_on = asyncio.Event()
        self._wait_behind = wait_behind
        self._is_marked = is_marked

    async def __call__(self, message, session, cursor):
        self.calls.append(cursor)
        for number in range(int(cursor or 0), 5):
            if number == self._wait_behind:
                await self.go_on.wait()
            yield Marked(f"{number} ", str(number + 1)) if self._is_marked else f"{number} "
        yield Marked({"type": "note", "x": 1}, "6")


COUNTED = ["user:hi", *(f"token:{number} " for number in range(5)), "event:note", "final:stop"]


@pytest.mark.parametrize("way", ["dies", "ends"])
@pytest.mark.parametrize("numbers", range(1, 5))
async def test_a_function_goes_on_behind_its_mark(store, layer, way, numbers):
    counting = Counting(numbers)
    first, second = Worker(layer, FunctionAgent(counting)), Worker(await store.peer(), FunctionAgent(counting))
    await enqueue(layer)
    first.runner.wake(S)

    async def is_there():
        return (await layer.get(S)).newest == 1 + numbers

    await until(is_there)
    if way == "dies":
        await first.die()
        await store.advance(LEASE_SECONDS)
    else:
        await first.runner.drain(asyncio.Event())
    counting.go_on.set()
    second.runner.wake(S)
    await second.idle()
    assert await log(layer) == COUNTED
    assert counting.calls == ["", str(numbers)]
    await second.die()


async def test_a_function_that_marks_nothing_is_not_called_again(store, layer):
    counting = Counting(2, is_marked=False)
    first, second = Worker(layer, FunctionAgent(counting)), Worker(await store.peer(), FunctionAgent(counting))
    await enqueue(layer)
    first.runner.wake(S)

    async def is_there():
        return (await layer.get(S)).newest == 3

    await until(is_there)
    await first.die()
    await taken_over(store, second)
    await second.idle()
    assert await log(layer) == [*COUNTED[:3], "error:interrupted"]
    assert counting.calls == [""]
    await second.die()


def test_a_function_with_a_cursor_is_an_agent():
    assert isinstance(make_agent(f"{__name__}.counted"), FunctionAgent)


async def counted(message, session, cursor):
    yield Marked("1", "1")
