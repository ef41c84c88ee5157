"""The runner's work beside the turns: it waits for a store, gives way to the viewers, and ends with its process."""

import asyncio
import logging

import pytest

from relay.agent.function import FunctionAgent
from relay.exceptions import StoreUnavailable
from relay.layers.memory.layer import MemorySessionLayer
from relay.protocol import frames
from relay.protocol.cursor import UNKNOWN
from relay.protocol.frames import ReplayGap
from relay.transcripts.history import History
from relay.transcripts.writer import Transcripts
from relay.turns import runner
from relay.turns.tracing import Tracing
from relay.webhooks.sender import Webhooks
from tests.buffer.turns import S, enqueue


@pytest.mark.parametrize(
    ("failures", "log"),
    [
        (0, []),
        (
            1,
            [
                (logging.WARNING, "turn start or end waits for the store: full"),
                (logging.INFO, "turn start or end stored after 2 attempts"),
            ],
        ),
        (
            3,
            [
                (logging.WARNING, "turn start or end waits for the store: full"),
                (logging.INFO, "turn start or end stored after 4 attempts"),
            ],
        ),
    ],
)
async def test_an_outage_is_logged_once_and_so_is_its_end(monkeypatch, caplog, failures, log):
    monkeypatch.setattr(runner, "OUTAGE_PAUSE_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    outcomes = [StoreUnavailable("full")] * failures

    async def call():
        if outcomes:
            raise outcomes.pop()
        return "stored"

    assert await runner._retry_until_stored(call) == "stored"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == log


@pytest.mark.parametrize(("frames", "iterations"), [(1, 0), (31, 0), (32, 1), (63, 1), (64, 2), (320, 10)])
async def test_viewers_run_as_often_as_an_event_stream_needs_for_the_frames(frames, iterations):
    giving_way = asyncio.ensure_future(runner._let_viewers_catch_up(frames))
    await asyncio.sleep(0)  # it starts
    seen = 0
    while not giving_way.done():
        await asyncio.sleep(0)
        seen += 1
    assert seen == iterations


async def echo(message, session):
    yield message["content"]


async def end_of_the_queued(layer):
    """How the queued turn ended; ``None`` if it waits."""
    if await layer.pending(1):
        return None
    with pytest.raises(ReplayGap) as gap:
        await layer.read(S, UNKNOWN, 1)
    return frames.outcome(gap.value.snapshot.terminal)


@pytest.mark.parametrize(
    ("way", "can_another", "outcome"),
    [
        ("stop", False, "shutting_down"),
        ("stop", True, None),
        ("drain", False, "answered"),
        ("drain", True, None),
    ],
)
async def test_queued_turns_are_left_to_another_process_if_one_can_run_them(monkeypatch, way, can_another, outcome):
    monkeypatch.setattr(MemorySessionLayer, "survives_process", can_another)
    layer, transcripts = MemorySessionLayer(), Transcripts()
    history, webhooks = History(layer, transcripts), Webhooks(layer.outbox, survives_process=can_another)
    running = runner.Runner(layer, FunctionAgent(echo), transcripts, history, Tracing(), webhooks)
    await enqueue(layer, "hello")
    if way == "drain":
        running.wake(S)
        await running.drain(asyncio.Event())
    else:
        await running.stop()
    assert await end_of_the_queued(layer) == outcome
