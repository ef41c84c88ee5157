"""Everything breaks, again and again, while people talk: the history must show that no promise was broken.

``SOAK_SEED`` repeats a run's choices, ``SOAK_TURNS`` says how long it is; a history that fails is kept.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.checker import Checker
from tests.soak.run import Run


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


@pytest.mark.timeout(300)
async def test_a_short_run_keeps_every_promise(tmp_path):
    ends = await kept_its_promises(Run(seed=7, turns=60, sessions=6, fault_seconds=1.0), tmp_path)
    assert ends["stop"] > 20


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_long_run_keeps_every_promise(tmp_path):
    seed, turns = int(os.environ.get("SOAK_SEED", "1")), int(os.environ.get("SOAK_TURNS", "1500"))
    ends = await kept_its_promises(Run(seed, turns=turns, sessions=12, fault_seconds=2.0), tmp_path)
    assert ends["stop"] > turns / 2
