"""PROTOCOL's cursor table, row by row, with its boundaries."""

import pytest

from relay.layers.values import SessionState
from relay.protocol.cursor import UNKNOWN, Cursor, Resume

OLDEST, NEWEST, LIVE_AFTER = 4, 8, 6  # 1 to 3 are trimmed; a turn is in flight from 7


def at(epoch, offset, *, oldest=OLDEST, newest=NEWEST, live_after=LIVE_AFTER):
    state = SessionState(
        session_id="s", epoch="E", oldest=oldest, newest=newest, active_turn_id="t", active_after=live_after,
        is_cancelling=False, queued=(), viewers=0, is_empty=False, idle_seconds=0.0, age_seconds=0.0,
    )  # fmt: skip
    return state.resume(epoch, offset)


def test_without_a_cursor_the_turn_in_flight_is_shown_from_its_start():
    assert at("", "") == Resume(Cursor("E", LIVE_AFTER), None)


def test_offset_0_without_an_epoch_is_everything_the_log_holds():
    assert at("", "0") == Resume(Cursor("E", OLDEST - 1), True)
    assert at("", "000") == Resume(Cursor("E", OLDEST - 1), True)
    assert at("", "0", oldest=1, newest=0) == Resume(Cursor("E", 0), True)


@pytest.mark.parametrize("offset", [OLDEST - 1, OLDEST, NEWEST - 1, NEWEST])
def test_a_known_position_goes_on_after_it(offset):
    assert at("E", str(offset)) == Resume(Cursor("E", offset), True)


@pytest.mark.parametrize("offset", [0, 1, OLDEST - 2])
def test_a_trimmed_position_is_not_recovered_and_keeps_its_epoch(offset):
    assert at("E", str(offset)) == Resume(Cursor("E", offset), False)


def test_a_position_in_an_empty_log():
    assert at("E", "0", oldest=1, newest=0) == Resume(Cursor("E", 0), True)
    assert at("E", "1", oldest=1, newest=0) == Resume(UNKNOWN, False)


@pytest.mark.parametrize("offset", [NEWEST + 1, NEWEST + 2, 999_999_999_999_999])
def test_a_position_beyond_the_newest_stays_unknown_whatever_is_appended_meanwhile(offset):
    assert at("E", str(offset)) == Resume(UNKNOWN, False)


@pytest.mark.parametrize("offset", ["0", "5", "8"])
def test_another_epoch_is_not_recovered(offset):
    start = at("F", offset)
    assert start.recovered is False
    assert start.after.epoch != "E"


@pytest.mark.parametrize(
    ("epoch", "offset"),
    [
        ("E", ""),
        ("F", ""),
        ("", "1"),
        ("", "8"),
        ("E", "-1"),
        ("E", "+5"),
        ("E", " 5"),
        ("E", "5 "),
        ("E", "5\n"),
        ("E", "5.0"),
        ("E", "1e1"),
        ("E", "0x5"),
        ("E", "five"),
        ("E", "٥"),
        ("E", "5" * 16),
        ("", "-1"),
        ("", "five"),
        ("", "0" * 16),
        ("E E", "5"),
        ("E\n", "5"),
        ("é", "5"),
        ("E" * 33, "5"),
    ],
)
def test_what_is_no_position_is_not_recovered(epoch, offset):
    assert at(epoch, offset) == Resume(UNKNOWN, False)


def test_an_offset_has_at_most_15_digits():
    assert at("E", "0" * 14 + "5").recovered
    assert not at("E", "0" * 15 + "5").recovered
