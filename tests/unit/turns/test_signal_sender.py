"""The signal ``turn_ended``: receivers that fail or block hurt no turn."""

import asyncio
import logging
import threading
from contextlib import contextmanager

import pytest

from relay.agent.function import FunctionAgent
from relay.layers.memory.layer import MemorySessionLayer
from relay.signals import TurnEnded, turn_ended
from relay.testing.turns import LIMIT_SECONDS, S, enqueue, log
from relay.transcripts.history import History
from relay.transcripts.writer import Transcripts
from relay.turns import signal_sender
from relay.turns.runner import Runner
from relay.turns.signal_sender import SignalSender
from relay.turns.tracing import Tracing
from relay.webhooks.sender import Webhooks


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Let the receivers have all that waits, although their thread may stand still."""
    monkeypatch.setattr(signal_sender, "LAST_SECONDS", LIMIT_SECONDS)


@contextmanager
def receiving(*receivers):
    for receiver in receivers:
        turn_ended.connect(receiver, weak=False)
    try:
        yield
    finally:
        for receiver in receivers:
            turn_ended.disconnect(receiver)


class Collector:
    """A receiver that keeps what it gets, and may block."""

    def __init__(self, *, is_open=True):
        self.turns = []
        self.gate = threading.Event()
        self.changed = threading.Event()
        if is_open:
            self.gate.set()

    def __call__(self, sender, turn, **kwargs):
        self.changed.set()
        self.gate.wait(LIMIT_SECONDS)
        self.turns.append(turn)


async def echo(message, session):
    yield message["content"]


def runner(layer):
    webhooks = Webhooks(layer.outbox, survives_process=False)
    transcripts = Transcripts()
    return Runner(layer, FunctionAgent(echo), transcripts, History(layer, transcripts), Tracing(), webhooks)


async def answered(running, layer, *contents):
    for content in contents:
        await enqueue(layer, content, subject="alice")
    running.wake(S)
    async with asyncio.timeout(LIMIT_SECONDS):
        await running._wait_idle()


async def test_a_receiver_is_told_of_each_end_with_its_type():
    layer, collector = MemorySessionLayer(), Collector()
    running = runner(layer)
    with receiving(collector):
        await answered(running, layer, "one", "two")
        await running.stop()
    assert [type(turn) for turn in collector.turns] == [TurnEnded] * 2
    assert {(turn.type, turn.session_id, turn.subject, turn.answer) for turn in collector.turns} == {
        ("turn.completed", S, "alice", None)
    }
    assert len({turn.turn_id for turn in collector.turns}) == 2


async def test_a_receiver_that_blocks_delays_no_turn_and_gets_its_signals_later():
    layer, slow = MemorySessionLayer(), Collector(is_open=False)
    running = runner(layer)
    with receiving(slow):
        await answered(running, layer, "one", "two", "three")
        assert (await log(layer)).count("final:stop") == 3
        assert slow.turns == []
        slow.gate.set()
        await running.stop()
    assert len(slow.turns) == 3


async def test_a_receiver_that_fails_keeps_no_other_from_its_signal(caplog):
    layer, collector = MemorySessionLayer(), Collector()

    def failing(sender, **kwargs):
        raise ValueError("a bug of the receiver")

    running = runner(layer)
    with receiving(failing, collector):
        await answered(running, layer, "one", "two")
        await running.stop()
    assert len(collector.turns) == 2
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == ["django.dispatch"] * 2


async def test_without_receivers_there_is_no_thread():
    layer = MemorySessionLayer()
    running = runner(layer)
    await answered(running, layer, "one")
    assert running.signals._thread is None
    await running.stop()


async def test_signals_that_wait_are_bounded(monkeypatch, caplog):
    monkeypatch.setattr(signal_sender, "MAX_WAITING", 2)
    monkeypatch.setattr(signal_sender, "LAST_SECONDS", 0.0)
    layer, slow = MemorySessionLayer(), Collector(is_open=False)
    running = runner(layer)
    with receiving(slow):
        await answered(running, layer, "one")
        assert await asyncio.to_thread(slow.changed.wait, LIMIT_SECONDS)  # the thread has taken it, and blocks
        await answered(running, layer, "two", "three", "four", "five")
        await running.stop()  # the queue is full, and the thread is left to itself
        assert (await log(layer)).count("final:stop") == 5
        dropped = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
        assert dropped == ["signal turn_ended dropped: its receivers are too slow"]
        slow.gate.set()
        sender = SignalSender()
        await sender.stop()  # nothing was ever sent
