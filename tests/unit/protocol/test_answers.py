"""Answers to an agent's questions, from every kind of message that may hold one."""

import pytest

from relay.protocol.answers import Answer, answers_of, call_id_of, decision_message

APPROVED = Answer("c1", "approve")
REJECTED = Answer("c1", "reject")


def hitl(**fields):
    return {"type": "hitl_decision", "call_id": "c1", **fields}


def resumed(payload, status="resolved"):
    return {"type": "any", "resume": [{"interruptId": "c1", "status": status, "payload": payload}]}


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (hitl(decision="approve"), [APPROVED]),
        (hitl(decision="approved"), [APPROVED]),
        (hitl(decision="reject"), [REJECTED]),
        (hitl(decision="reject", message="no"), [Answer("c1", "reject", reason="no")]),
        (hitl(decision="edit", arguments={"a": 1}), [Answer("c1", "edit", arguments={"a": 1})]),
        (hitl(decision="edit", edited_args={"a": 1}), [Answer("c1", "edit", arguments={"a": 1})]),
        # No clear approval is none.
        (hitl(decision="edit"), [REJECTED]),
        (hitl(decision="edit", arguments="a"), [REJECTED]),
        (hitl(decision="maybe"), [REJECTED]),
        (hitl(decision=True), [REJECTED]),
        (hitl(decision=["approve"]), [REJECTED]),
        (hitl(), [REJECTED]),
        ({"type": "hitl_decision", "content": {"call_id": "c1", "decision": "approve"}}, [APPROVED]),
        ({"type": "hitl_decision", "tool_call_id": "c1", "decision": "approve"}, [APPROVED]),
        (
            hitl(decisions=[{"call_id": "c1", "decision": "approve"}, {"call_id": "c2", "result": 7}, 5]),
            [APPROVED, Answer("c2", value=7)],
        ),
        ({"type": "hitl_decision", "decision": "approve"}, []),
        ({"type": "hitl_decision", "call_id": 5, "decision": "approve"}, []),
        ({"type": "tool_result", "call_id": "c1", "result": [1]}, [Answer("c1", value=[1])]),
        ({"type": "tool_result", "call_id": "c1", "content": "x"}, [Answer("c1", value="x")]),
        ({"type": "tool_result", "call_id": "c1", "error": "x"}, [Answer("c1", value="x")]),
        ({"type": "tool_result", "call_id": "c1"}, [Answer("c1")]),
        ({"type": "tool_result", "content": {"call_id": "c1", "result": 0}}, [Answer("c1", value=0)]),
        ({"type": "tool_result", "call_id": "\ud83d"}, []),
        ({"type": "tool_result", "call_id": "x" * 1_001}, []),
        ({"type": "tool_result", "call_id": ["c1"]}, []),
        (resumed({"approved": True}), [APPROVED]),
        (resumed({"approved": True, "editedArgs": {"a": 1}}), [Answer("c1", "edit", arguments={"a": 1})]),
        (resumed({"approved": False, "reason": "no"}), [Answer("c1", "reject", reason="no")]),
        (resumed({"approved": "true"}), [REJECTED]),
        (resumed({"approved": False, "editedArgs": {"a": 1}}), [REJECTED]),
        (resumed({"approved": True}, "cancelled"), [REJECTED]),
        (resumed({"city": "Paris"}), [Answer("c1", value={"city": "Paris"})]),
        (resumed("Paris"), [Answer("c1", value="Paris")]),
        ({"type": "any", "resume": [{"payload": 1}, None]}, []),
        ({"type": "user_message", "content": "c1", "call_id": "c1"}, []),
        ({"type": "switch_agent", "call_id": "c1"}, []),
    ],
)  # fmt: skip
def test_answers_in_a_message(message, answers):
    assert answers_of(message) == answers


def test_last_of_two_answers_to_one_question_counts():
    entries = [{"call_id": "c1", "decision": decision} for decision in ("approve", "reject")]
    assert answers_of({"type": "hitl_decision", "decisions": entries}) == [REJECTED]


def test_answers_of_one_message_are_bounded():
    entries = [{"call_id": f"c{number}", "decision": "approve"} for number in range(101)]
    assert len(answers_of({"type": "hitl_decision", "decisions": entries})) == 100


@pytest.mark.parametrize(
    "answers",
    [
        [APPROVED],
        [Answer("c1", "edit", arguments={"a": 1}, reason="so")],
        [Answer("c1", "reject", reason="no")],
        [Answer("c1", value={"a": 1})],
        [APPROVED, Answer("c2", value=None)],
    ],
)
def test_answers_of_another_protocol_are_read_again_from_our_message(answers):
    assert answers_of(decision_message(answers)) == answers


@pytest.mark.parametrize(("answer", "is_approved"), [("approve", True), ("edit", True), ("reject", False), ("", False)])
def test_only_an_approval_approves(answer, is_approved):
    assert Answer("c1", answer).is_approved is is_approved


@pytest.mark.parametrize(
    ("fields", "call_id"),
    [({"call_id": "a"}, "a"), ({"tool_call_id": "a"}, "a"), ({"call_id": "", "tool_call_id": "a"}, "a"), ({}, "")],
)
def test_call_id_in_either_spelling(fields, call_id):
    assert call_id_of(fields) == call_id
