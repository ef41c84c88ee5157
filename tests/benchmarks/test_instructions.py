"""The pure parts need no more instructions than they did. Times are not judged: the machine may be busy."""

from __future__ import annotations

import sys

import pytest

from benchmarks import instructions, pure


@pytest.mark.timeout(300)  # ten seconds of CPU, which other tests may delay
@pytest.mark.skipif(sys.platform != "linux", reason="valgrind runs on Linux")
def test_no_pure_part_needs_more_instructions_than_it_did() -> None:
    """A part that became dearer on purpose gets a new figure in ``KNOWN``; so does one that became cheaper."""
    measured = instructions.ratios(instructions.count())
    assert set(measured) == {*instructions.KNOWN, pure.json_only.__name__}
    dearer = {
        name: f"{measured[name]:.2f} instead of {known}"
        for name, known in instructions.KNOWN.items()
        if measured[name] > known * instructions.MARGIN
    }
    assert dearer == {}


def test_every_part_does_what_it_says() -> None:
    """The parts run without valgrind, too."""
    for part in pure.PARTS:
        part()
