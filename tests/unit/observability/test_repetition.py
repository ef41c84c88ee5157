"""Warnings that come again and again: some are written, all are counted."""

import logging

import pytest

from relay.observability import metrics, repetition
from relay.observability.repetition import BURST, WINDOW_SECONDS, RepetitionFilter
from relay.testing.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def repetitions(clock):
    return RepetitionFilter(clock)


def line(event="it failed: %s", *values, level=logging.WARNING, logger="relay.test"):
    return logging.LogRecord(logger, level, __file__, 1, event, values or ("why",), None)


def written(repetitions, count, *arguments, **options):
    lines = [line(*arguments, **options) for _ in range(count)]
    return [record for record in lines if repetitions.filter(record)]


def test_ten_of_one_event_are_written_and_the_rest_is_counted(repetitions):
    before = metrics.LOG_LINES_REPEATED._value.get()
    assert len(written(repetitions, 100)) == BURST
    assert metrics.LOG_LINES_REPEATED._value.get() == before + 100 - BURST


def test_the_first_line_of_the_next_minute_tells_how_many_were_left_out(repetitions, clock):
    written(repetitions, 25)
    clock.now += WINDOW_SECONDS
    first, second = written(repetitions, 2)
    assert first.repeated == 25 - BURST
    assert not hasattr(second, "repeated")
    clock.now += WINDOW_SECONDS
    assert not hasattr(written(repetitions, 1)[0], "repeated")


def test_events_are_told_apart_by_their_text_level_and_logger_and_not_by_their_values(repetitions):
    written(repetitions, BURST, "it failed: %s", "one")
    assert written(repetitions, 1, "it failed: %s", "two") == []
    assert written(repetitions, 1, "it failed again: %s")
    assert written(repetitions, 1, level=logging.ERROR)
    assert written(repetitions, 1, logger="relay.other")


@pytest.mark.parametrize(
    ("event", "level"),
    [("turn ended: %s", logging.WARNING), ("client refused: %s", logging.INFO), ("message refused: %s", logging.DEBUG)],
)
def test_records_of_turns_and_lines_below_a_warning_are_always_written(repetitions, event, level):
    assert len(written(repetitions, 3 * BURST, event, level=level)) == 3 * BURST


def test_events_that_are_remembered_are_bounded(repetitions, monkeypatch):
    monkeypatch.setattr(repetition, "MAX_EVENTS", 3)
    for number in range(10):
        assert written(repetitions, 1, f"text {number}: %s")
    assert len(repetitions._seen) == 3
