"""What a server process settles before the first client comes."""

from __future__ import annotations

import gc

import pytest

from relay.process import gc_tuning


@pytest.fixture
def thresholds():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_there_is_left_out_of_collections_and_what_comes_is_not(thresholds):
    gc_tuning.freeze_startup_objects()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold() == gc_tuning.THRESHOLDS
    ring = []
    ring.append(ring)
    del ring
    assert gc.collect() >= 1
