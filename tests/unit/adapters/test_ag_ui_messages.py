"""Turns as TanStack AI's messages."""

from __future__ import annotations

from relay.adapters.ag_ui_messages import messages_of


def turn(answer="", *events, started_at=None):
    placed = [{"position": position, "event": event} for position, event in events]
    return {"turn_id": "t", "message": "Hi", "answer": answer, "events": placed, "started_at": started_at}


def parts(answer, *events):
    return messages_of([turn(answer, *events)])[-1]["parts"]


def text(words):
    return {"type": "text", "content": words}


CALL = {"type": "tool_call", "call_id": "c", "tool_name": "clock", "arguments": {"zone": "UTC"}}
SHOWN_CALL = {"type": "tool-call", "id": "c", "name": "clock", "arguments": '{"zone":"UTC"}', "input": {"zone": "UTC"}}


def test_turn_is_two_messages_with_names_and_a_time():
    assert messages_of([turn("a", started_at="2026-01-01T00:00:00.000Z")]) == [
        {"id": "t:user", "role": "user", "parts": [text("Hi")], "createdAt": "2026-01-01T00:00:00.000Z"},
        {"id": "t", "role": "assistant", "parts": [text("a")], "createdAt": "2026-01-01T00:00:00.000Z"},
    ]


def test_turn_without_an_answer_is_one_message():
    assert messages_of([turn()]) == [{"id": "t:user", "role": "user", "parts": [text("Hi")]}]


def test_text_is_parted_by_what_is_shown_and_by_nothing_else():
    reasoning = {"type": "reasoning", "token": "hm"}
    other = {"type": "other"}
    assert parts("ab🙂c", (0, reasoning), (1, other), (3, CALL), (4, other)) == [
        {"type": "thinking", "content": "hm", "stepId": "t:reasoning:1"},
        text("ab🙂"),
        {**SHOWN_CALL, "state": "input-complete"},
        text("c"),
    ]


def test_tools_call_has_its_result():
    result = {"type": "tool_result", "call_id": "c", "result": {"hour": 9}}
    assert parts("", (0, CALL), (0, result)) == [
        {**SHOWN_CALL, "state": "complete", "output": {"hour": 9}},
        {"type": "tool-result", "toolCallId": "c", "content": '{"hour":9}', "state": "complete"},
    ]


def test_result_that_is_no_json_and_has_no_call_is_shown_as_it_is():
    error = {"type": "tool_result", "call_id": "c", "error": "no {clock"}
    assert parts("", (0, error)) == [
        {"type": "tool-result", "toolCallId": "c", "content": "no {clock", "state": "complete"}
    ]
    assert parts("", (0, CALL | {"arguments": "no {"}), (0, error))[0]["input"] == "no {"


def test_question_about_a_call_that_is_shown_is_no_call_of_its_own():
    question = {**CALL, "call_id": "q", "requires_approval": True, "tool_call": CALL}
    assert parts("", (0, CALL), (0, question)) == [{**SHOWN_CALL, "state": "input-complete"}]
    assert [part["id"] for part in parts("", (0, question))] == ["q"]


def test_events_that_lack_what_a_part_needs_are_none():
    lacking = [
        {"type": "reasoning"},
        {"type": "tool_call"},
        {"type": "tool_result"},
        {"type": "tool_call", "call_id": "c"},
    ]
    assert parts("ab", *((1, event) for event in lacking)) == [text("ab")]
