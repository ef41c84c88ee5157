"""A2A's tasks: they are rejoined by a snapshot, of which only the missing rest is given out; never a splice."""

from __future__ import annotations

import copy
import json
from itertools import groupby
from typing import ClassVar

import pytest

from relay.agent import client, protocols
from relay.exceptions import Interrupted, UpstreamEof
from relay.layers.values import AgentPosition
from relay.protocol.event_stream import EventStreamDecoder
from relay.protocol.frames import FrameKind
from tests.resumable_agent import Dialect, ResumableAgent
from tests.unit.agent import vectors
from tests.unit.agent.test_rejoining import Reading, configure, turn, whole, without_pauses

__all__ = ["configure", "without_pauses"]


def piece(text, artifact="a1", *, append=True):
    return {"artifactUpdate": {"taskId": "t1", "append": append, "artifact": {"artifactId": artifact, "parts": [text]}}}


def status(state, text=None, message="m1"):
    said = {"message": {"messageId": message, "role": "ROLE_AGENT", "parts": [{"text": text}]}} if text else {}
    return {"statusUpdate": {"taskId": "t1", "status": {"state": f"TASK_STATE_{state}", **said}}}


TASK = [
    {"task": {"id": "t1", "contextId": "s", "status": {"state": "TASK_STATE_SUBMITTED"}}},
    status("WORKING", "Looking. "),
    piece({"text": "a "}, append=False),
    piece({"text": "größer "}),
    piece({"data": {"x": 1}}),
    piece({"text": "b"}),
    piece({"text": "second"}, "a2", append=False),
    piece({"text": " end"}, "a2"),
    status("COMPLETED"),
]


def snapshot(results):
    """The task as its server keeps it behind these results."""
    task = {"id": "t1", "contextId": "s", "status": {}, "artifacts": [], "history": []}
    for result in copy.deepcopy(results):
        if "statusUpdate" in result:
            if "message" in task["status"]:
                task["history"].append(task["status"]["message"])
            task["status"] = result["statusUpdate"]["status"]
        elif "task" in result:
            task["status"] = result["task"]["status"]
        else:
            update = result["artifactUpdate"]["artifact"]
            known = [each for each in task["artifacts"] if each["artifactId"] == update["artifactId"]]
            if known:
                known[0]["parts"] += update["parts"]
            else:
                task["artifacts"].append(update)
    return task


class Tasks(Dialect):
    head: ClassVar = {}

    def kind(self, asked):
        return {"SendStreamingMessage": "ask", "SubscribeToTask": "rejoin", "CancelTask": "stop", "GetTask": "result"}[
            asked.body["method"]
        ]

    def events(self, values):
        return [f"data: {json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': value})}\n\n".encode() for value in values]

    def result(self, values):
        return json.dumps({"jsonrpc": "2.0", "id": 1, "result": snapshot(values)}).encode()


def rejoined_behind(values, number, again=0):
    """What a server sends that is rejoined when so many results have come, of which it sends the last few again."""
    return lambda events, asked: Tasks().events([{"task": snapshot(values[:number])}, *values[number - again :]])


def merged(brief):
    """Frames with neighbouring tokens as one: where a text is cut is the agent's affair."""
    found = []
    for is_token, frames in groupby(brief, lambda frame: frame[0] is FrameKind.TOKEN):
        if is_token:
            found.append("".join(json.loads(body)["token"] for _, body, _ in frames))
        else:
            found += frames
    return found


@pytest.fixture(autouse=True)
def without_pause(monkeypatch):
    monkeypatch.setattr(client, "WHOLE_PAUSE_SECONDS", 0.0)


@pytest.fixture
async def agent():
    async with ResumableAgent(TASK, Tasks()) as agent:
        yield agent


@pytest.mark.parametrize("within", [0, 9])
@pytest.mark.parametrize("seen", range(1, len(TASK)))
async def test_cut_anywhere_the_text_is_the_same(agent, configure, seen, within):
    """However much has happened meanwhile, and however much of it the server sends again behind its snapshot."""
    expected = merged(await whole(agent, configure, "a2a"))
    for happened in range(seen, len(TASK)):
        for again in range(happened):
            agent.asks.clear()
            agent.cuts = [sum(map(len, agent.events[:seen])) + within]
            agent.rest = rejoined_behind(TASK, happened, again)
            reading = Reading(agent, configure, "a2a")
            try:
                found = await reading.read()
            except UpstreamEof:  # where its place is not known: see below
                assert _is_ambiguous(seen, happened)
            else:
                assert merged(found) == expected, f"{seen} seen, {happened} happened, {again} again"
            assert len(agent.asks) == 1


async def test_cut_behind_many_bytes(agent, configure):
    agent.values = [TASK[0], piece({"text": "größer "}, append=False), TASK[8]]
    expected = merged(await whole(agent, configure, "a2a"))
    ends = [sum(map(len, agent.events[:number])) for number in range(len(agent.values) + 1)]
    for cut in range(1, len(agent.body), 3):
        agent.asks.clear()
        agent.cuts = [cut]
        seen = sum(end <= cut for end in ends) - 1
        agent.rest = rejoined_behind(agent.values, min(seen + cut % 2, 2), again=cut % 2)
        reading = Reading(agent, configure, "a2a")
        if seen:
            assert merged(await reading.read()) == expected, f"cut behind {agent.body[:cut][-20:]!r}"
            assert [frame.is_terminal for frame in reading.frames].count(True) == 1
        else:  # the task has no name yet
            with pytest.raises(UpstreamEof):
                await reading.read()
        assert len(agent.asks) == 1


def _is_ambiguous(seen, happened):
    """Words of a status beside an artifact's have no place in what is new."""
    return seen == 1 and happened >= 3


@pytest.mark.parametrize("seen", range(1, len(TASK)))
async def test_a_task_that_has_ended_meanwhile_is_read_as_a_whole(agent, configure, seen):
    expected = merged(await whole(agent, configure, "a2a"))
    agent.asks.clear()
    agent.cuts, agent.refusals = [sum(map(len, agent.events[:seen]))], [200, 200]
    agent.result_refusals = [503]
    reading = Reading(agent, configure, "a2a")
    try:
        assert merged(await reading.read()) == expected
    except UpstreamEof:
        assert _is_ambiguous(seen, len(TASK))
    assert (len(agent.asks), len(agent.results)) == (1, 2)


@pytest.mark.parametrize("seen", range(1, len(TASK)))
async def test_another_worker_gives_the_rest(agent, configure, seen):
    """Of a task without words in its status: those are not in the snapshot once there are others."""
    values = [*TASK[:1], status("WORKING"), *TASK[2:]]
    agent.values = values
    expected = merged(await whole(agent, configure, "a2a"))
    agent.cuts, agent.refusals = [sum(map(len, agent.events[:seen]))], [404]
    agent.result_refusals = [410]
    first = Reading(agent, configure, "a2a")
    configure(AGENT_RESUME_SECONDS="0.1")
    with pytest.raises(UpstreamEof):
        await first.read()
    configure(AGENT_RESUME_SECONDS="30")
    stored, position = first.positions[-1]
    for happened in range(seen, len(values)):
        agent.rest = rejoined_behind(values, happened, again=happened - 1)
        second = Reading(agent, configure, "a2a", position=position, so_far=first.frames[:stored])
        assert merged(first.brief[:stored] + await second.read()) == expected


def test_pieces_behind_a_snapshot_are_read_from_the_next_one():
    """Their text comes in steps, with each answer to a request for the task."""

    def read(*results):
        return merged([(frame.kind, frame.body, frame.members) for frame in reader.frames(_events(results))])

    reader = vectors.reader(protocols.load("a2a"), turn=turn())
    reader.may_resume = True
    assert read(*TASK[:3])[-1] == "a "
    reader.rejoined()
    assert (read({"task": snapshot(TASK[:4])}), reader.wants_whole) == (["größer "], False)
    assert (read(TASK[3], TASK[4], status("WORKING"), TASK[5]), reader.wants_whole) == ([], True)
    reader.rejoined()
    assert (read(snapshot(TASK[:5]))[0][0], reader.wants_whole) == (FrameKind.EVENT, False)
    assert (read(TASK[5]), reader.wants_whole) == ([], True)
    reader.rejoined()
    assert (read(snapshot(TASK[:6])), reader.wants_whole) == (["b"], False)
    assert (read(*TASK[6:])[1:-1], reader.wants_whole) == (["second end"], False)  # no snapshot can have these
    assert reader.is_over


def _events(results):
    return EventStreamDecoder(65_536).feed(b"".join(Tasks().events(results)))


async def test_an_agent_that_cannot_give_its_task_now_is_rejoined_again(agent, configure):
    expected = merged(await whole(agent, configure, "a2a"))
    agent.cuts, agent.result_refusals = [sum(map(len, agent.events[:3]))], [500, 503]
    agent.rest = rejoined_behind(TASK, 3)
    reading = Reading(agent, configure, "a2a")
    assert merged(await reading.read()) == expected
    assert [detachment.result for detachment in reading.answer.detachments] == ["resumed"] * 3


LIES = {
    "goes back": TASK[:3],
    "another text": [*TASK[:2], piece({"text": "other "}, append=False), *TASK[3:]],
    "without the artifact": TASK[:2],
    "another task": [{"task": {**TASK[0]["task"], "id": "t2"}}, *TASK[1:]],
    "without its data": [*TASK[:4], *TASK[5:]],
}


@pytest.mark.parametrize("place", ["snapshot", "result", "result beside the stream"])
@pytest.mark.parametrize("lie", LIES)
async def test_a_task_that_does_not_begin_with_what_was_said_is_an_error(agent, configure, lie, place):
    agent.cuts = [sum(map(len, agent.events[:5]))]
    if place == "snapshot":
        agent.rest = lambda events, asked: Tasks().events([{"task": _snapshot_of(lie)}, *TASK[5:]])
    else:
        agent.dialect.result = lambda values: json.dumps({"result": _snapshot_of(lie)}).encode()
        agent.refusals = [200] if place == "result" else []
        agent.rest = rejoined_behind(TASK, 5)
    reading = Reading(agent, configure, "a2a")
    with pytest.raises(UpstreamEof):
        await reading.read()
    assert len(reading.frames) == 5


def _snapshot_of(lie):
    return {**snapshot(LIES[lie]), "id": "t2" if lie == "another task" else "t1"}


@pytest.mark.parametrize("body", [b"{}", b'{"error":{"code":-32001,"message":"Task not found"}}', b"<html>", b"[]"])
async def test_an_agent_that_has_forgotten_its_task_ends_the_turn_as_ever(agent, configure, body):
    agent.cuts, agent.refusals = [sum(map(len, agent.events[:5]))], [200]
    agent.dialect.result = lambda values: body
    reading = Reading(agent, configure, "a2a")
    with pytest.raises(UpstreamEof):
        await reading.read()
    assert [detachment.result for detachment in reading.answer.detachments] == ["gone"]
    agent.refusals = [200]
    with pytest.raises(Interrupted):
        await Reading(agent, configure, "a2a", position=AgentPosition("t1")).read()


async def test_words_without_an_id_are_said_once_or_end_the_turn(agent, configure):
    """Nothing shows whether words of a status that have no id were said before."""
    agent.values = [*TASK[:1], status("WORKING", "Looking. ", ""), *TASK[2:]]
    agent.cuts = [sum(map(len, agent.events[:2]))]
    for happened, again in ((2, 0), (2, 1)):
        agent.rest = rejoined_behind(agent.values, happened, again)
        agent.cuts = [sum(map(len, agent.events[:2]))]
        with pytest.raises(UpstreamEof):
            await Reading(agent, configure, "a2a").read()


async def test_a_task_that_is_sent_whole_many_times_has_the_limit_of_one_answer(agent, configure):
    text = "x" * 3_000
    agent.values = [TASK[0], piece({"text": text}, append=False), *[piece({"text": "y"})] * 9, status("COMPLETED")]
    configure(MAX_TURN_BYTES="8000")
    expected = merged(await whole(agent, configure, "a2a"))
    agent.cuts = [sum(map(len, agent.events[: 2 + number])) + 9 for number in range(9)]
    agent.cuts = [agent.cuts[0], *[len(json.dumps(snapshot(agent.values[:3]))) + 200] * 8]
    happened = iter(range(3, 12))
    agent.rest = lambda events, asked: rejoined_behind(agent.values, next(happened))(events, asked)
    assert merged(await Reading(agent, configure, "a2a").read()) == expected


async def test_another_text_is_an_error_and_no_splice(agent, configure):
    other = copy.deepcopy(TASK)
    other[2] = piece({"text": "other "}, append=False)
    agent.cuts, agent.rest = [sum(map(len, agent.events[:4]))], rejoined_behind(other, 6)
    reading = Reading(agent, configure, "a2a")
    with pytest.raises(UpstreamEof):
        await reading.read()
    stored, position = reading.positions[-1]
    second = Reading(agent, configure, "a2a", position=position, so_far=reading.frames[:stored])
    with pytest.raises(Interrupted):
        await second.read()
    assert second.frames == []


WORDS = [status("WORKING", "Gone.", "m2"), status("WORKING", "New.", "m3")]


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param([{"task": {**snapshot(TASK[:5]), "id": "t2"}}], id="another task"),
        pytest.param([status("WORKING")], id="no snapshot"),
        pytest.param(
            [{"task": snapshot([*TASK[:3], status("WORKING", "Gone.", "m2"), status("WORKING", "New.", "m3")])}],
            id="words between",
        ),
    ],
)
async def test_what_has_no_place_is_an_error(agent, configure, rest):
    agent.cuts = [sum(map(len, agent.events[:3]))]
    agent.rest = lambda events, asked: Tasks().events([*rest, *TASK[-1:]])
    with pytest.raises(UpstreamEof):
        await Reading(agent, configure, "a2a").read()


async def test_stop_is_told_by_the_worker_that_took_over(agent, configure):
    reading = Reading(agent, configure, "a2a", position=AgentPosition("t1"))
    reading.answer.stop()
    await reading.client.close()
    assert [asked.body["params"] for asked in agent.stops] == [{"id": "t1"}]


def test_turn_that_answers_a_task_is_not_taken_over():
    """Its snapshot has what the turn before it said."""
    answering = turn()
    answering.message = {"type": "tool_result", "call_id": "t1", "result": "yes"}
    reader = protocols.load("a2a").reader(answering, max_turn_bytes=1_000, redact=str)
    assert not reader.take_over(AgentPosition("t1"), [], is_whole=True)
