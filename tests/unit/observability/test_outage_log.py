"""An outage is a line of the log a minute, not one for each call that fails."""

import logging

import pytest

from relay.observability.outage_log import LINE_SECONDS, OutageLog
from relay.testing.clock import Clock

logger = logging.getLogger("relay.test")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outages(clock):
    return OutageLog(logger, clock)


def test_a_reason_is_logged_when_it_first_occurs_and_then_once_a_minute(outages, clock, caplog):
    for _ in range(5):
        for _ in range(12):
            outages.failed("no writes: %s", "it is full")
            clock.now += LINE_SECONDS / 12
    assert caplog.messages == ["no writes: it is full"] * 5
    told = [(getattr(record, "repeated", None), getattr(record, "for_seconds", None)) for record in caplog.records]
    assert told == [(None, None), (11, 60), (11, 120), (11, 180), (11, 240)]


def test_every_line_has_the_names_of_its_log(clock, caplog):
    outages = OutageLog(logger, clock, store="store-1:6379")
    for _ in range(2):
        outages.failed("no writes: %s", "it is full", call="append")
        clock.now += LINE_SECONDS
    assert [(record.store, record.call) for record in caplog.records] == [("store-1:6379", "append")] * 2


def test_each_reason_and_each_message_is_logged(outages, caplog):
    for message in ("no writes: %s", "no reads: %s"):
        for reason in ("it is full", "it is away", "it is full"):
            outages.failed(message, reason)
    assert len(caplog.messages) == 4


def test_a_reason_that_was_absent_is_logged_again(outages, clock, caplog):
    outages.failed("no writes: %s", "it is full")
    clock.now += LINE_SECONDS + 1
    outages.failed("no writes: %s", "it is full", level=logging.ERROR, call="append")
    assert [(record.levelname, getattr(record, "call", None)) for record in caplog.records] == [
        ("WARNING", None),
        ("ERROR", "append"),
    ]
