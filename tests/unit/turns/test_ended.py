"""What receivers of webhooks and of the signal are told."""

import pytest

from relay.exceptions import UpstreamUnavailable
from relay.layers.values import Turn
from relay.protocol import frames, json_text
from relay.turns.ended import MAX_CHARACTERS, describe_end, notification
from relay.turns.recorder import TurnRecorder

MESSAGE = {"type": "user_message", "content": "the question"}


def recorder(text="the answer", **fields):
    made = TurnRecorder(
        Turn(session_id="s", turn_id="t", lease_id="l", message=MESSAGE, **{"subject": "alice", **fields})
    )
    made.parts.texts = [text]
    made.tokens = 2
    return made


@pytest.fixture(autouse=True)
def switched_on(settings):
    settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_URL": "http://receiver.example"}


@pytest.mark.parametrize(
    ("terminal", "kind", "finish_reason", "error_code"),
    [
        (frames.final("t"), "turn.completed", "stop", None),
        (frames.final("t", "length"), "turn.completed", "length", None),
        (frames.final("t", "cancelled"), "turn.cancelled", "cancelled", None),
        (frames.final("t", "interrupt"), "turn.waiting", "interrupt", None),
        (frames.final("t", "tool_calls"), "turn.completed", "tool_calls", None),
        (frames.error("t", UpstreamUnavailable(3)), "turn.failed", "error", "upstream_unavailable"),
    ],
)
def test_each_end_has_its_type(terminal, kind, finish_reason, error_code):
    ended = describe_end(recorder(), terminal)
    assert (ended.type, ended.finish_reason, ended.error_code) == (kind, finish_reason, error_code)


@pytest.mark.parametrize(("is_settled", "kind"), [(False, "turn.waiting"), (True, "turn.completed")])
def test_a_question_that_the_agent_leaves_open_waits_for_a_person(is_settled, kind):
    made = recorder()
    made.parts.add([frames.event("t", {"type": "tool_call", "call_id": "c", "requires_approval": True})])
    if is_settled:
        made.parts.add([frames.event("t", {"type": "tool_result", "call_id": "c"})])
    assert describe_end(made, frames.final("t")).type == kind
    assert describe_end(made, frames.final("t", "cancelled")).type == "turn.cancelled"


def test_the_webhook_has_names_times_and_numbers_and_no_text():
    body = json_text.decode(notification(recorder(), frames.final("t")).text)
    assert set(body) == {"type", "timestamp", "data"}
    assert body["timestamp"] == body["data"]["ended_at"]
    assert body["data"].pop("started_at") <= body["data"].pop("ended_at")
    assert body["data"] == {
        "session_id": "s",
        "turn_id": "t",
        "subject": "alice",
        "finish_reason": "stop",
        "error_code": None,
        "tokens": 2,
        "input_tokens": None,
        "output_tokens": None,
    }


def test_the_signal_and_the_webhook_tell_the_same():
    made = recorder()
    told = json_text.decode(notification(made, frames.final("t")).text)
    ended = describe_end(made, frames.final("t"))
    assert told["timestamp"] == ended.ended_at.isoformat().replace("+00:00", "Z")


def test_a_turn_that_is_cancelled_meanwhile_has_a_text_of_its_own():
    made = notification(recorder(), frames.error("t", UpstreamUnavailable(3)))
    assert json_text.decode(made.text)["type"] == "turn.failed"
    cancelled = json_text.decode(made.cancelled_text)
    assert cancelled["type"] == "turn.cancelled"
    assert (cancelled["data"]["finish_reason"], cancelled["data"]["error_code"]) == ("cancelled", None)


def test_of_a_turn_whose_worker_died_less_is_known():
    ended = describe_end(recorder(is_abandoned=True), frames.final("t"))
    assert (ended.started_at, ended.tokens) == (None, None)


def test_of_a_turn_that_another_worker_continues_all_is_known():
    made = recorder(is_abandoned=True, ran_seconds=3_600)
    made.continues(7)
    ended = describe_end(made, frames.final("t"))
    assert ended.tokens == 7
    assert 3_600 <= (ended.ended_at - ended.started_at).total_seconds() < 7_200


def test_types_that_operators_did_not_ask_for_are_empty(settings):
    settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_EVENTS": "turn.failed,turn.waiting"}
    made = notification(recorder(), frames.final("t"))
    assert (made.text, made.cancelled_text) == ("", "")
    assert notification(recorder(), frames.final("t", "interrupt")).text


@pytest.mark.parametrize(("when", "if_unwatched"), [("always", False), ("unwatched", True)])
def test_the_store_is_told_when_to_notify(settings, when, if_unwatched):
    settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_WHEN": when}
    assert notification(recorder(), frames.final("t")).if_unwatched is if_unwatched


def test_texts_are_told_if_operators_ask_for_them(settings):
    settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_CONTENT": "true"}
    data = json_text.decode(notification(recorder(), frames.error("t", UpstreamUnavailable(3))).text)["data"]
    assert (data["message"], data["answer"]) == ("the question", "the answer")
    assert data["error"] == str(UpstreamUnavailable(3))
    assert "is_cut" not in data


@pytest.mark.parametrize("text", ["\\ud83d\\ude00 \\ud83d", "x" * (MAX_CHARACTERS + 1)])
def test_odd_and_long_texts_are_told_as_far_as_they_can(settings, text):
    settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_CONTENT": "true"}
    data = json_text.decode(notification(recorder(text), frames.final("t")).text)["data"]
    assert data["answer"] == ("\U0001f600 \ufffd" if "ud83d" in text else "x" * MAX_CHARACTERS)
    assert data.get("is_cut", False) is (len(text) > MAX_CHARACTERS)
