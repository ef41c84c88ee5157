"""In which order a run's workers take the tests: each its share of the slow ones first, and of the quick ones last.

pytest-xdist gives each worker an equal part of the list, from its start on, and later lets idle workers take the end of
another's part. So the slow tests of a module stay together with what they have started, and no worker is left with the
last of them while the others have nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

QUICK = ("api", "buffer", "database", "unit")  # packages that start few processes, or none
TOGETHER = ("agents",)  # a package whose modules share processes that need ten seconds of a core to start

T = TypeVar("T")


def order(tests: list[T], workers: int, path_of: Callable[[T], Path]) -> list[T]:
    """Order tests for so many workers; ``path_of`` gives a test's file, relative to the folder of all tests.

    Otherwise they stay in their order. Without enough quick ones to fill the parts, the list stays as it is.
    """
    quick = [test for test in tests if path_of(test).parts[0] in QUICK]
    shares = deal((test for test in tests if path_of(test).parts[0] not in QUICK), workers, path_of)
    sizes = [(len(tests) + worker) // workers for worker in range(workers)]
    if any(len(share) > size for share, size in zip(shares, sizes, strict=True)):
        return tests
    rest = iter(quick)
    return [
        test for share, size in zip(shares, sizes, strict=True) for test in (*share, *_take(rest, size - len(share)))
    ]


def deal(tests: Iterable[T], workers: int, path_of: Callable[[T], Path]) -> list[list[T]]:
    """Deal whole modules out, so that each worker has about as many tests of each package as the others."""
    place = {test: place for place, test in enumerate(tests)}
    modules: dict[tuple[str, str], list[T]] = {}
    for test in place:
        package, *rest = path_of(test).parts
        modules.setdefault((package, "" if package in TOGETHER else "/".join(rest)), []).append(test)
    shares: list[list[T]] = [[] for _ in range(workers)]
    dealt: dict[str, list[int]] = {}
    for (package, _), module in sorted(modules.items(), key=lambda entry: -len(entry[1])):
        counts = dealt.setdefault(package, [0] * workers)
        worker = min(range(workers), key=lambda worker: (counts[worker], len(shares[worker])))
        counts[worker] += len(module)
        shares[worker] += module
    return [sorted(share, key=place.__getitem__) for share in shares]


def _take(tests: Iterator[T], count: int) -> list[T]:
    return [test for _, test in zip(range(count), tests, strict=False)]
