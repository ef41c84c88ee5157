"""Everything breaks, again and again, while people talk: the history must show that no promise was broken.

``SOAK_SEED`` repeats a run's choices, ``SOAK_TURNS`` says how long it is; a history that fails is kept.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.checker import Checker
from tests.soak.run import Run
from tests.soak.stores import ClusterStore, ServerStore


async def kept_its_promises(run, tmp_path):
    """Play a run, say what happened in it, and judge it."""
    path = Path(tmp_path) / "history.jsonl"
    try:
        history = await run.play()
    finally:
        run.history.save(path)
    checker = Checker(history)
    faults = Counter(event["name"] for event in history.events if event["kind"] == "fault")
    ends = Counter(ending for endings in checker.endings.values() for _, ending in endings)
    asked = sum(event["kind"] == "asked" for event in history.events)
    print(f"{run}: {sum(ends.values())} ends {dict(ends)}, {asked} requests, faults {dict(faults)}; history: {path}")
    assert not checker.problems, "\n".join(checker.problems)
    return ends


@pytest.mark.parametrize(("store", "turns", "fault_seconds"), [(ServerStore, 60, 1.0), (ClusterStore, 30, 0.2)])
@pytest.mark.timeout(300)
async def test_a_short_run_keeps_every_promise(tmp_path, store, turns, fault_seconds):
    run = Run(seed=7, turns=turns, sessions=6, fault_seconds=fault_seconds, store=store)
    ends = await kept_its_promises(run, tmp_path)
    assert ends["stop"] > turns / 3


@pytest.mark.soak
@pytest.mark.parametrize(("store", "fault_seconds"), [(ServerStore, 2.0), (ClusterStore, 0.2)])  # whose faults last
@pytest.mark.timeout(3600)
async def test_a_long_run_keeps_every_promise(tmp_path, store, fault_seconds):
    seed, turns = int(os.environ.get("SOAK_SEED", "1")), int(os.environ.get("SOAK_TURNS", "1500"))
    run = Run(seed, turns=turns, sessions=12, fault_seconds=fault_seconds, store=store)
    ends = await kept_its_promises(run, tmp_path)
    assert ends["stop"] > ends.total() / 2  # a store that was lost took its queues with it
