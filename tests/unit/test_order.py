"""Each worker of a run gets its share of the slow tests first, in whole modules, and quick ones after them."""

from __future__ import annotations

import random
from itertools import groupby
from pathlib import Path

from tests.order import QUICK, order

WORKERS = 4
MODULES = [
    *(f"e2e/test_{number}.py" for number in range(9)),
    *(f"faults/test_{number}.py" for number in range(5)),
    *(f"agents/test_{number}.py" for number in range(3)),
    *(f"unit/folder/test_{number}.py" for number in range(60)),
]


def shuffled(modules):
    """Tests of these modules, some of each, with the modules in an order of chance."""
    chance = random.Random(7)
    return [(module, number) for module in chance.sample(modules, len(modules)) for number in range(3, 12)]


def path_of(test):
    return Path(test[0])


def is_quick(test):
    return path_of(test).parts[0] in QUICK


def parts(tests):
    """What pytest-xdist gives to each worker first."""
    tests, given = list(tests), []
    for worker in range(WORKERS):
        size = len(tests) // (WORKERS - worker)
        given.append(tests[:size])
        tests = tests[size:]
    return given


def test_every_test_stays_and_each_part_has_its_slow_ones_first():
    tests = shuffled(MODULES)
    ordered = order(tests, WORKERS, path_of)
    assert sorted(ordered) == sorted(tests)
    for part in parts(ordered):
        assert [is_quick for is_quick, _ in groupby(part, is_quick)] == [False, True]


def test_slow_modules_are_whole_and_dealt_by_package():
    given = parts(order(shuffled(MODULES), WORKERS, path_of))
    slow = [{test[0] for test in part if not is_quick(test)} for part in given]
    assert sum(len(modules) for modules in slow) == 17
    for package, most in (("e2e", 3), ("faults", 2)):
        counts = [sum(module.startswith(package) for module in modules) for modules in slow]
        assert min(counts) == most - 1
        assert max(counts) == most
    assert [sum(module.startswith("agents") for module in modules) for modules in slow].count(0) == WORKERS - 1


def test_slow_tests_of_a_part_keep_their_order():
    tests = shuffled(MODULES)
    for part in parts(order(tests, WORKERS, path_of)):
        places = [tests.index(test) for test in part]
        slow = [place for test, place in zip(part, places, strict=True) if not is_quick(test)]
        assert slow == sorted(slow)


def test_without_enough_quick_tests_nothing_moves():
    tests = shuffled(MODULES[:20])
    assert order(tests, WORKERS, path_of) == tests
