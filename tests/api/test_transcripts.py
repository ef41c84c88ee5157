"""What the runner hands over at a turn's end, whoever ends it."""

from __future__ import annotations

import pytest

from relay.process import lifecycle
from relay.protocol import frames
from relay.transcripts.writer import Transcripts
from tests.scripted_agent import Final, Stall, Token


@pytest.fixture
def kept(application, monkeypatch):
    """The turns that were handed over."""
    turns = []
    monkeypatch.setattr(Transcripts, "is_on", True)
    monkeypatch.setattr(Transcripts, "_ask", _nothing)
    monkeypatch.setattr(Transcripts, "keep", lambda self, turn: turns.append(turn))
    return turns


async def _nothing(self, do):
    return 0


async def test_answered_turn_is_handed_over_with_its_text_and_times(v1, agent, kept):
    agent.script = [Token(""), Token('a "b'), Token(" \ud83d"), Token("\ude00"), Final()]
    async with v1() as browser:
        await browser.say("What?", client_message_id="m")
        frames = await browser.turn()
    [turn] = kept
    assert turn.turn_id == frames[-1]["turn_id"]
    assert (turn.session_id, turn.subject, turn.reason, turn.tokens) == ("s", None, "answered", 3)
    assert turn.answer == r"a \"b \ud83d\ude00"
    assert turn.message == {"type": "user_message", "content": "What?"}
    assert 0 < turn.first_token_seconds <= turn.duration_seconds
    assert turn.started_at < turn.ended_at


async def test_cancelled_turn_keeps_what_was_said(v1, agent, kept):
    agent.script = [Token("so far"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        await browser.turn()
    assert [(turn.reason, turn.answer) for turn in kept] == [("cancelled", "so far")]


async def test_failed_turn_is_handed_over_with_the_code_of_its_error(v1, agent, kept):
    agent.script = [Token("so far")]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert [(turn.reason, turn.answer) for turn in kept] == [("upstream_eof", "so far")]


async def test_turn_without_text_has_no_time_to_first_token(v1, agent, kept):
    agent.script = [Token(""), Final()]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert [(turn.first_token_seconds, turn.answer) for turn in kept] == [(None, "")]


async def test_shutdown_hands_over_running_and_queued_turns(v1, agent, kept):
    agent.script = [Token("so far"), Stall()]
    async with v1() as browser:
        await browser.say("running")
        await browser.frame_of("assistant_message")
        await browser.say("queued")
        await browser.frame_of("accepted")
        await lifecycle.stop()
    assert [(turn.message["content"], turn.reason, turn.answer) for turn in kept] == [
        ("running", "shutting_down", "so far"),
        ("queued", "shutting_down", ""),
    ]


async def test_turn_of_a_worker_that_died_is_handed_over_with_its_text(v1, agent, configure, kept):
    configure(LEASE_SECONDS="0.5")
    async with v1() as browser:
        gateway = await lifecycle.current()
        gateway.runner.wake = lambda session_id: None
        await browser.say("What?")
        await browser.frame_of("accepted")
        turn = await gateway.layer.claim("s", "a worker that dies")
        await gateway.layer.append(turn, [frames.token(turn.turn_id, "so far")])
        del gateway.runner.wake
        await browser.frame_of("error")
    [ended] = kept
    assert (ended.reason, ended.answer, ended.message["content"]) == ("interrupted", "so far", "What?")
    assert (ended.tokens, ended.started_at, ended.first_token_seconds, ended.duration_seconds) == (None,) * 4
