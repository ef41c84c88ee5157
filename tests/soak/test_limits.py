"""The limits of a run: what has no end is named, with the places where it waits."""

import asyncio
import threading

import pytest

from relay.tasks import cancel_and_wait
from tests.faults.valkey_cluster import Node, ValkeyCluster
from tests.soak.limits import limited
from tests.soak.run import Run


async def wait_for_ever():
    await asyncio.Event().wait()


async def test_a_limit_says_what_waited_and_where():
    release = threading.Event()
    in_thread = asyncio.ensure_future(asyncio.to_thread(release.wait))
    waiting = asyncio.ensure_future(wait_for_ever())
    try:
        with pytest.raises(AssertionError, match=r"not within 0 s: the 7th thing") as failed:
            async with limited(0.01, lambda: "the 7th thing"):
                await waiting
        assert "wait_for_ever" in str(failed.value)
        assert "threading.py" in str(failed.value)
    finally:
        release.set()
        await in_thread


async def test_a_limit_takes_no_other_error_for_its_own():
    with pytest.raises(TimeoutError):
        async with limited(60, lambda: "it"):
            raise TimeoutError


class SilentRun(Run):
    """A run in which no message is accepted."""

    async def _talk_all(self):
        await wait_for_ever()


async def fail():
    raise LookupError("the fault failed")


async def test_a_fault_that_fails_ends_the_run():
    """The world is not whole after it, so a message may never be accepted."""
    with pytest.raises(LookupError, match="the fault failed"):
        await SilentRun(1, turns=1, sessions=1)._until_all_is_said(asyncio.ensure_future(fail()))


async def test_a_run_in_which_no_message_is_accepted_ends(monkeypatch):
    monkeypatch.setattr("tests.soak.run.ACCEPT_SECONDS", 0.01)
    faults = asyncio.ensure_future(wait_for_ever())
    with pytest.raises(AssertionError, match="a message accepted; not answered: nothing"):
        await SilentRun(1, turns=1, sessions=1)._until_all_is_said(faults)
    await cancel_and_wait(faults)


class Clock:
    """In place of ``time``: each look takes a second."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


async def test_a_run_waits_for_work_that_goes_on_and_tells_work_that_does_not(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tests.soak.run.time", clock)
    monkeypatch.setattr("tests.soak.run.PEACE_SECONDS", 50)
    monkeypatch.setattr("tests.soak.run.LOOK_SECONDS", 0.0)
    left = iter(range(1_000))

    class SlowRun(Run):
        async def _work(self, session_id):
            clock.now += 1
            number = next(left)
            return f"frame {number}" if number < 100 else None

    class StuckRun(Run):
        async def _work(self, session_id):
            clock.now += 1
            return "frame 7"

    slow, stuck = SlowRun(1, turns=1, sessions=1), StuckRun(1, turns=1, sessions=1)
    await slow._come_to_rest()
    await stuck._come_to_rest()
    assert slow.history.events == []
    assert stuck.history.events == [{"kind": "leftover", "what": "work in s0, not changed for 50 s: frame 7"}]


async def test_a_replica_that_is_missed_is_told_from_a_thread_too():
    """asyncio would wait for ever for a thread that ends with ``StopIteration``, as ``next`` of nothing does."""
    with pytest.raises(LookupError):
        async with asyncio.timeout(60):
            await asyncio.to_thread(ValkeyCluster().replica_of, Alone())


class Alone(Node):
    """A primary without a replica."""

    def say(self, *words):
        return f"{self.id} 127.0.0.1:1@2 master - 0 0 1 connected"
