"""An answer whose connection breaks goes on where it broke: the same frames, one end, one question to the agent."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import ClassVar

import pytest

from relay.agent import protocols, rejoining
from relay.agent.client import AgentClient
from relay.exceptions import Interrupted, UpstreamEof, UpstreamTimeout
from relay.layers.values import AgentPosition, Turn
from relay.observability import metrics
from tests.clients import LIMIT_SECONDS
from tests.resumable_agent import Dialect, ResumableAgent

TURN_ID = "0123456789abcdef"


def token(text):
    return {"type": "assistant_message", "token": text, "is_final": False}


OWN = [
    token(""),
    {"type": "reasoning", "token": "hm"},
    token("größer "),
    {"type": "tool_call", "call_id": "c", "tool_name": "clock", "arguments": {}},
    7,  # skipped, with a notice
    8,
    {"type": "usage", "input_tokens": 3},
    {"type": "assistant_message", "token": "end", "is_final": True},
]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch, settings):
    monkeypatch.setattr(rejoining, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(rejoining, "LONGEST_PAUSE_SECONDS", 0.01)
    settings.GATEWAY = {**settings.GATEWAY, "AGENT_RESUME_SECONDS": "30"}


@pytest.fixture
def configure(settings):
    def change(**texts):
        settings.GATEWAY = {**settings.GATEWAY, **texts}

    return change


def turn(**fields):
    return Turn("s", TURN_ID, "lease", {"type": "user_message", "content": "hi"}, **fields)


class Reading:
    """One answer, as a runner reads it."""

    def __init__(self, agent, configure, protocol="agent", *, position=None, so_far=(), is_whole=True):
        configure(AGENT_URL=agent.url, AGENT_PROTOCOL=protocol)
        self.client = AgentClient(protocols.load(protocol))
        if position is None:
            self.answer = self.client.ask(turn())
        else:
            self.answer = self.client.go_on(turn(position=position), list(so_far), is_whole=is_whole)
        self.frames = []
        self.positions = []  # behind each batch, with how many frames there were

    async def read(self):
        try:
            async with asyncio.timeout(LIMIT_SECONDS), aclosing(self.answer.batches()) as batches:
                async for batch in batches:
                    self.frames += batch
                    if not batch or not batch[-1].is_terminal:
                        self.positions.append((len(self.frames), self.answer.position))
                    elif len(batch) > 1:
                        self.positions.append((len(self.frames) - 1, self.answer.position))
        finally:
            await self.client.close()
        return self.brief

    async def until(self, frames):
        """Wait for so many frames, and for a position."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not self.positions or len(self.frames) < frames:
                await asyncio.sleep(0)

    @property
    def brief(self):
        return [(frame.kind, frame.body, frame.members) for frame in self.frames]


async def whole(agent, configure, protocol="agent"):
    return await Reading(agent, configure, protocol).read()


async def test_cut_behind_or_within_any_event_the_answer_is_the_same(configure):
    async with ResumableAgent(OWN) as agent:
        expected = await whole(agent, configure)
        assert len(expected) == 8
        ends = [sum(map(len, agent.events[:number])) for number in range(len(OWN))]
        for cut in sorted({*ends[1:], *(end + 5 for end in ends), *range(1, len(agent.body), 13)}):
            agent.asks.clear()
            agent.rejoins.clear()
            agent.cuts = [cut]
            reading = Reading(agent, configure)
            assert await reading.read() == expected, f"cut before {agent.body[cut : cut + 20]!r}"
            assert (len(agent.asks), len(agent.rejoins), agent.stops) == (1, 1, [])
            assert [detachment.result for detachment in reading.answer.detachments] == ["resumed"]


async def test_cut_again_and_again_it_is_the_same(configure):
    async with ResumableAgent(OWN) as agent:
        expected = await whole(agent, configure)
        agent.cuts = [len(event) + extra for event in agent.events[:-1] for extra in (3, 0)][:12]
        assert await Reading(agent, configure).read() == expected
        assert len(agent.rejoins) > 5
        assert agent.rejoins[0].path == f"/agent/message/stream/{TURN_ID}"
        assert agent.rejoins[0].headers["last-event-id"] == "1"
        assert agent.rejoins[0].headers["x-internal-auth"]


FRAMES_BEHIND = [0, 1, 2, 3, 4, 5, 5, 6]  # so many events of OWN


@pytest.mark.parametrize("events", range(len(OWN)))
async def test_another_worker_goes_on_behind_any_event(configure, events):
    """Its frames, behind those that are in the log, are the same answer."""
    async with ResumableAgent(OWN) as agent:
        expected = await whole(agent, configure)
        agent.hold_after = events
        first = Reading(agent, configure)
        running = asyncio.ensure_future(first.read())
        await first.until(FRAMES_BEHIND[events])
        first.answer.leave()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        agent.go_on.set()
        stored, position = first.positions[-1]
        assert stored == FRAMES_BEHIND[events]
        second = Reading(agent, configure, position=position, so_far=first.frames)
        assert first.brief + await second.read() == expected
        assert (second.answer.tokens, second.answer.usage.input_tokens) == (2, 3)
        assert (len(agent.asks), agent.stops) == (2, [])  # one of them for the whole


async def test_an_event_that_gave_two_frames_is_taken_up_between_them(configure):
    async with ResumableAgent([token("a"), {"type": "assistant_message", "token": "b", "is_final": True}]) as agent:
        first = Reading(agent, configure)
        expected = await first.read()
        assert first.positions[-1] == (2, AgentPosition("1", "1", 1))
        second = Reading(agent, configure, position=AgentPosition("1", "1", 1), so_far=first.frames[:2])
        assert first.brief[:2] + await second.read() == expected


async def test_frames_that_differ_from_those_in_the_log_are_no_continuation(configure):
    async with ResumableAgent([token("a"), {"type": "assistant_message", "token": "b", "is_final": True}]) as agent:
        first = Reading(agent, configure)
        await first.read()
        agent.values = [token("a"), {"type": "assistant_message", "token": "other", "is_final": True}]
        second = Reading(agent, configure, position=AgentPosition("1", "1", 1), so_far=first.frames[:2])
        with pytest.raises(Interrupted):
            await second.read()
        assert second.frames == []


class Opaque(Dialect):
    """Names its events by words."""

    def events(self, values):
        return [event.replace(b"id: ", b"id: \xc3\xa9-") for event in super().events(values)]


class Inclusive(Dialect):
    """Sends the last event again."""

    def place(self, events, cursor):
        return super().place(events, cursor) - 1


class FromTheStart(Dialect):
    def place(self, events, cursor):
        return 0


class OpaqueFromTheStart(Opaque, FromTheStart):
    pass


@pytest.mark.parametrize("dialect", [Opaque, Inclusive, FromTheStart, OpaqueFromTheStart])
async def test_what_the_agent_sends_again_is_dropped(configure, dialect):
    async with ResumableAgent(OWN, dialect()) as agent:
        expected = await whole(agent, configure)
        for number in range(1, len(OWN)):
            agent.cuts = [sum(map(len, agent.events[:number])) + 3]
            first = Reading(agent, configure)
            assert await first.read() == expected
            stored, position = first.positions[-1]
            second = Reading(agent, configure, position=position, so_far=first.frames[:stored])
            assert first.brief[:stored] + await second.read() == expected


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(lambda events, asked: events[4:], id="jumps"),
        pytest.param(lambda events, asked: events[:1] + events[4:], id="goes back, then jumps"),
    ],
)
async def test_a_hole_is_an_error(configure, rest):
    async with ResumableAgent(OWN) as agent:
        agent.cuts, agent.rest = [sum(map(len, agent.events[:3]))], rest
        reading = Reading(agent, configure)
        with pytest.raises(UpstreamEof):
            await reading.read()
        assert len(reading.frames) == 3
        assert [detachment.result for detachment in reading.answer.detachments] == ["resumed", "lost"]
        assert len(agent.stops) == 1


@pytest.mark.parametrize("status", [204, 404, 410, 401, 302])
async def test_a_run_that_is_gone_ends_the_turn_as_ever(configure, status):
    async with ResumableAgent(OWN) as agent:
        agent.cuts, agent.refusals = [100], [status]
        reading = Reading(agent, configure)
        with pytest.raises(UpstreamEof):
            await reading.read()
        assert (len(agent.asks), len(agent.rejoins)) == (1, 1)
        assert [detachment.result for detachment in reading.answer.detachments] == ["gone"]
        assert str(status) in reading.answer.evidence.cause


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_agent_that_is_not_there_yet_is_asked_again(configure, status):
    async with ResumableAgent(OWN) as agent:
        expected = await whole(agent, configure)
        agent.cuts, agent.refusals = [100], [status] * 3
        reading = Reading(agent, configure)
        assert await reading.read() == expected
        assert [detachment.attempts for detachment in reading.answer.detachments] == [4]


async def test_an_agent_that_restarts_and_kept_its_runs_goes_on(configure):
    async with ResumableAgent(OWN, hold_after=3) as agent:
        reading = Reading(agent, configure)
        running = asyncio.ensure_future(reading.read())
        await reading.until(3)
        await agent.die()
        agent.go_on.set()
        await agent.listen()
        found = await running
        assert found == await whole(agent, configure)


async def test_an_agent_that_stays_away_ends_the_turn_in_time_and_is_told(configure):
    configure(AGENT_RESUME_SECONDS="0.2")
    async with ResumableAgent(OWN) as agent:
        agent.cuts, agent.refusals = [100], [503] * 1_000
        reading = Reading(agent, configure)
        with pytest.raises(UpstreamEof):
            await reading.read()
        assert [detachment.result for detachment in reading.answer.detachments] == ["gave_up"]
        assert len(agent.stops) == 1


async def test_an_agent_that_only_ever_connects_has_no_more_time(configure):
    """A connection without a new event does not start the time again."""
    configure(AGENT_RESUME_SECONDS="0.2")
    async with ResumableAgent(OWN) as agent:
        agent.cuts = [100, *[2] * 100_000]
        with pytest.raises(UpstreamEof):
            await Reading(agent, configure).read()


async def test_a_silent_agent_is_asked_once_whether_it_is_at_work(configure, clock):
    configure(REQUEST_TIMEOUT="10")
    async with ResumableAgent(OWN, hold_after=3) as agent:
        reading = Reading(agent, configure)
        running = asyncio.gather(reading.read(), reading.answer.watch_silence())
        await reading.until(FRAMES_BEHIND[3])
        clock.advance(10)
        async with asyncio.timeout(LIMIT_SECONDS):
            while not reading.answer.detachments:
                await asyncio.sleep(0)
        clock.advance(10)
        with pytest.raises(UpstreamTimeout):
            await running
        assert len(agent.rejoins) == 1


async def test_without_the_header_or_the_setting_nothing_is_rejoined(configure):
    class Plain(Dialect):
        head: ClassVar = {}

    async with ResumableAgent(OWN, Plain()) as agent:
        agent.cuts = [100]
        reading = Reading(agent, configure)
        with pytest.raises(UpstreamEof):
            await reading.read()
        assert {position for _, position in reading.positions} == {None}
        assert (agent.rejoins, agent.stops) == ([], [])
    configure(AGENT_RESUME_SECONDS="0")
    async with ResumableAgent(OWN) as agent:
        agent.cuts = [100]
        reading = Reading(agent, configure)
        with pytest.raises(UpstreamEof):
            await reading.read()
        assert {position for _, position in reading.positions} == {None}
        assert (agent.rejoins, len(agent.stops)) == ([], 1)  # it would go on by itself
        assert reading.client.go_on(turn(position=AgentPosition("1", "1")), [], is_whole=True) is None


async def test_an_event_without_an_id_of_its_own_ends_what_can_be_rejoined(configure):
    class Careless(Dialect):
        def events(self, values):
            first, second, *others = super().events(values)
            return [first, second.partition(b"\n")[2], *others]

    async with ResumableAgent(OWN, Careless()) as agent:
        agent.cuts = [sum(map(len, agent.events[:3]))]
        reading = Reading(agent, configure)
        with pytest.raises(UpstreamEof):
            await reading.read()
        assert agent.rejoins == []
        assert reading.answer.position is None


@pytest.mark.parametrize("is_detached", [False, True])
async def test_stop_tells_the_agent(configure, is_detached):
    async with ResumableAgent(OWN, hold_after=3) as agent:
        if is_detached:
            agent.cuts, agent.refusals = [100], [503] * 1_000
        reading = Reading(agent, configure)
        running = asyncio.ensure_future(reading.read())
        await agent.until(lambda: agent.asks)
        if is_detached:
            await agent.until(lambda: len(agent.rejoins) > 2)
        else:
            await reading.until(3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await reading.client.close()
        assert [(asked.method, asked.path) for asked in agent.stops] == [("DELETE", f"/agent/message/stream/{TURN_ID}")]


async def test_another_worker_that_finds_the_run_gone_says_that_it_was_interrupted(configure):
    async with ResumableAgent(OWN) as agent:
        agent.refusals = [410]
        with pytest.raises(Interrupted):
            await Reading(agent, configure, position=AgentPosition("1", "1")).read()
        assert agent.asks == []


async def test_detachments_are_counted(configure):
    def count():
        return metrics.UPSTREAM_RESUMES.labels("agent", "resumed")._value.get()

    async with ResumableAgent(OWN) as agent:
        before = count()
        agent.cuts = [100]
        await Reading(agent, configure).read()
        assert count() == before + 1
