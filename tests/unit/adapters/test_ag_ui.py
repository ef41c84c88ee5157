"""AG-UI's requests, events and event ids."""

import json
from itertools import pairwise

import pytest
from hypothesis import given

from relay.adapters.ag_ui import AgUiTranslator, EventId, parse_event_id, read_request, with_ids
from relay.adapters.base import Limits
from relay.exceptions import ParameterInvalid, UpstreamEof
from relay.protocol import frames
from tests.unit.adapters.turns import CALL, RESULT, TURN_ID, parsed, placed, snapshot, translated, turn, turns

LIMITS = Limits(frozenset(), 1_000)
RUN = {"threadId": "th", "runId": "r"}
START = {"type": "RUN_STARTED", **RUN}


def translator():
    return AgUiTranslator(TURN_ID, thread_id="th", run_id="r")


def events(*parts, end="stop"):
    return translated(translator(), turn(*parts, end=end))


# The request.


def body(*messages, **fields):
    return {**RUN, "messages": [*messages], "state": {}, "tools": [], "context": [], "forwardedProps": {}, **fields}


def user(content):
    return {"id": "m", "role": "user", "content": content}


def test_the_run_is_the_message_and_everything_else_goes_to_the_agent():
    found = read_request(body(user("old"), user("Hello"), state={"a": 1}), LIMITS)
    assert found.session_id == "th"
    assert found.message.client_message_id == "r"
    assert found.message.message == {
        "type": "user_message",
        "content": "Hello",
        "run_id": "r",
        "state": {"a": 1},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }


def test_a_run_id_of_other_characters_is_the_same_message_each_time():
    first, second = (read_request({**body(user("x")), "runId": "läuf 1"}, LIMITS).message for _ in range(2))
    assert first.client_message_id == second.client_message_id
    assert first.message["run_id"] == "läuf 1"


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (None, "object"),
        ({**body(user("x")), "threadId": ""}, "threadId"),
        ({**body(user("x")), "runId": None}, "runId"),
        (body(), "messages"),
        (body({"id": "m", "role": "assistant", "content": "x"}), "last message"),
        (body(user("")), "empty"),
        (body(user([])), "empty"),
    ],
)
def test_a_body_that_is_no_run_is_refused_in_words(request_body, words):
    with pytest.raises(ParameterInvalid, match=words):
        read_request(request_body, LIMITS)


RESUME = [{"interruptId": "i1", "status": "resolved", "payload": {"approved": True}}]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (RESUME, {"type": "hitl_decision", "call_id": "i1", "decision": "approve"}),
        (
            [{"interruptId": "i1", "status": "cancelled"}],
            {"type": "hitl_decision", "call_id": "i1", "decision": "reject"},
        ),
        ([{"interruptId": "i1", "payload": "Paris"}], {"type": "tool_result", "call_id": "i1", "result": "Paris"}),
    ],
)
def test_resume_answers_what_was_asked_whoever_said_the_last_message(entries, message):
    limits = Limits(frozenset(["hitl_decision", "tool_result"]), 1_000)
    request = body({"id": "m", "role": "assistant", "content": "x"}, resume=entries)
    found = read_request(request, limits).message
    assert found.client_message_id == "r"
    assert found.message == {
        **message, "run_id": "r", "resume": entries, "state": {}, "tools": [], "context": [], "forwardedProps": {},
    }  # fmt: skip


@pytest.mark.parametrize(("entries", "words"), [(RESUME, "hitl_decision"), ([{}], "interruptId"), ("x", "interruptId")])
def test_resume_that_answers_nothing_or_is_not_let_through_is_refused_in_words(entries, words):
    with pytest.raises(ParameterInvalid, match=words):
        read_request(body(user("x"), resume=entries), LIMITS)


def test_empty_resume_is_a_run_like_any_other():
    assert read_request(body(user("x"), resume=[]), LIMITS).message.message["content"] == "x"


def test_interrupt_about_a_call_names_that_call_and_calls_nothing_again():
    asked = {"message": "May I?", "toolCallId": "c1", "responseSchema": {"type": "object"}}
    question = {**CALL, "call_id": "i1", "tool_name": "tool_call", "arguments": asked, "tool_call": CALL}
    question["requires_approval"] = True
    *made, end = events(CALL, question, end="interrupt")
    assert [event["type"] for event in made].count("TOOL_CALL_START") == 1
    assert end["outcome"] == {"type": "interrupt", "interrupts": [{"id": "i1", "reason": "tool_call", **asked}]}


def test_parts_that_are_no_text_go_beside_the_words():
    picture = {"type": "binary", "mimeType": "image/png", "url": "u"}
    found = read_request(body(user([{"type": "text", "text": "See"}, picture])), LIMITS).message.message
    assert (found["content"], found["parts"]) == ("See", [picture])


# The events.


def test_an_answer_is_one_message_within_its_run():
    assert events("He", "llo") == [
        START,
        {"type": "TEXT_MESSAGE_START", "messageId": "T", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "T", "delta": "He"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "T", "delta": "llo"},
        {"type": "TEXT_MESSAGE_END", "messageId": "T"},
        {"type": "RUN_FINISHED", **RUN, "outcome": {"type": "success"}},
    ]


def test_a_tool_call_belongs_to_the_answers_message_and_its_result_is_text():
    assert events(CALL, RESULT)[1:-1] == [
        {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "search", "parentMessageId": "T"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": '{"q":"é"}'},
        {"type": "TOOL_CALL_END", "toolCallId": "c1"},
        {
            "type": "TOOL_CALL_RESULT",
            "messageId": "T:result:1",
            "toolCallId": "c1",
            "content": '{"hits":2}',
            "role": "tool",
        },
    ]


def test_an_ag_ui_agents_own_events_come_out_as_they_went_in_but_never_the_end_of_a_run():
    delta = {"type": "STATE_DELTA", "delta": [{"op": "add"}]}
    assert events(delta, {"type": "RUN_FINISHED"}, {"type": "note"})[1:-1] == [
        delta,
        {"type": "CUSTOM", "name": "RUN_FINISHED", "value": {}},
        {"type": "CUSTOM", "name": "note", "value": {}},
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "CUSTOMER_FOUND", "name": "Ada"},
        {"type": "STATE_"},
        {"type": "STATE_DELTA", "delta": "no list"},
        {"type": "STATE_SNAPSHOT"},
        {"type": "MESSAGES_SNAPSHOT", "messages": 5},
        {"type": "CUSTOM", "name": "without a value"},
        {"type": "RAW"},
        {"type": "SUBAGENT_STARTED", "subagentRunId": "1"},
    ],
    ids=lambda fields: fields["type"],
)
def test_an_event_that_ag_ui_does_not_know_like_this_is_a_custom_one(fields):
    """Its client fails the run for such an event, or drops it."""
    value = {name: value for name, value in fields.items() if name != "type"}
    assert events(fields)[1:-1] == [{"type": "CUSTOM", "name": fields["type"], "value": value}]


REASONING = {"type": "reasoning", "token": "hm"}


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (["a", {"type": "other"}, "b"], ["T", "T"]),
        ([REASONING, "a", CALL, REASONING, "b"], ["T", "T"]),
        (["a", REASONING, "b", {"type": "other"}, "c", REASONING, "d"], ["T", "T:2", "T:2", "T:3"]),
    ],
    ids=["text goes on", "a tool's call parts texts", "reasoning within text"],
)
def test_text_behind_reasoning_is_another_message_where_a_client_would_repeat_what_was_before(said, names):
    starts = [event for event in events(*said) if event["type"] == "TEXT_MESSAGE_START"]
    assert [event["messageId"] for event in starts] == names


def test_tools_call_belongs_to_the_text_before_it():
    calls = [event for event in events("a", REASONING, "b", CALL) if event["type"] == "TOOL_CALL_START"]
    assert [event["parentMessageId"] for event in calls] == ["T:2"]


def test_reasoning_has_a_message_of_its_own():
    assert [event["type"] for event in events({"type": "reasoning", "token": "hm"}, "a")[1:-1]] == [
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
    ]


def test_ends():
    assert events(end="cancelled")[-1]["outcome"] == {"type": "cancelled"}
    assert events({**CALL, "requires_approval": True}, end="interrupt")[-1]["outcome"] == {
        "type": "interrupt",
        "interrupts": [{"id": "c1", "reason": "search", "toolCallId": "c1"}],
    }
    assert events({**CALL, "requires_approval": True}, end="cancelled")[-1]["outcome"] == {"type": "cancelled"}
    assert events("a", end=UpstreamEof())[-1] == {
        "type": "RUN_ERROR",
        "message": str(UpstreamEof()),
        "code": "upstream_eof",
    }


def test_question_is_an_interrupt_whatever_the_agent_gives_as_its_reason_until_a_result_settles_it():
    question = {**CALL, "requires_approval": True}
    assert events(question, end="stop")[-1]["outcome"]["type"] == "interrupt"
    for end in ("stop", "interrupt"):
        assert events(question, RESULT, end=end)[-1]["outcome"] == {"type": "success"}


def test_a_snapshot_is_the_run_with_its_text_in_one_piece():
    found = [json.loads(event) for event in translator().snapshot(snapshot("all"))]
    assert [event["type"] for event in found] == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"]


# Event ids.


@pytest.mark.parametrize("text", ["e:5", "e:5.2", "e-_f:0"])
def test_event_ids_are_read_as_they_are_written(text):
    assert str(parse_event_id(text)) == text


@pytest.mark.parametrize("text", ["", "e", ":5", "e:", "e:x", "e:5.", "e:5.x", "e:-1", "e:٣", "e:" + "9" * 16])
def test_other_texts_are_no_event_ids(text):
    assert parse_event_id(text) is None


@given(turns)
def test_a_client_that_returns_behind_any_event_gets_exactly_the_rest(made):
    whole = numbered(made)
    assert len({event_id for event_id, _ in whole}) == len(whole)
    for number, (cursor, _) in enumerate(whole, 1):
        assert [entry for entry in numbered(made) if entry[0].is_behind(cursor)] == whole[number:]


@given(turns)
def test_the_last_event_of_a_frame_has_the_frames_own_cursor(made):
    ids = [event_id for event_id, _ in numbered(made)]
    for before, after in pairwise(ids):
        assert (after.offset, after.before) == (before.offset, before.before - 1) if before.before else True
        assert after.offset > before.offset or before.before
    assert ids[-1] == EventId("E", made[-1].offset, 0)


def numbered(made):
    reader = translator()
    return [(event_id, event) for frame in made for event_id, event in with_ids("E", frame, reader.events(frame))]


@given(turns)
def test_messages_are_opened_and_closed_in_turn_and_the_run_ends_last(made):
    found = [parsed(event) for _, event in numbered(made)]
    opened = None
    for event in found:
        kind = event["type"]
        if kind.endswith("MESSAGE_START"):
            assert opened is None
            opened = event["messageId"]
        elif kind.endswith("MESSAGE_CONTENT"):
            assert event["messageId"] == opened
            assert event["delta"]
        elif kind.endswith("MESSAGE_END"):
            assert event["messageId"] == opened
            opened = None
        else:
            assert opened is None
    ended = [event["type"] in ("RUN_FINISHED", "RUN_ERROR") for event in found]
    assert ended == [False] * (len(found) - 1) + [True]
    deltas = [event["delta"] for event in found if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert "".join(deltas) == "".join(json.loads(f'"{frame.token_text}"') for frame in made)


def test_notice_of_the_gateway_is_an_event_of_its_own():
    (event,) = translator().events(placed([frames.notice(TURN_ID, "code", "words")])[0])
    assert json.loads(event) == {"type": "CUSTOM", "name": "notice", "value": {"code": "code", "content": "words"}}
