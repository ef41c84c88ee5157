"""What the doctor makes of a store's figures."""

import pytest

from relay.management.doctor_store import Level, _judge_store

WELL = {"redis_version": "7.4.2", "maxmemory_policy": "noeviction"}


def judged(seconds=0.001, skew=0.0, **info):
    found = _judge_store("host", [seconds] * 5, [skew] * 5, {**WELL, **info})
    return [(finding.level, finding.words) for finding in found if finding.level is not Level.OK]


def test_all_is_well():
    assert judged() == []


@pytest.mark.parametrize("skew", [2.0, -2.0])
def test_clocks_that_are_apart(skew):
    assert judged(skew=skew) == [(Level.WARNING, "its clock differs from this machine's by 2.000 s")]


def test_a_slow_store():
    ((level, words),) = judged(seconds=0.05)
    assert (level, words.partition(",")[0]) == (Level.WARNING, "host: 50.00 ms per round trip")


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"redis_version": "6.2.14"}, "redis 6.2.14"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.9"}, "valkey 7.2.9"),
        ({"maxmemory_policy": "volatile-lru"}, "its maxmemory-policy is volatile-lru"),
    ],
)
def test_a_store_that_will_not_do(info, words):
    assert judged(**info) == [(Level.PROBLEM, words)]
