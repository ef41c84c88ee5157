"""An outage is one line of the log, not one for each call that fails."""

import logging

import pytest

from relay.observability.outage_log import QUIET_SECONDS, OutageLog
from tests.buffer.clock import Clock

logger = logging.getLogger("relay.test")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outages(clock):
    return OutageLog(logger, clock)


def test_a_reason_is_logged_once_however_long_it_lasts(outages, clock, caplog):
    for _ in range(100):
        outages.failed("no writes: %s", "it is full")
        clock.now += QUIET_SECONDS
    assert caplog.messages == ["no writes: it is full"]


def test_each_reason_and_each_message_is_logged(outages, caplog):
    for message in ("no writes: %s", "no reads: %s"):
        for reason in ("it is full", "it is away", "it is full"):
            outages.failed(message, reason)
    assert len(caplog.messages) == 4


def test_a_reason_that_was_absent_is_logged_again(outages, clock, caplog):
    outages.failed("no writes: %s", "it is full")
    clock.now += QUIET_SECONDS + 1
    outages.failed("no writes: %s", "it is full", level=logging.ERROR, call="append")
    assert [(record.levelname, getattr(record, "call", None)) for record in caplog.records] == [
        ("WARNING", None),
        ("ERROR", "append"),
    ]
