"""Which announced epochs are a log's own, and which are foreign."""

import pytest

from relay.layers.redis.epoch import LogEpoch

FORMER, OURS, NEXT, OTHER = "former", "ours", "next", "other"


@pytest.fixture
def epoch():
    return LogEpoch()


def read(epoch, name):
    """Read the log, while nothing else happens: is what was announced foreign?"""
    return epoch.answer(epoch.question(), name)


def test_an_epoch_that_is_announced_beside_the_known_one_is_foreign(epoch):
    epoch.confirm(OURS)
    epoch.doubt(OTHER)
    assert epoch.known is None
    assert read(epoch, OURS)
    assert epoch.known == OURS
    assert epoch.is_foreign(OTHER)
    assert not read(epoch, OURS)  # it was told of once


def test_an_epoch_that_the_log_then_has_is_not_foreign(epoch):
    epoch.confirm(OURS)
    epoch.doubt(NEXT)
    assert not read(epoch, NEXT)
    assert (epoch.known, epoch.is_former(OURS), epoch.is_foreign(NEXT)) == (NEXT, True, False)


@pytest.mark.parametrize("known", [None, FORMER])
def test_a_log_that_starts_again_twice_is_not_foreign_though_the_second_time_is_announced_late(epoch, known):
    if known is not None:
        epoch.confirm(known)
    epoch.doubt(OURS)
    assert not read(epoch, NEXT)
    assert epoch.known == NEXT
    assert not read(epoch, NEXT)
    assert not epoch.is_foreign(OURS)


def test_nor_if_the_second_time_is_announced_while_the_log_is_read(epoch):
    epoch.doubt(OURS)
    question = epoch.question()
    epoch.doubt(NEXT)
    assert not epoch.answer(question, NEXT)
    assert not read(epoch, NEXT)
    assert epoch.known == NEXT


def test_nor_if_this_process_started_it_the_second_time(epoch):
    epoch.confirm(FORMER)
    epoch.doubt(OURS)
    question = epoch.question()
    epoch.confirm(NEXT)
    assert not epoch.answer(question, NEXT)
    assert not read(epoch, NEXT)
    assert epoch.known == NEXT


def test_nothing_is_foreign_that_was_announced_before_announcements_were_missed(epoch):
    epoch.confirm(OURS)
    epoch.doubt(OTHER)
    question = epoch.question()
    epoch.forget()
    assert not epoch.answer(question, OURS)
    assert not read(epoch, OURS)


def test_a_foreign_epoch_that_came_before_ours_was_known_is_found_when_it_is_announced_again(epoch):
    epoch.doubt(OTHER)
    assert not read(epoch, OURS)
    epoch.doubt(OTHER)
    assert read(epoch, OURS)


def test_of_two_reads_one_tells_of_a_foreign_epoch(epoch):
    epoch.confirm(OURS)
    epoch.doubt(OTHER)
    questions = epoch.question(), epoch.question()
    assert [epoch.answer(question, OURS) for question in questions] == [True, False]
