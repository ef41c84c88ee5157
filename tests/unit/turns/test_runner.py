"""The runner's work beside the turns: it waits for a store, and ends with its process."""

import asyncio
import logging

import pytest

from relay.agent.function import FunctionAgent
from relay.exceptions import StoreUnavailable
from relay.layers.memory.layer import MemorySessionLayer
from relay.protocol import frames
from relay.protocol.cursor import UNKNOWN
from relay.protocol.frames import ReplayGap
from relay.testing.turns import S, enqueue, log
from relay.transcripts.history import History
from relay.transcripts.writer import Transcripts
from relay.turns import runner
from relay.turns.tracing import Tracing
from relay.webhooks.sender import Webhooks


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


async def echo(message, session):
    yield message["content"]


async def end_of_the_queued(layer):
    """How the queued turn ended; ``None`` if it waits."""
    if await layer.pending(1):
        return None
    with pytest.raises(ReplayGap) as gap:
        await layer.read(S, UNKNOWN, 1)
    return frames.outcome(gap.value.snapshot.terminal)


def running_on(layer):
    """A runner of an agent that echoes messages."""
    transcripts = Transcripts()
    history = History(layer, transcripts)
    webhooks = Webhooks(layer.outbox, survives_process=layer.survives_process)
    return runner.Runner(layer, FunctionAgent(echo), transcripts, history, Tracing(), webhooks)


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
    layer = MemorySessionLayer()
    running = running_on(layer)
    await enqueue(layer, "hello")
    if way == "drain":
        running.wake(S)
        await running.drain(asyncio.Event())
    else:
        await running.stop()
    assert await end_of_the_queued(layer) == outcome


class CountingLayer(MemorySessionLayer):
    """Counts claims; ``late`` messages arrive, each once the turn before it has ended."""

    def __init__(self, late=()):
        super().__init__()
        self.claims = 0
        self.runner = running_on(self)
        self._late = list(late)

    async def claim(self, session_id, claim_id):
        self.claims += 1
        return await super().claim(session_id, claim_id)

    async def finish(self, turn, terminal, notification=None):
        stored = await super().finish(turn, terminal, notification)
        if self._late:
            await enqueue(self, self._late.pop(0))
            self.runner.wake(S)
        return stored


@pytest.mark.parametrize("messages", [["a"], ["a", "b", "c"]])
async def test_a_session_is_claimed_once_for_each_of_its_turns(messages):
    layer = CountingLayer()
    for content in messages:
        await enqueue(layer, content)
    layer.runner.wake(S)
    await layer.runner.drain(asyncio.Event())
    assert await log(layer) == [shown for content in messages for shown in turn_of(content)]
    assert layer.claims == len(messages)


async def test_a_message_that_arrives_after_a_last_turn_ended_is_answered():
    layer = CountingLayer(late=["b", "c"])
    await enqueue(layer, "a")
    layer.runner.wake(S)
    await layer.runner.drain(asyncio.Event())
    assert await log(layer) == [*turn_of("a"), *turn_of("b"), *turn_of("c")]
    assert layer.claims == 3


def turn_of(content):
    return [f"user:{content}", f"token:{content}", "final:stop"]
