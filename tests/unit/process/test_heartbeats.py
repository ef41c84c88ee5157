"""Heartbeats that are due together are made together; none waits for another, and none blocks the event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from relay.layers.values import Viewer
from relay.process import heartbeats
from relay.process.heartbeats import GROUP, Heartbeats
from relay.protocol.cursor import Cursor

LIMIT_SECONDS = 60.0
NEWEST = Cursor("epoch", 3)


class Layer:
    """Keeps all viewers, except those of sessions that stand still or are unknown."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.failure: Exception | None = None

    async def keep_attached(self, viewers: Sequence[Viewer], answer: Callable[[int, Cursor | None], None]) -> None:
        self.calls.append([viewer.session_id for viewer in viewers])
        for place, viewer in enumerate(viewers):
            if not viewer.session_id.startswith("slow"):
                answer(place, None if viewer.session_id.startswith("unknown") else NEWEST)
        if self.failure is not None:
            raise self.failure
        if any(viewer.session_id.startswith("slow") for viewer in viewers):
            await asyncio.Event().wait()


class Connection:
    def __init__(self, session_id: str) -> None:
        self.viewer = Viewer(session_id, "viewer")
        self.beats_at: float | None = None
        self.beats: list[Cursor | None] = []

    def beat(self, newest: Cursor | None) -> None:
        self.beats.append(newest)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def layer() -> Layer:
    return Layer()


@pytest.fixture
async def beating(layer: Layer) -> AsyncIterator[Heartbeats]:
    beating = Heartbeats(layer)  # type: ignore[arg-type]  # the part of a layer that is used
    yield beating
    await beating.stop()


def connections(beating: Heartbeats, count: int, name: str = "session") -> list[Connection]:
    found = [Connection(f"{name} {number}") for number in range(count)]
    for connection in found:
        beating.schedule(connection, 0)
    return found


async def test_those_that_are_due_together_are_one_call(layer, beating):
    due = connections(beating, 20)
    await until(lambda: all(connection.beats for connection in due))
    assert [connection.beats for connection in due] == [[NEWEST]] * 20
    assert sum(map(len, layer.calls)) == 20
    assert len(layer.calls) <= 2  # a tick may have passed while they were scheduled
    assert {connection.beats_at for connection in due} == {None}


@pytest.mark.parametrize("seconds", [0, 0.2, 3.9, 4.0, 20.0, 86_400.0])
async def test_a_heartbeat_is_due_at_the_next_tick_and_never_early(beating, seconds):
    before, connection = time.monotonic(), Connection("session")
    beating.schedule(connection, seconds)
    assert connection.beats_at is not None
    assert before + seconds <= connection.beats_at <= time.monotonic() + seconds + (1 if seconds >= 4 else 1 / 32)


async def test_moments_are_few_however_many_connections_there_are(beating):
    many = [Connection("session") for _ in range(2_000)]
    for number, connection in enumerate(many):
        beating.schedule(connection, 20.0 * number / len(many))
    assert len({connection.beats_at for connection in many}) <= 4 * 32 + 20 + 4


async def test_a_crowd_is_divided_and_other_work_comes_between(layer, beating, monkeypatch):
    monkeypatch.setattr(heartbeats, "SHORT_TICK_SECONDS", 1.0)  # all at one moment, however slow the machine is
    iterations = 0
    has_ended = False
    calls_at = []

    async def count() -> None:
        nonlocal iterations
        while not has_ended:
            iterations += 1
            await asyncio.sleep(0)

    keep_attached = layer.keep_attached

    async def note(viewers: Any, answer: Any) -> None:
        calls_at.append(iterations)
        await keep_attached(viewers, answer)

    layer.keep_attached = note
    counting = asyncio.create_task(count())
    crowd = connections(beating, 5 * GROUP)
    await until(lambda: all(connection.beats for connection in crowd))
    has_ended = True
    await counting
    assert max(map(len, layer.calls)) == GROUP
    assert len(set(calls_at)) == len(calls_at)  # each in an iteration of its own


async def test_a_store_that_stands_still_delays_only_its_own_sessions(layer, beating, monkeypatch, clock):
    monkeypatch.setattr(heartbeats, "LAYER_SECONDS", LIMIT_SECONDS)
    slow, quick = connections(beating, 3, "slow"), connections(beating, 3, "quick")
    await until(lambda: all(connection.beats for connection in quick))
    assert [connection.beats for connection in slow] == [[]] * 3
    later = connections(beating, 3, "later")
    await until(lambda: all(connection.beats for connection in later))
    assert [connection.beats for connection in slow] == [[]] * 3
    clock.advance(LIMIT_SECONDS)
    await until(lambda: all(connection.beats for connection in slow))
    assert [connection.beats for connection in slow] == [[None]] * 3
    assert [connection.beats for connection in [*quick, *later]] == [[NEWEST]] * 6


async def test_those_without_an_answer_attach_themselves_when_the_call_fails(layer, beating, caplog):
    layer.failure = RuntimeError("a bug")
    answered, unanswered = connections(beating, 2), connections(beating, 2, "slow")
    await until(lambda: all(connection.beats for connection in [*answered, *unanswered]))
    assert [connection.beats for connection in answered] == [[NEWEST]] * 2
    assert [connection.beats for connection in unanswered] == [[None]] * 2
    assert "heartbeats failed together: RuntimeError" in caplog.messages


async def test_a_viewer_that_the_layer_does_not_keep_attaches_itself(beating):
    (unknown,) = connections(beating, 1, "unknown")
    await until(lambda: unknown.beats)
    assert unknown.beats == [None]


async def test_a_cancelled_connection_beats_no_more(layer, beating):
    leaving, staying = connections(beating, 3), connections(beating, 1, "staying")
    for connection in leaving:
        beating.cancel(connection)
        beating.cancel(connection)
    await until(lambda: staying[0].beats)
    assert [connection.beats for connection in leaving] == [[]] * 3
    assert [name for call in layer.calls for name in call] == ["staying 0"]


async def test_a_connection_is_due_once_at_the_moment_that_was_named_last(layer, beating):
    one = Connection("one")
    beating.schedule(one, 0)
    beating.schedule(one, 3_600)
    (other,) = connections(beating, 1, "other")
    await until(lambda: other.beats)
    assert one.beats == []
    beating.schedule(one, 0)  # sooner than all others
    await until(lambda: one.beats)
    assert one.beats == [NEWEST]


async def test_nothing_is_held_and_no_timer_runs_while_nothing_is_due(beating):
    (connection,) = connections(beating, 1)
    await until(lambda: connection.beats)
    assert (beating._due, beating._timer, beating._wakes_at) == ({}, None, math.inf)
    await until(lambda: not beating._groups)


async def test_no_connection_beats_after_the_end(layer):
    beating = Heartbeats(layer)
    (slow,) = connections(beating, 1, "slow")
    await until(lambda: layer.calls)
    (late,) = connections(beating, 1, "late")
    await beating.stop()
    (later,) = connections(beating, 1, "later")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not beating._groups
    assert (beating._timer is None or beating._timer.cancelled(), slow.beats, late.beats, later.beats) == (
        True,
        [],
        [],
        [],
    )
    for connection in (slow, late, later):
        beating.cancel(connection)
    assert beating._due == {}
