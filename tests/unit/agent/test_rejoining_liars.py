"""Agents that do not continue where they are asked to: the same answer, or an error; never a hole or a repetition."""

from __future__ import annotations

import asyncio
import re

import pytest

from relay.exceptions import Interrupted, UpstreamEof
from tests.resumable_agent import Dialect, ResumableAgent
from tests.unit.agent.test_rejoining import FRAMES_BEHIND, OWN, Opaque, Reading, configure, whole, without_pauses
from tests.unit.agent.test_rejoining_protocols import AGUI, LANGGRAPH, RESPONSES, AgUi, LangGraph, Responses

__all__ = ["configure", "without_pauses"]

KINDS = {
    "agent": ("agent", Dialect, OWN),
    "agent, opaque ids": ("agent", Opaque, OWN),
    "responses": ("responses", Responses, RESPONSES),
    "langgraph": ("langgraph", LangGraph, LANGGRAPH),
    "agui": ("agui", AgUi, AGUI),
}
BEHIND_CALL = 4  # in OWN
COUNTED = ("agent", "responses")
OVERLAPPING = ("langgraph", "agui")

# What a rejoining request gets, from all events and how many of them were read.
HARMLESS = {
    "repeats its last": lambda events, at: events[max(at - 1, 0) :],
    "goes back": lambda events, at: events[max(at - 3, 0) :],
    "starts again": lambda events, at: events,
    "sends each twice": lambda events, at: [event for event in events[max(at - 1, 0) :] for _ in range(2)],
}
HARMFUL = {
    "jumps": (lambda events, at: events[at + 1 :], (*COUNTED, *OVERLAPPING)),
    "jumps far": (lambda events, at: events[at + 3 :], (*COUNTED, *OVERLAPPING)),
    "repeats its last, then jumps": (lambda events, at: events[at - 1 : at] + events[at + 1 :], COUNTED),
    "goes back, then jumps": (lambda events, at: events[max(at - 2, 0) : at - 1] + events[at:], OVERLAPPING),
    "says something else": (lambda events, at: [_other(event) for event in events[at - 1 :]], OVERLAPPING),
    "has no cursors": (lambda events, at: [_bare(event) for event in events[at:]], tuple(KINDS)),
}


def _other(event):
    return re.sub(rb"^data: (.)", rb"data: \1 ", event, flags=re.M)


def _bare(event):
    event = re.sub(rb"^id: .*\n", b"", event, flags=re.M)
    return re.sub(rb', "sequence_number": \d+', b"", event)


@pytest.fixture(params=list(KINDS))
async def kind(request, configure):
    """The kind's name, its protocol, an agent, and its answer when nothing breaks."""
    protocol, dialect, values = KINDS[request.param]
    async with ResumableAgent(values, dialect()) as agent:
        configure(AGENT_RESUMES="true")
        yield request.param, protocol, agent, await whole(agent, configure, protocol)


class Cut:
    """An answer that is cut behind so many events, and the agent's next words."""

    def __init__(self, kind, configure, at):
        self.name, self.protocol, self.agent, self.expected = kind
        self.agent.asks.clear()
        self.agent.rejoins.clear()
        kind_of, size = self.agent.dialect.kind, sum(map(len, self.agent.events[:at]))
        self.agent.cuts = lambda asked: size if kind_of(asked) == "ask" else None
        self.reading = Reading(self.agent, configure, self.protocol)

    async def is_the_same(self):
        assert await self.reading.read() == self.expected
        assert len(self.agent.asks) == 1

    async def is_an_error(self):
        with pytest.raises(UpstreamEof):
            await self.reading.read()
        found = self.reading.brief
        assert found == self.expected[: len(found)]
        assert len(found) < len(self.expected)
        assert len(self.agent.asks) == 1


def places(kind):
    """Behind how many events to cut. Before its first event a response or a run has no name."""
    return range(1, len(kind[2].events))


def places_within(kind):
    """The same, without the place behind a tool call: a body of the gateway's own protocol may end there."""
    return [at for at in places(kind) if kind[1] != "agent" or at != BEHIND_CALL]


@pytest.mark.parametrize("lie", HARMLESS)
async def test_events_that_were_read_are_dropped(kind, configure, lie):
    for at in places(kind):
        kind[2].rest = lambda events, asked, at=at: HARMLESS[lie](events, at)
        await Cut(kind, configure, at).is_the_same()


@pytest.mark.parametrize("lie", HARMFUL)
async def test_events_that_do_not_follow_are_an_error(kind, configure, lie):
    configure(AGENT_RESUME_SECONDS="0.1")
    rest, seen_by = HARMFUL[lie]
    if kind[0] not in seen_by:
        return  # its cursors show nothing: see docs/protocol.md
    for at in places(kind):
        if at == 1 and (kind[0] == "agui" or lie == "goes back, then jumps"):
            continue  # nothing comes before its first event
        kind[2].rest = lambda events, asked, at=at: rest(events, at)
        await Cut(kind, configure, at).is_an_error()


@pytest.mark.parametrize("status", [404, 410])
async def test_a_forgotten_run_is_an_error(kind, configure, status):
    for at in places(kind):
        cut = Cut(kind, configure, at)
        kind[2].refusals = [status]
        await cut.is_an_error()
        assert len(kind[2].rejoins) == 1


async def test_a_failure_or_an_empty_stream_is_tried_again(kind, configure):
    for at in places_within(kind):
        answers = iter([[], [], None])

        def rest(events, asked, answers=answers):
            found = next(answers)
            return kind[2].dialect.rest(events, asked) if found is None else found

        cut = Cut(kind, configure, at)
        kind[2].refusals, kind[2].rest = [500, 0, 503], rest
        await cut.is_the_same()


async def test_streams_that_stay_empty_are_an_error(kind, configure):
    configure(AGENT_RESUME_SECONDS="0.05")
    for at in places_within(kind):
        kind[2].rest = lambda events, asked: []
        await Cut(kind, configure, at).is_an_error()


async def taken_over(agent, configure, at, rest):
    """An answer that another worker takes over behind so many events, and the frames that are stored."""
    agent.rest, agent.hold_after = None, at
    first = Reading(agent, configure)
    running = asyncio.ensure_future(first.read())
    await first.until(FRAMES_BEHIND[at])
    first.answer.leave()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    stored, position = first.positions[-1]
    agent.hold_after, agent.rest = None, lambda events, asked: rest(events, at)
    return first.brief[:stored], Reading(agent, configure, position=position, so_far=first.frames[:stored])


@pytest.mark.parametrize("lie", HARMLESS)
@pytest.mark.parametrize("dialect", [Dialect, Opaque])
async def test_another_worker_drops_events_that_were_read(configure, dialect, lie):
    if dialect is Opaque and lie == "goes back":
        return  # it knows the first and the last of their ids only
    async with ResumableAgent(OWN, dialect()) as agent:
        expected = await whole(agent, configure)
        for at in range(1, len(OWN)):
            stored, reading = await taken_over(agent, configure, at, HARMLESS[lie])
            assert stored + await reading.read() == expected


@pytest.mark.parametrize("lie", ["jumps", "jumps far", "repeats its last, then jumps"])
async def test_another_worker_sees_that_events_are_missing(configure, lie):
    async with ResumableAgent(OWN) as agent:
        expected = await whole(agent, configure)
        configure(AGENT_RESUME_SECONDS="0.1")
        for at in range(1, len(OWN)):
            stored, reading = await taken_over(agent, configure, at, HARMFUL[lie][0])
            with pytest.raises((Interrupted, UpstreamEof)):
                await reading.read()
            assert stored + reading.brief == expected[: len(stored) + len(reading.brief)]


async def test_another_worker_sees_an_opaque_event_that_comes_again_behind_others(configure):
    """By then it has passed on a repetition: ids that are numbers show it at once."""
    async with ResumableAgent(OWN, Opaque()) as agent:
        configure(AGENT_RESUME_SECONDS="0.1")
        _, reading = await taken_over(agent, configure, 5, HARMLESS["goes back"])
        with pytest.raises(Interrupted):
            await reading.read()
