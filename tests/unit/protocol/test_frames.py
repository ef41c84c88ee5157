"""Frames as clients read them, in both dialects, to the character."""

import inspect
import json

import pytest

from relay import exceptions
from relay.exceptions import Interrupted, RelayError, SessionDeleted, UpstreamUnavailable
from relay.protocol import frames
from relay.protocol.frames import COME_BACK, CloseCode, Frame, FrameKind, Snapshot

HALVES = ("\ud83d", "\ude00")


def at(frame, offset):
    frame.offset = offset
    return frame


@pytest.mark.parametrize(
    ("frame", "plain", "v1"),
    [
        (
            frames.user_message("T", '{"type":"user_message","content":"hi","client_message_id":"one"}'),
            None,
            '{"type":"user_message","content":"hi","client_message_id":"one","turn_id":"T","offset":7}',
        ),
        (
            frames.user_message(
                "T", '{"type":"rate","turn_id":"X","of":{"offset":1},"offset":99,"\\"from_offset\\":":2}'
            ),
            None,
            '{"type":"rate","of":{"offset":1},"\\"from_offset\\":":2,"turn_id":"T","offset":7}',
        ),
        (
            frames.token("T", "a"),
            '{"type":"assistant_message","token":"a","is_final":false}',
            '{"type":"assistant_message","token":"a","is_final":false,"turn_id":"T","offset":7}',
        ),
        (
            frames.token("T", ""),
            '{"type":"assistant_message","token":"","is_final":false}',
            '{"type":"assistant_message","token":"","is_final":false,"turn_id":"T","offset":7}',
        ),
        (
            frames.token("T", '"\\\n\ud83d'),
            '{"type":"assistant_message","token":"\\"\\\\\\n\\ud83d","is_final":false}',
            '{"type":"assistant_message","token":"\\"\\\\\\n\\ud83d","is_final":false,"turn_id":"T","offset":7}',
        ),
        (
            frames.event(
                "T", {"type": "tool_call", "args": {"turn_id": 1}, "turn_id": "X", "offset": 99, "from_offset": 9}
            ),
            '{"type":"tool_call","args":{"turn_id":1}}',
            '{"type":"tool_call","args":{"turn_id":1},"turn_id":"T","offset":7}',
        ),
        (
            frames.notice("T", "upstream_event_skipped", "words"),
            None,
            '{"type":"notice","code":"upstream_event_skipped","content":"words","turn_id":"T","offset":7}',
        ),
        (
            frames.final("T"),
            '{"type":"assistant_message","token":"","is_final":true}',
            '{"type":"assistant_message","token":"","is_final":true,"finish_reason":"stop","turn_id":"T","offset":7}',
        ),
        (
            frames.final("T", 'a"b'),
            '{"type":"assistant_message","token":"","is_final":true}',
            '{"type":"assistant_message","token":"","is_final":true,"finish_reason":"a\\"b","turn_id":"T","offset":7}',
        ),
        (
            frames.error("T", Interrupted()),
            '{"type":"error","content":"The answer was interrupted. Try again."}',
            (
                '{"type":"error","content":"The answer was interrupted. Try again.",'
                '"code":"interrupted","retry_after_ms":1000,"turn_id":"T","offset":7}'
            ),
        ),
        (
            frames.error("T", RelayError()),
            '{"type":"error","content":"Something went wrong in the gateway. Try again."}',
            (
                '{"type":"error","content":"Something went wrong in the gateway. Try again.",'
                '"code":"internal","turn_id":"T","offset":7}'
            ),
        ),
    ],
    ids=["user", "forwarded", "token", "empty", "escapes", "event", "notice", "final", "reason", "temporary", "error"],
)
def test_a_frame_of_the_log_in_both_dialects(frame, plain, v1):
    assert frame.plain == plain
    assert at(frame, 7).v1 == v1
    json.loads(v1)


def test_only_final_and_error_frames_are_terminal():
    kinds = {kind for kind in FrameKind if Frame(kind, "T", "{}").is_terminal}
    assert kinds == {FrameKind.FINAL, FrameKind.ERROR}


@pytest.mark.parametrize("text", ["", "a", 'é"\\', "\ud83d", "\x00", '","is_final":false}'])
def test_token_text_is_what_stands_between_the_quotes(text):
    assert json.loads(f'"{frames.token("T", text).token_text}"') == text


@pytest.mark.parametrize(
    "frame", [frames.final("T"), frames.event("T", {"type": "a", "token": "x"}), frames.notice("T", "code", "words")]
)
def test_other_frames_have_no_token_text(frame):
    assert frame.token_text == ""


def test_the_size_of_a_frame_is_its_text():
    assert frames.token("T", "ab").size == len('{"type":"assistant_message","token":"ab","is_final":false}')
    final = frames.final("T")
    assert final.size == len(final.body) + len('"finish_reason":"stop"')


def test_the_agents_members_are_not_taken_from_its_own_dict():
    fields = {"type": "a", "turn_id": "X"}
    frames.event("T", fields)
    assert fields == {"type": "a", "turn_id": "X"}


# Merged tokens.


def tokens(*texts, begin=5):
    return [at(frames.token("T", text), begin + i) for i, text in enumerate(texts)]


def test_a_run_of_tokens_is_merged_into_one_frame():
    assert frames.merged_tokens(tokens("a", "", 'b"')) == (
        '{"type":"assistant_message","token":"ab\\"","is_final":false,"turn_id":"T","from_offset":5,"offset":7}'
    )


def test_a_run_of_one_is_the_frame_itself():
    (token,) = tokens("a")
    assert frames.merged_tokens([token]) == token.v1


def test_half_characters_recombine_when_they_are_merged():
    assert json.loads(frames.merged_tokens(tokens(*HALVES)))["token"] == "😀"


# Snapshots.


def test_the_snapshot_of_nothing():
    assert Snapshot("E", 0, "epoch_changed").v1 == (
        '{"type":"snapshot","epoch":"E","turn_id":null,"user_message":null,"content":null,"offset":0,'
        '"reason":"epoch_changed","finish_reason":null,"error":null,"history":false}'
    )


def test_the_snapshot_of_a_running_turn():
    message = '{"type":"user_message","content":"hi"}'
    assert Snapshot("E", 5, "trimmed", "T", "a\\n", None, message, has_history=True).v1 == (
        '{"type":"snapshot","epoch":"E","turn_id":"T","user_message":{"type":"user_message","content":"hi"},'
        '"content":"a\\n","offset":5,"reason":"trimmed","finish_reason":null,"error":null,"history":true}'
    )


def test_the_snapshot_of_a_turn_without_text_yet_is_not_that_of_nothing():
    assert '"turn_id":"T","user_message":null,"content":"",' in Snapshot("E", 5, "trimmed", "T", "", None).v1


@pytest.mark.parametrize("reason", ["stop", "cancelled", "length"])
def test_the_snapshot_of_an_ended_turn_says_its_finish_reason(reason):
    fields = json.loads(Snapshot("E", 5, "trimmed", "T", "a", at(frames.final("T", reason), 5)).v1)
    assert (fields["finish_reason"], fields["error"]) == (reason, None)


def test_the_snapshot_of_a_failed_turn_says_its_error():
    fields = json.loads(Snapshot("E", 5, "trimmed", "T", "a", at(frames.error("T", Interrupted()), 5)).v1)
    assert fields["finish_reason"] == "error"
    assert fields["error"] == {"code": "interrupted", "content": str(Interrupted())}


def test_half_characters_recombine_in_a_snapshot():
    text = "".join(frames.token("T", half).token_text for half in HALVES)
    assert json.loads(Snapshot("E", 5, "trimmed", "T", text, None).v1)["content"] == "😀"


# Refusals and farewells.


def test_a_plain_error_has_words_and_no_more():
    assert frames.plain_error(Interrupted()) == ('{"type":"error","content":"The answer was interrupted. Try again."}')


@pytest.mark.parametrize(("name", "tail"), [(None, ""), ("one", ',"client_message_id":"one"')])
def test_a_refusal_names_the_message_and_no_turn(name, tail):
    assert frames.v1_refusal(UpstreamUnavailable(2.5), name) == (
        '{"type":"error","content":"The agent is unavailable right now. Try again shortly.",'
        f'"code":"upstream_unavailable","retry_after_ms":2500{tail}}}'
    )


@pytest.mark.parametrize("close_code", CloseCode)
def test_a_disconnect_says_whether_to_come_back(close_code):
    fields = json.loads(frames.disconnect(SessionDeleted(), close_code, delay_ms=5))
    assert fields == {
        "type": "disconnect",
        "code": "session_deleted",
        "content": str(SessionDeleted()),
        "reconnect": close_code in COME_BACK,
        "delay_ms": 5,
    }


@pytest.mark.parametrize(
    ("close_code", "comes_back"),
    [(4401, False), (4403, False), (4408, True), (4429, True), (4503, True), (4508, True), (1000, False), (1012, True)],
)
def test_the_close_codes_of_the_protocol(close_code, comes_back):
    assert (CloseCode(close_code) in COME_BACK) is comes_back


def test_the_code_of_a_stored_error():
    assert frames.error_code(frames.error("T", Interrupted())) == "interrupted"


RETRIED = {
    "rate_limited",
    "session_busy",
    "queue_full",
    "store_unavailable",
    "upstream_unavailable",
    "upstream_timeout",
    "interrupted",
    "shutting_down",
}


FAREWELLS = {"server_restart", "session_deleted", "too_slow"}  # codes of ``disconnect``, not of errors
SAMPLES = {"int": 5, "float": 5.0, "str": "some words", "Snapshot": None}


def every_error():
    for member in vars(exceptions).values():
        if isinstance(member, type) and issubclass(member, RelayError):
            takes = inspect.signature(member.__init__).parameters.values()
            needed = [each for each in takes if each.annotation in SAMPLES and each.default is each.empty]
            yield member(*(SAMPLES[each.annotation] for each in needed))


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
def test_every_error_has_words_and_says_whether_to_try_again(error):
    assert len(str(error)) >= 10
    fields = json.loads(frames.v1_refusal(error))
    if error.code not in FAREWELLS:
        assert ("retry_after_ms" in fields) is (error.code in RETRIED)


@pytest.mark.parametrize(
    "frame",
    [
        frames.user_message("T", '{"content":"hi"}'),
        frames.token("T", "a"),
        frames.event("T", {}),
        frames.notice("T", "code", "words"),
        frames.final("T"),
        frames.error("T", Interrupted()),
    ],
    ids=lambda frame: frame.kind.name,
)
def test_a_frame_has_no_place_before_the_log_takes_it(frame):
    assert frame.offset == 0


@pytest.mark.parametrize(
    ("terminal", "outcome"),
    [
        (frames.final("T"), "answered"),
        (frames.final("T", "stop"), "answered"),
        (frames.final("T", "length"), "answered"),
        (frames.final("T", "cancelled"), "cancelled"),
        (frames.error("T", Interrupted()), "interrupted"),
    ],
)
def test_how_a_turn_ended_has_few_names(terminal, outcome):
    assert frames.outcome(terminal) == outcome
