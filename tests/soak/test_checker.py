"""The checker itself: a right history passes, and each way to be wrong is named."""

import copy

import pytest

from tests.soak.checker import problems
from tests.soak.history import History

TEXT = "m1-0 m1-1 "
EPOCH, TURN = "e1", "t1"


def frame(kind, offset, **fields):
    return {"kind": "frame", "viewer": "v", "frame": {"type": kind, "turn_id": TURN, "offset": offset, **fields}}


def token(offset, text, **fields):
    return frame("assistant_message", offset, token=text, is_final=False, **fields)


def final(offset, reason="stop"):
    return frame("assistant_message", offset, token="", is_final=True, finish_reason=reason)


def error(offset, code):
    return frame("error", offset, code=code, content="words")


def welcome(after=0, recovered=None, epoch=EPOCH):
    return {
        "kind": "frame",
        "viewer": "v",
        "frame": {"type": "welcome", "epoch": epoch, "after": after, "recovered": recovered},
    }


def snapshot(content, offset, *, epoch="e2", turn=TURN, finish_reason=None, error=None):
    fields = {"epoch": epoch, "turn_id": turn, "content": content, "offset": offset, "reason": "epoch_changed"}
    return {
        "kind": "frame",
        "viewer": "v",
        "frame": {"type": "snapshot", **fields, "finish_reason": finish_reason, "error": error},
    }


def opened(cursor=None, dialect="gateway.v1"):
    return {"kind": "opened", "viewer": "v", "session": "s", "dialect": dialect, "cursor": cursor}


def plain(text=None):
    body = {"token": text or "", "is_final": text is None}
    return {"kind": "frame", "viewer": "p", "frame": {"type": "assistant_message", **body}}


SAID = {"kind": "said", "message": "m1", "content": "c1", "text": TEXT}
ACCEPTED = {"kind": "accepted", "message": "m1", "session": "s", "turn": TURN}
ASKED = {"kind": "asked", "turn": TURN, "content": "c1"}
LOST = {"kind": "store_lost"}
AGAIN = {**ACCEPTED, "turn": "t2"}
USER = frame("user_message", 1, content="c1")
RIGHT = [SAID, opened(), welcome(), ACCEPTED, USER, token(2, "m1-0 "), token(3, "m1-1 "), final(4), ASKED]


def lost_since(index):
    """A replica took over that lacked what was seen from this place on."""
    return {"kind": "newest_lost", "since": index}


def found(events):
    events = copy.deepcopy(events)
    for when, event in enumerate(events):
        if event["kind"] == "store_lost":
            event.setdefault("after", when)
    return problems(History(events))


def with_(index, *events):
    """The right history with other events in place of one."""
    return [*RIGHT[:index], *events, *RIGHT[index + 1 :]]


CURSOR = {"epoch": EPOCH, "offset": 2}
DROPPED = [opened(CURSOR), welcome(2, True)]
LOST_AFTER_ITS_END = [
    *(opened({"epoch": EPOCH, "offset": 4}), welcome(None, False)),
    snapshot(TEXT, 1, finish_reason="error", error={"code": "buffer_lost"}),
]
TOLD = [opened({"epoch": EPOCH, "offset": 4}), welcome(None, False)]
GONE = [*TOLD, snapshot(None, 0, epoch=EPOCH, turn=None)]
HALF_GONE = [*TOLD, snapshot("m1-0 ", 2, epoch=EPOCH)]
STARTED_AGAIN = [opened({"epoch": EPOCH, "offset": 0}), welcome(None, False), snapshot(None, 0, turn=None)]
GROWN_AGAIN = [opened(CURSOR), welcome(2, True), token(3, "m1-0 "), token(4, "m1-1 "), final(5), ASKED]
PLAIN = [{"kind": "opened", "viewer": "p", "session": "s", "dialect": "plain", "cursor": None}]


@pytest.mark.parametrize(
    "events",
    [
        RIGHT,
        [*RIGHT[:6], *DROPPED, *RIGHT[6:]],
        with_(7, final(4, "cancelled")),
        [*RIGHT[:6], error(3, "interrupted"), ASKED],
        [*RIGHT[:6], LOST, opened(CURSOR), welcome(None, False), snapshot("m1-0 ", 0), error(1, "buffer_lost"), ASKED],
        [SAID, opened(), welcome(), ACCEPTED, LOST],
        [SAID, opened(), welcome(), ACCEPTED, lost_since(3)],
        [SAID, opened(), welcome(), ACCEPTED, lost_since(4), ASKED, *STARTED_AGAIN],
        [*RIGHT, LOST, opened({"epoch": EPOCH, "offset": 4}), welcome(None, False), snapshot(None, 0, turn=None)],
        [*RIGHT, lost_since(7), *LOST_AFTER_ITS_END],
        [*RIGHT, *LOST_AFTER_ITS_END, lost_since(7)],
        [*RIGHT, *HALF_GONE, lost_since(7), error(3, "interrupted")],
        [*RIGHT, *GONE, lost_since(4), *RIGHT[4:]],
        [*RIGHT, *GONE, lost_since(4), *RIGHT[4:8], *GONE, lost_since(12), *RIGHT[4:], ASKED],
        [*RIGHT[:6], lost_since(5), *GROWN_AGAIN],
        [*RIGHT, *PLAIN, plain("m1-0 "), plain("m1-1 "), plain()],
        [*RIGHT, *PLAIN, plain("m1-0 ")],
    ],
)
def test_a_right_history_passes(events):
    assert found(events) == []


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        # ends
        ([*RIGHT[:6], ASKED], "never ended"),
        ([SAID, LOST, opened(), welcome(), ACCEPTED, ASKED], "never ended"),
        ([SAID, opened(), welcome(), ACCEPTED, lost_since(4), ASKED], "never ended"),
        ([SAID, opened(), welcome(), lost_since(2), *STARTED_AGAIN, ACCEPTED, ASKED], "never ended"),
        ([*RIGHT, error(5, "interrupted")], "ended 2 times"),
        ([*RIGHT, lost_since(8), *LOST_AFTER_ITS_END], "ended 2 times"),
        ([*RIGHT, error(5, "interrupted")], "after its end"),
        ([*RIGHT, final(5)], "after its end"),
        ([*RIGHT, token(5, "late")], "after its end"),
        ([*RIGHT, LOST, error(5, "interrupted")], "ended 2 times"),
        ([*RIGHT, *HALF_GONE, lost_since(8), error(3, "interrupted")], "ended 2 times"),
        ([*RIGHT[:6], error(3, "internal"), ASKED], "no cause"),
        ([*RIGHT[:6], error(3, "upstream_eof"), ASKED], "no cause"),
        # what a viewer sees
        (with_(5, token(2, "m1-1 ")), "no prefix"),
        (with_(6, token(3, "m1-0 ")), "no prefix"),
        ([*RIGHT[:6], final(3), ASKED], "not the whole answer"),
        (with_(6, token(4, "m1-1 "), final(5)), "frame 4 followed 2"),
        (with_(6, token(2, "m1-0 ")), "frame 2 followed 2"),
        ([SAID, opened(), welcome(), ACCEPTED, token(1, "m1-0 "), ASKED], "without its beginning"),
        (with_(4, USER, frame("user_message", 2, content="c1")), "began twice"),
        (with_(4, frame("user_message", 1, content="never said")), "nobody said"),
        (with_(6, {**frame("user_message", 3, content="c1")}), "began twice"),
        ([*RIGHT[:6], opened(CURSOR), welcome(3, True), *RIGHT[7:]], "recovered at e1:3"),
        ([*RIGHT[:6], opened(CURSOR), welcome(2, True, epoch="e2"), *RIGHT[6:]], "recovered at e2:2"),
        ([*RIGHT[:6], opened(CURSOR), welcome(None, False), *RIGHT[6:]], "before the snapshot"),
        ([*RIGHT[:6], *DROPPED, DROPPED[1], *RIGHT[6:]], "a second welcome"),
        ([*RIGHT[:6], opened({"epoch": EPOCH, "offset": 1}), *RIGHT[6:]], "the run itself is wrong"),
        ([*RIGHT[:6], snapshot("m1-1 ", 3), error(4, "interrupted"), ASKED], "no prefix"),
        ([*RIGHT[:6], snapshot("m1-0 ", 3, finish_reason="stop"), ASKED], "not the whole answer"),
        ([*RIGHT, *PLAIN, plain("m1-1 "), plain()], "plain viewer p"),
        ([*RIGHT, *PLAIN, plain("m1-0 "), plain("m1-0 "), plain()], "plain viewer p"),
        ([*RIGHT, *PLAIN, plain("m1-0 "), LOST, plain("m2-0 "), plain()], "no prefix"),
        ([*RIGHT, *PLAIN, plain("m1-0 "), plain()], "not the whole answer"),
        ([*RIGHT, *PLAIN, plain("m2-0 "), plain()], "plain viewer p"),
        ([*RIGHT, *GONE], "its log started again"),
        ([*RIGHT, lost_since(4), *RIGHT[4:]], "began twice"),
        ([*RIGHT[:6], lost_since(6), *GROWN_AGAIN], "no prefix"),
        ([*RIGHT[:6], lost_since(5), *GROWN_AGAIN, frame("user_message", 6, content="never said")], "nobody said"),
        # the agent
        ([*RIGHT, ASKED], "asked 2 times"),
        ([*RIGHT, LOST, ASKED], "asked 2 times"),
        ([*RIGHT, *GONE, lost_since(5), *RIGHT[4:]], "asked 2 times"),
        ([*RIGHT, *GONE, lost_since(4), *RIGHT[4:], ASKED], "asked 3 times"),
        ([*RIGHT, {**ASKED, "turn": "t2"}], "as different turns"),
        ([*RIGHT, lost_since(4), {**ASKED, "turn": "t2"}], "as different turns"),
        ([*RIGHT, AGAIN], "accepted as 2 turns"),
        ([*RIGHT, lost_since(4), AGAIN], "accepted as 2 turns"),
        # what is left
        ([*RIGHT, {"kind": "leftover", "what": "a lease"}], "a lease"),
    ],
)
def test_a_wrong_history_is_found_out(events, problem):
    assert any(problem in said for said in found(events)), found(events)


def test_another_turn_within_a_turn_is_found_out():
    other = {**frame("user_message", 3, content="c1")}
    other["frame"]["turn_id"] = "t2"
    assert any("within turn" in said for said in found([*RIGHT[:6], other]))


def test_a_history_is_kept_and_read_again(tmp_path):
    History(RIGHT).save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl").events == RIGHT


@pytest.mark.parametrize(
    ("content", "code", "is_wrong"),
    [
        ("script:kept 2 m1", "interrupted", True),
        ("script:kept 2 m1", "shutting_down", True),
        ("script:kept 2 m1", "store_unavailable", False),
        ("script:distinct 2 m1", "interrupted", False),
    ],
)
def test_kept_answer_must_go_on(content, code, is_wrong):
    said, user = {**SAID, "content": content}, frame("user_message", 1, content=content)
    events = [said, opened(), welcome(), ACCEPTED, user, token(2, "m1-0 "), error(3, code)]
    assert any("could go on" in problem for problem in found(events)) is is_wrong
    before_its_text = [said, opened(), welcome(), ACCEPTED, user, error(2, code)]
    assert found(before_its_text) == []
    assert not any("could go on" in problem for problem in found([*events, LOST]))
    assert any("could go on" in problem for problem in found([*events, lost_since(7)])) is is_wrong
