"""Each protocol whose agents keep their runs: a cut anywhere, another worker behind any event, the same answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import ClassVar

import pytest

from relay.agent import protocols
from relay.exceptions import Interrupted, UpstreamEof
from relay.layers.values import AgentPosition
from relay.protocol.event_stream import EventStreamDecoder
from tests.resumable_agent import Dialect, ResumableAgent
from tests.unit.agent import vectors
from tests.unit.agent.test_rejoining import OWN, Reading, configure, turn, whole, without_pauses

__all__ = ["configure", "without_pauses"]

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "clock"}
RESPONSES = [
    {"type": "response.created", "response": {"id": "resp_1"}},
    {"type": "response.in_progress", "response": {"id": "resp_1"}},
    {"type": "response.reasoning_text.delta", "delta": "hm", "output_index": 0},
    {"type": "response.output_item.added", "output_index": 1, "item": CALL},
    {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"zone":'},
    {"type": "response.function_call_arguments.done", "output_index": 1, "arguments": '{"zone":"UTC"}'},
    {"type": "response.output_item.done", "output_index": 1, "item": {**CALL, "arguments": '{"zone":"UTC"}'}},
    {"type": "response.output_text.delta", "delta": "a ", "output_index": 2, "item_id": "m1"},
    {"type": "response.output_text.delta", "delta": "größer ", "output_index": 2, "item_id": "m1"},
    {"type": "response.output_text.delta", "delta": "b", "output_index": 3, "item_id": "m2"},
    {
        "type": "response.completed",
        "response": {
            "id": "resp_1",
            "output": [{**CALL, "arguments": '{"zone":"UTC"}'}],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        },
    },
]


# Of a server that runs responses in the background: azure-ai-agentserver-responses 2.3.0.
RECORDED = json.loads(Path(__file__).with_name("responses_background.json").read_text())


class Responses(Dialect):
    head: ClassVar = {}

    def kind(self, asked):
        if asked.method == "GET":
            return "rejoin"
        return "stop" if asked.path.endswith("/cancel") else "ask"

    def events(self, values):
        return [
            f"event: {value['type']}\ndata: {json.dumps({**value, 'sequence_number': n})}\n\n".encode()
            for n, value in enumerate(values)
        ]

    def rest(self, events, asked):
        assert asked.path.startswith("/v1/responses/resp_1?")
        assert asked.query["stream"] == "true"
        return events[int(asked.query.get("starting_after", "-1")) + 1 :]


def chunk(text, **fields):
    return ["messages", [{"type": "AIMessageChunk", "content": text, "id": "m1", **fields}, {}]]


def call(**fields):
    return chunk("", tool_call_chunks=[{"index": 0, **fields}])


LANGGRAPH = [
    ["metadata", {"run_id": "r1", "attempt": 1}],
    chunk("a "),
    call(id="c1", name="clock", args=""),
    call(args='{"zone":'),
    call(args='"UTC"}'),
    chunk("", chunk_position="last", usage_metadata={"input_tokens": 3, "output_tokens": 4}),
    ["updates", {"model": {}}],
    ["messages", [{"type": "tool", "tool_call_id": "c1", "content": "noon"}, {}]],
    ["updates", {"tools": {}}],
    ["messages", [{"type": "AIMessageChunk", "content": "größer", "id": "m2"}, {}]],
    ["custom", {"type": "note", "x": 1}],
    ["updates", {"model": {}}],
]


class LangGraph(Dialect):
    head: ClassVar = {"Content-Location": "/threads/t/runs/r1"}

    def kind(self, asked):
        if asked.method == "GET":
            return "rejoin"
        return "stop" if asked.path.endswith("/cancel") else "ask"

    def events(self, values):
        return [
            f"event: {name}\ndata: {json.dumps(value)}\nid: 1764403200000-{n}\n\n".encode()
            for n, (name, value) in enumerate(values)
        ]

    def rest(self, events, asked):
        assert asked.path.endswith("/runs/r1/stream")
        cursor = asked.headers["last-event-id"]
        return events if cursor == "0-0" else events[int(cursor.partition("-")[2]) + 1 :]


class LangGraphInOneMillisecond(LangGraph):
    """Its events share their ids: the server without Redis counts milliseconds."""

    def events(self, values):
        return [
            f"event: {name}\ndata: {json.dumps(value)}\nid: 1764403200000-{n // 3}\n\n".encode()
            for n, (name, value) in enumerate(values)
        ]

    def rest(self, events, asked):
        cursor = asked.headers["last-event-id"]
        rest = events if cursor == "0-0" else events[3 * (int(cursor.partition("-")[2]) + 1) :]
        return [*rest[:4], *rest[2:4], *rest[4:]]


class LangGraphTwice(LangGraph):
    """What is written while a client joins comes twice: from the store, and from the queue."""

    def rest(self, events, asked):
        rest = super().rest(events, asked)
        return [*rest[:3], *rest[1:3], *rest[3:]]


KINDS = {
    "agent": ("agent", Dialect, OWN),
    "responses": ("responses", Responses, RESPONSES),
    "responses, recorded": ("responses", Responses, RECORDED),
    "langgraph": ("langgraph", LangGraph, LANGGRAPH),
    "langgraph in one millisecond": ("langgraph", LangGraphInOneMillisecond, LANGGRAPH),
    "langgraph twice": ("langgraph", LangGraphTwice, LANGGRAPH),
}


@pytest.fixture(params=list(KINDS))
async def kind(request, configure):
    """A protocol's name, and an agent that speaks it."""
    protocol, dialect, values = KINDS[request.param]
    async with ResumableAgent(values, dialect()) as agent:
        yield protocol, agent


def frames_behind(protocol, agent, events):
    """How many frames the first events of the run give."""
    reader = vectors.reader(protocols.load(protocol), turn=turn())
    reader.may_resume = True
    reader.opened(agent.dialect.head)
    return len(reader.frames(EventStreamDecoder(65_536).feed(b"".join(agent.events[:events]))))


async def test_cut_behind_or_within_any_event(kind, configure):
    protocol, agent = kind
    expected = await whole(agent, configure, protocol)
    ends = [sum(map(len, agent.events[:number])) for number in range(len(agent.events) + 1)]
    first = 0 if protocol != "responses" else 1  # before its first event a response has no name
    for cut in sorted({end + within for end in ends[first:-1] for within in (1, 9, 40)} | {*ends[first + 1 :]}):
        agent.asks.clear()
        agent.cuts = [cut]
        reading = Reading(agent, configure, protocol)
        assert await reading.read() == expected, f"cut behind {agent.body[cut - 20 : cut]!r}"
        assert (len(agent.asks), agent.stops) == (1, [])


async def test_another_worker_behind_any_event(kind, configure):
    protocol, agent = kind
    expected = await whole(agent, configure, protocol)
    for events in range(protocol == "responses", len(agent.events)):
        agent.hold_after, agent.asks, agent.rejoins = events, [], []
        first = Reading(agent, configure, protocol)
        running = asyncio.ensure_future(first.read())
        await first.until(frames_behind(protocol, agent, events))
        first.answer.leave()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        agent.go_on.set()
        stored, position = first.positions[-1]
        second = Reading(agent, configure, protocol, position=position, so_far=first.frames[:stored])
        assert first.brief + await second.read() == expected, f"behind {events} events"
        assert second.answer.usage.input_tokens == (None if agent.values is RECORDED else 3)
        assert (len(agent.asks), len(agent.rejoins), agent.stops) == (1, 1, [])
        agent.go_on.clear()


async def test_stop_is_told_by_the_worker_that_took_over(kind, configure):
    protocol, agent = kind
    if protocol == "agent":
        return
    name = "resp_1" if protocol == "responses" else "r1"
    reading = Reading(agent, configure, protocol, position=AgentPosition(name))
    reading.answer.stop()
    await reading.client.close()
    assert len(agent.stops) == 1
    assert agent.stops[0].path.endswith(f"/{name}/cancel")


@pytest.mark.parametrize("protocol", ["responses", "langgraph"])
async def test_a_run_that_says_something_else_is_no_continuation(configure, protocol):
    protocol, dialect, values = KINDS[protocol]
    async with ResumableAgent(values, dialect()) as agent:
        first = Reading(agent, configure, protocol)
        await first.read()
        stored, position = first.positions[-1]
        text = json.dumps(values).replace("gr\\u00f6\\u00dfer", "other")
        agent.values = json.loads(text)
        second = Reading(agent, configure, protocol, position=position, so_far=first.frames[:stored])
        with pytest.raises(Interrupted):
            await second.read()
        assert second.frames == []
        agent.values = values[:3]  # and one that says less
        second = Reading(agent, configure, protocol, position=position, so_far=first.frames[:stored])
        with pytest.raises(Interrupted):
            await second.read()
        assert second.frames == []


async def test_another_response_under_the_same_name_is_lost(configure):
    async with ResumableAgent(RESPONSES, Responses()) as agent:
        agent.cuts = [len(agent.events[0])]
        agent.rest = lambda events, asked: [event.replace(b"resp_1", b"resp_2") for event in events[1:]]
        with pytest.raises(UpstreamEof):
            await Reading(agent, configure, "responses").read()


@pytest.mark.parametrize("hole", [2, 4])
async def test_a_hole_in_the_numbers_is_an_error(configure, hole):
    async with ResumableAgent(RESPONSES, Responses()) as agent:
        agent.cuts = [sum(map(len, agent.events[:2]))]
        agent.rest = lambda events, asked: events[2 + hole :]
        with pytest.raises(UpstreamEof):
            await Reading(agent, configure, "responses").read()
        reading = Reading(agent, configure, "responses", position=AgentPosition("resp_1"))
        with pytest.raises(Interrupted):
            await reading.read()


async def test_a_server_without_numbers_is_not_rejoined(configure):
    class Unnumbered(Responses):
        def events(self, values):
            return [f"data: {json.dumps(value)}\n\n".encode() for value in values]

    async with ResumableAgent(RESPONSES, Unnumbered()) as agent:
        agent.cuts = [sum(map(len, agent.events[:5]))]
        reading = Reading(agent, configure, "responses")
        with pytest.raises(UpstreamEof):
            await reading.read()
        assert (reading.answer.position, agent.rejoins) == (None, [])


@pytest.mark.parametrize("protocol", ["responses", "langgraph"])
async def test_a_trimmed_log_is_not_compared_so_the_turn_is_interrupted(configure, protocol):
    async with ResumableAgent(KINDS[protocol][2], KINDS[protocol][1]()) as agent:
        reading = Reading(agent, configure, protocol, position=AgentPosition("r", "", 1), is_whole=False)
        assert reading.answer is None


AGUI = [
    {"type": "RUN_STARTED", "threadId": "s", "runId": "r"},
    {"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": "a "},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": "größer "},
    {"type": "TEXT_MESSAGE_END", "messageId": "m1"},
    {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "clock"},
    {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": '{"zone":'},
    {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": '"UTC"}'},
    {"type": "TOOL_CALL_END", "toolCallId": "c1"},
    {"type": "RUN_FINISHED", "threadId": "s", "runId": "r"},
]


class AgUi(Dialect):
    """Knows the same request again by its cursor."""

    head: ClassVar = {}

    def kind(self, asked):
        assert (asked.method, asked.body["runId"]) == ("POST", turn().turn_id)
        return "rejoin" if "last-event-id" in asked.headers else "ask"

    def events(self, values):
        return [event.replace(b"id: ", b"id: epoch:") for event in super().events(values)]


async def test_an_ag_ui_agent_that_is_said_to_resume_is_rejoined(configure):
    async with ResumableAgent(AGUI, AgUi()) as agent:
        expected = await whole(agent, configure, "agui")
        ends = [sum(map(len, agent.events[:number])) for number in range(1, len(agent.events) + 1)]
        configure(AGENT_RESUMES="true")
        for cut in sorted({end + within for end in ends[:-1] for within in (0, 9)}):
            agent.asks.clear()
            agent.cuts = [cut]
            reading = Reading(agent, configure, "agui")
            assert await reading.read() == expected
            assert len(agent.asks) == 1
            assert {position for _, position in reading.positions} <= {None}


SMALL = {  # a text with a character of two bytes, and the end
    "agent": ("agent", Dialect, [OWN[2], OWN[7]], 0),
    "responses": (
        "responses",
        Responses,
        [RESPONSES[0], RESPONSES[8], {**RESPONSES[0], "type": RESPONSES[10]["type"]}],
        1,
    ),
    "langgraph": ("langgraph", LangGraph, [LANGGRAPH[9], LANGGRAPH[11]], 0),
    "agui": ("agui", AgUi, [*AGUI[2:4], AGUI[9]], 1),
}


@pytest.mark.parametrize("name", SMALL)
async def test_cut_behind_any_byte(configure, name):
    """Before its first event an answer has no name, or no cursor: then it ends as ever."""
    protocol, dialect, values, nameless = SMALL[name]
    configure(AGENT_RESUMES="true")
    async with ResumableAgent(values, dialect()) as agent:
        expected = await whole(agent, configure, protocol)
        for cut in range(1, len(agent.body)):
            agent.asks.clear()
            agent.cuts = [cut]
            reading = Reading(agent, configure, protocol)
            if cut < len(b"".join(agent.events[:nameless])):
                with pytest.raises(UpstreamEof):
                    await reading.read()
                assert reading.frames == []
            else:
                assert await reading.read() == expected, f"cut behind {agent.body[:cut][-20:]!r}"
                assert [frame.is_terminal for frame in reading.frames].count(True) == 1
            assert len(agent.asks) == 1


@pytest.mark.parametrize(("is_told", "cut"), [("false", 200), ("true", 20)], ids=["not told", "no cursor"])
async def test_no_other_ag_ui_agent_gets_the_message_again(configure, is_told, cut):
    configure(AGENT_RESUMES=is_told)
    async with ResumableAgent(AGUI, AgUi()) as agent:
        agent.cuts = [cut]
        with pytest.raises(UpstreamEof):
            await Reading(agent, configure, "agui").read()
        assert (len(agent.asks), agent.rejoins) == (1, [])
