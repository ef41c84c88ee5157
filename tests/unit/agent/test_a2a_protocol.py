"""PROTOCOL's "Agents that speak other protocols": ``a2a``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.protocols.a2a import A2A
from relay.agent.protocols.base import (
    AgentSettings,
    PastTurn,
)
from relay.layers.values import Turn
from relay.protocol.event_stream import Event
from tests.unit.agent import any_answer, vectors
from tests.unit.agent.vectors import brief, error, final, token

PROTOCOL = A2A()


@vectors.every("a2a_events.json")
def test_an_answer_and_its_frames_however_it_is_cut(vector):
    vectors.check_frames_however_cut(PROTOCOL, vector)


@vectors.every("a2a_events.json")
def test_an_answer_cut_before_its_end_is_no_success(vector):
    vectors.check_no_cut_is_a_success(PROTOCOL, vector)


def turn(message=None):
    return Turn("S", "T", "L", message or {"type": "user_message", "content": "Hi"})


def request(message=None, history=(), **settings):
    return PROTOCOL.request(turn(message), history, AgentSettings(**settings))


def test_the_request_is_a_message_in_the_sessions_context():
    asked = request(history=[PastTurn("One", "1")], system_prompt="Be brief.", model="m")
    assert (asked.method, asked.path, asked.headers) == ("POST", "/", {"A2A-Version": "1.0"})
    assert asked.body == {
        "jsonrpc": "2.0",
        "id": "T",
        "method": "SendStreamingMessage",
        "params": {"message": {"messageId": "T", "contextId": "S", "role": "ROLE_USER", "parts": [{"text": "Hi"}]}},
    }
    assert PROTOCOL.keeps_history
    assert not PROTOCOL.is_own


def test_the_path_is_the_settings():
    assert request(path="/a2a/jsonrpc").path == "/a2a/jsonrpc"


@pytest.mark.parametrize(("result", "part"), [("Paris", {"text": "Paris"}), ({"ok": True}, {"data": {"ok": True}})])
def test_a_tool_result_goes_on_with_the_task(result, part):
    asked = request({"type": "tool_result", "call_id": "t1", "result": result}).body["params"]["message"]
    assert (asked["taskId"], asked["contextId"], asked["parts"]) == ("t1", "S", [part])


def test_a_decision_goes_on_with_the_task_as_data():
    asked = request({"type": "hitl_decision", "call_id": "t1", "decision": "reject", "reason": "no"})
    message = asked.body["params"]["message"]
    assert (message["taskId"], message["parts"]) == ("t1", [{"data": {"decision": "reject", "reason": "no"}}])


def test_another_kind_of_message_is_sent_as_its_json():
    (part,) = request({"type": "vote", "call_id": "c"}).body["params"]["message"]["parts"]
    assert json.loads(part["text"]) == {"type": "vote", "call_id": "c"}


def result(**fields):
    return Event(json.dumps({"jsonrpc": "2.0", "id": "T", "result": fields}), "", "")


def status(state, **fields):
    return {"state": f"TASK_STATE_{state}", **fields}


QUESTION = {"messageId": "m1", "parts": [{"text": "Which city?"}]}
PAST = {
    "id": "t1",
    "status": status("INPUT_REQUIRED", message=QUESTION),
    "artifacts": [{"artifactId": "a1", "parts": [{"text": "Paris"}]}],
}


def going_on(*events):
    """The frames of an answer to a turn that goes on with a task."""
    answer = turn({"type": "tool_result", "call_id": "t1", "result": "Paris"})
    return brief(vectors.reader(PROTOCOL, turn=answer).frames(events))


@pytest.mark.parametrize("past", [PAST, {**PAST, "status": None}])
def test_a_task_that_goes_on_is_sent_as_it_was_and_that_is_no_answer(past):
    work = result(statusUpdate={"status": status("WORKING", message=QUESTION if past is PAST else None)})
    whole = {"artifactId": "a1", "parts": [{"text": "Paris, France"}]}
    done = result(task={"id": "t1", "status": status("COMPLETED"), "artifacts": [whole]})
    assert going_on(result(task=past), work, done) == [token(", France"), final()]


def test_only_the_first_event_is_the_past():
    again = going_on(result(task=PAST), result(task=PAST))
    assert [frame.get("tool_name", frame.get("finish_reason")) for frame in again] == ["input_required", "interrupt"]
    paused = going_on(result(statusUpdate={"status": status("WORKING")}), result(task=PAST))
    assert paused[0] == token("Paris")


@pytest.mark.parametrize(
    ("state", "end"),
    [("COMPLETED", final()), ("FAILED", error("Which city?"))],
)
def test_a_task_that_goes_on_and_ends_at_once(state, end):
    frames = going_on(result(task={"id": "t1", "status": status(state, message=QUESTION)}))
    assert frames[-1] == end


def test_stop_cancels_the_task():
    asked, reader = request(path="/a2a"), vectors.reader(PROTOCOL)
    assert reader.stop_request(asked) is None
    reader.frames([result(task={"id": "t1", "status": status("SUBMITTED")})])
    stop = reader.stop_request(asked)
    assert (stop.method, stop.path, stop.headers) == ("POST", "/a2a", {"A2A-Version": "1.0"})
    assert stop.body == {"jsonrpc": "2.0", "id": "T:stop", "method": "CancelTask", "params": {"id": "t1"}}


def test_stop_cancels_a_task_that_only_its_updates_name():
    reader = vectors.reader(PROTOCOL)
    reader.frames([result(statusUpdate={"taskId": "t2", "status": status("WORKING")})])
    assert reader.stop_request(request()).body["params"] == {"id": "t2"}


@pytest.mark.parametrize(
    ("status_code", "body", "words"),
    [
        (200, '{"jsonrpc":"2.0","id":"T","error":{"code":-32009,"message":"Version not supported secret"}}', "… not"),
        (200, '{"error":{"code":-32603}}', "The agent could not"),
        (200, '{"error":"broken"}', "broken"),
        (200, '{"jsonrpc":"2.0","id":"T","result":{}}', None),
        (200, "[1]", None),
        (200, "\xff", None),
        (500, '{"error":{"message":"boom"}}', None),
    ],
)
def test_an_error_before_the_stream_is_a_json_answer(status_code, body, words):
    reader = vectors.reader(PROTOCOL, redact=lambda text: text.replace("Version", "…").replace("secret", "…"))
    refusal = reader.refused(status_code, body.encode("latin-1"))
    assert (refusal is None) is (words is None)
    if refusal is not None:
        assert refusal.code == "upstream_error"
        assert str(refusal).startswith(words)
        assert "secret" not in str(refusal)


def test_words_of_an_error_are_redacted():
    reader = vectors.reader(PROTOCOL, redact=lambda words: words.replace("secret", "…"))
    failed = result(statusUpdate={"status": status("FAILED", message={"parts": [{"text": "a secret"}]})})
    assert brief(reader.frames([failed])) == [error("a …")]


parts = any_answer.objects(text=st.text(), data=any_answer.any_json, url=st.text())
said = any_answer.objects(
    messageId=st.sampled_from(["m1", "m2"]), artifactId=st.sampled_from(["a1", "a2"]), parts=st.lists(parts, max_size=2)
)
states = st.sampled_from(["SUBMITTED", "WORKING", "COMPLETED", "FAILED", "CANCELED", "INPUT_REQUIRED", "X"])
statuses = any_answer.objects(state=states.map("TASK_STATE_{}".format), message=said)
tasks = any_answer.objects(id=st.text(), taskId=st.text(), status=statuses, artifacts=st.lists(said, max_size=2))
results = any_answer.objects(
    task=tasks,
    message=said,
    statusUpdate=tasks,
    artifactUpdate=any_answer.objects(artifact=said, append=st.booleans()),
)


@given(any_answer.answers(any_answer.objects(result=results, error=st.none())))
def test_whatever_the_server_says_at_most_one_end_comes_and_it_comes_last(events):
    any_answer.check_one_end_at_most(PROTOCOL, events)


@given(st.lists(results.map(lambda fields: json.dumps({"result": fields}))), st.data())
def test_no_cut_changes_the_frames(datas, draw):
    any_answer.check_no_cut_changes_the_frames(PROTOCOL, datas, draw)


@given(st.lists(results.map(lambda fields: result(**fields)), max_size=3))
def test_whatever_comes_of_a_task_that_goes_on(events):
    going_on(*events)


@pytest.mark.parametrize("depth", [900, 990, 1_005, 2_000, 30_000])
def test_no_depth_of_nesting_raises(depth):
    nested = "[" * depth + "]" * depth
    for event in ('{"result":{"message":{"parts":[{"data":%s}]}}}', '{"error":%s}', "%s"):
        vectors.reader(PROTOCOL).frames([Event(event % nested, "", "")])
    vectors.reader(PROTOCOL).refused(200, nested.encode())
