"""Real processes before an agent that keeps its runs: the death, the standstill and the restart of a worker."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager

import pytest

from relay.layers.values import new_id
from relay.testing.turns import whole_log
from tests import processes, scraping
from tests.clients import LIMIT_SECONDS
from tests.faults.valkey import Valkey
from tests.resumable_agent import ResumableAgent, held_behind
from tests.returning_viewer import ReturningViewer
from tests.unit.agent.test_rejoining_protocols import KINDS, frames_behind

pytestmark = pytest.mark.timeout(300)
STEPS = 3  # of a test, of which each may take long on a loaded machine
# What the viewers of a worker that goes may see of it. A worker that ends hands its answers over before it closes its
# sockets, so the other worker may have completed an answer by then.
CLOSED = {"is killed": ([1006],), "stands still": ([],), "is ended": ([1012], [])}
ANSWERED = 'gateway_turns_total{reason="answered"}'
QUESTION = {"type": "tool_call", "call_id": "q", "tool_name": "pay", "arguments": {}, "requires_approval": True}


@contextmanager
def running_gateways(number, agent_url, **settings):
    """Gateways over one store. Gives them and the store."""
    with Valkey() as valkey:
        gateways = [processes.gateway("serve", agent_url, REDIS_URL=valkey.url, **settings) for _ in range(number)]
        with processes.running(*gateways):
            yield gateways, valkey
            for gateway in gateways:
                scraping.assert_nothing_wrong(gateway)


async def stored(layer, valkey, viewer, frames):
    """Wait until an answer has so many frames, and a position behind them."""
    await viewer.has(1 + frames)
    key = layer._store.keys.of_session(viewer.session_id).names.session
    async with asyncio.timeout(LIMIT_SECONDS):
        while await asyncio.to_thread(valkey.command, "HGET", key, "position") in ("$-1", "$0"):
            await asyncio.sleep(0.01)


async def printed(gateway, words, times):
    """Wait until a gateway has printed some words so many times."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while gateway.output().count(words) < times:
            await asyncio.sleep(0.05)


async def answered(gateway, times):
    """Wait until a gateway has counted so many answers, which their viewers may have seen before; it counts no more."""
    count = 0
    async with asyncio.timeout(LIMIT_SECONDS):
        while count < times:
            count = (await asyncio.to_thread(scraping.scrape, gateway.http_url))[ANSWERED]
    assert count == times


@pytest.mark.parametrize(
    ("protocol", "way"),
    [
        *(("agent", way) for way in ("is killed", "stands still", "is ended")),
        ("responses", "is killed"),
        ("langgraph", "is killed"),
    ],
)
async def test_worker_of_answers_behind_every_event_is_gone(open_layer, protocol, way):
    """One answer waits behind each event of the run, with a viewer at either worker; then their worker goes."""
    _, dialect, values = KINDS[protocol]
    if protocol == "agent":
        values = [*values[:4], QUESTION, *values[4:]]
    async with ResumableAgent(values, dialect(), hold_after=held_behind) as agent:
        settings = {"LEASE_SECONDS": "5", "AGENT_PROTOCOL": protocol}
        with running_gateways(2, agent.url, **settings) as (gateways, valkey):
            owner, other = gateways
            layer = await open_layer(valkey.url)
            places = range(protocol == "responses", len(values))  # before its first event a response has no name
            pairs = [[ReturningViewer(gateways, number, f"s{place}") for number in (0, 1)] for place in places]
            whole = ReturningViewer(gateways, 1, "whole")
            async with asyncio.timeout(STEPS * LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
                await whole.watch("all at once")
                for place, (here, there) in zip(places, pairs, strict=True):
                    tasks.create_task(here.watch(f"wait behind {place}"))
                    tasks.create_task(there.watch())
                for place, (here, there) in zip(places, pairs, strict=True):
                    frames = frames_behind(protocol, agent, place)
                    await stored(layer, valkey, there, frames)
                    await here.has(1 + frames)
                match way:
                    case "is killed":
                        owner.kill()
                    case "is ended":
                        await asyncio.to_thread(owner.stop)
                    case _:
                        owner.signal(signal.SIGSTOP)
                        agent.is_slow = True  # from now on
                        await agent.until(lambda: len(agent.rejoins) >= len(places))
                        agent.late = dialect().events([{"type": "assistant_message", "token": "late"}])[0]
                        agent.go_on.set()  # the late worker has the rest of each run first
                        await agent.until(lambda: agent.connections == len(places))
                        owner.signal(signal.SIGCONT)
                        await printed(owner, "turn lost", len(places))
                        agent.begin.set()
            assert whole.answer[-1]["type"] == "assistant_message"
            for here, there in pairs:
                logged = [frame.offset for frame in await whole_log(layer, here.session_id)]
                assert logged == list(range(1, len(whole.frames) + 1))
                for viewer in (here, there):
                    assert viewer.answer == whole.answer
                    viewer.check_order()
                assert there.close_codes == []
                assert here.close_codes in CLOSED[way]
            assert (len(agent.asks), agent.stops) == (1 + len(places), [])
            await answered(other, 1 + len(places))


def twenty_further(asked):
    """Each reader gets twenty events, and then the agent waits."""
    return int(asked.headers.get("last-event-id", "0")) + 20


async def test_rolling_restart_under_running_answers_is_noticed_by_no_viewer():
    """Each process ends while the agent waits in the midst of every answer; and each answer is whole."""
    texts = [f"{number} " for number in range(100)]
    values = [{"type": "assistant_message", "token": text} for text in texts]
    values[-1]["is_final"] = True
    async with ResumableAgent(values, hold_after=twenty_further) as agent:
        with running_gateways(2, agent.url, DRAIN_SECONDS="60", LEASE_SECONDS="20") as (gateways, _):
            viewers = [ReturningViewer(gateways, number % 2, new_id()) for number in range(40)]
            async with asyncio.timeout(STEPS * LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
                for viewer in viewers:
                    tasks.create_task(viewer.watch("hi"))
                for viewer in viewers:
                    await viewer.has(1 + 20)
                for gateway, running in zip(gateways, (20, 40), strict=True):
                    await asyncio.to_thread(gateway.stop)
                    assert gateway.output().count("turn handed over") == running
                    await asyncio.to_thread(gateway.start)
                agent.go_on.set()
            for viewer in viewers:
                assert viewer.text == "".join(texts)
                assert set(viewer.close_codes) == {1012}
                viewer.check_order()
            assert (len(agent.asks), len(agent.rejoins), agent.stops) == (40, 60, [])
