"""The benchmark runs and measures all that it promises. Times are not judged here: the machine may be busy."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest

pytest.importorskip("picows", reason="the benchmark's dependencies are not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads Linux's accounts")

import uvloop  # noqa: E402

from benchmarks import __main__ as command_line  # noqa: E402
from benchmarks import budgets, measure, scenarios, systems  # noqa: E402
from benchmarks.rig import rig  # noqa: E402

PACED = (
    "limit",
    "relay",
    "channels-direct",
    "channels-group",
    "unobserved",
    "memory-serve",
    "memory-uvicorn",
    "memory-daphne",
)


def run(system_names: tuple[str, ...]) -> dict[str, Any]:
    measured = [systems.SYSTEMS[name] for name in system_names]
    return command_line.run(measured, [scenarios.SCENARIOS["paced"]], repetitions=1, scale="smoke")


def assert_complete(scenario: str, figures: dict[str, float]) -> None:
    """Every figure that the scenario names is there, and no token was lost."""
    assert set(figures) >= set(scenarios.SCENARIOS[scenario].figures) - {"store_reads_per_session"}  # memory has none
    assert all(math.isfinite(value) for value in figures.values()), figures
    assert figures.get("lost", 0) == 0, scenario


def test_every_scenario_on_the_gateway_gives_every_figure() -> None:
    async def every_scenario() -> dict[str, dict[str, float]]:
        async with rig(systems.SYSTEMS["memory-serve"], measure.Cores.choose(), None) as started:
            return {name: await each.run(started, scenarios.SMOKE) for name, each in scenarios.SCENARIOS.items()}

    for scenario, figures in uvloop.run(every_scenario()).items():
        assert_complete(scenario, figures)


def test_every_system_without_redis_relays_every_token() -> None:
    results = run(PACED)
    assert [outcome["system"] for outcome in results["runs"]] == list(PACED)
    for outcome in results["runs"]:
        assert "error" not in outcome, outcome
        assert_complete("paced", outcome["figures"])


def test_a_system_that_cannot_run_here_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "start_redis", lambda core, systems: (None, None))
    results = run(("channels-redis",))
    assert results["runs"] == []
    assert "Redis" in results["skipped"]["channels-redis"]


def test_report_writes_tables_verdicts_and_a_plot(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    figures = {**dict.fromkeys(scenarios.SCENARIOS["paced"].figures, 1.0), "disturbed": 0.0, "lost": 0.0}
    runs = [
        {
            "scenario": "paced",
            "system": system,
            "repetition": repetition,
            "figures": {**figures, "cpu_us_per_frame": cpu},
        }
        for repetition in range(2)
        for system, cpu in (("limit", 10.0), ("relay", 100.0), ("memory-uvicorn", 30.0))
    ]
    results = {
        "began_at": "2026-01-01T00:00:00+00:00",
        "scale": "smoke",
        "repetitions": 2,
        "machine": measure.machine(),
        "skipped": {"redis-uvicorn": "no Redis server"},
        "runs": runs,
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert command_line.main(["report", str(tmp_path / "results.json"), "--docs", str(tmp_path)]) == 0
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| CPU a token frame | **gateway**, memory, uvicorn | ≤ 0.42 × relay | 0.30 | met |" in text
    assert "| CPU a token frame | **gateway**, memory, uvicorn | ≤ 2.5 × limit (aim: 2) | 3.00 | **missed** |" in text
    assert "| CPU a token frame | **gateway**, memory, serve | ≤ 0.65 × relay | – | not measured |" in text
    assert "**gateway**, Redis, uvicorn: no Redis server." in text
    assert (tmp_path / "benchmarks.svg").stat().st_size > 0


@pytest.mark.parametrize(
    ("figures", "doubts"),
    [
        ({"disturbed": 0.05, "lost": 0.0}, []),
        ({"disturbed": 0.06, "lost": 0.0}, ["disturbed"]),
        ({"disturbed": 0.0, "lost": 1.0}, ["frames were lost"]),
    ],
)
def test_a_verdict_tells_what_speaks_against_it(figures: dict[str, float], doubts: list[str]) -> None:
    budget = budgets.Budget("growth", "paced", "limit", "growth", 1.2)
    run = {"scenario": "paced", "system": "limit", "repetition": 0, "figures": {"growth": 1.0, **figures}}
    assert budget.doubts(budgets.Results({"runs": [run]})) == doubts


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([{"disturbed": 0.0, "lost": 0}], {"figures": {"disturbed": 0.0, "lost": 0}, "attempts": 1}),
        (
            [{"disturbed": 0.9, "lost": 7}, {"disturbed": 0.01, "lost": 0}],
            {"figures": {"disturbed": 0.01, "lost": 7}, "attempts": 2},
        ),
        ([{"disturbed": 0.9, "lost": 0}, "it broke"], {"error": "it broke"}),
    ],
)
def test_another_attempt_hides_neither_losses_nor_failures(
    outcomes: list[Any], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = iter({"error": each} if isinstance(each, str) else {"figures": each} for each in outcomes)
    monkeypatch.setattr(command_line, "_measure_once", lambda *_: next(attempts))
    paced, limit = scenarios.SCENARIOS["paced"], systems.SYSTEMS["limit"]
    assert command_line._measure(paced, limit, measure.Cores.choose(), scenarios.QUICK, None) == expected


def test_a_ratio_pairs_figures_of_one_repetition() -> None:
    runs = [
        {"scenario": "paced", "system": system, "repetition": repetition, "figures": {"cpu_us_per_frame": cpu}}
        for repetition, system, cpu in (
            (0, "relay", 100.0),
            (1, "relay", 200.0),
            (0, "limit", 10.0),
            (1, "limit", 40.0),
        )
    ]
    ratio = budgets.Results({"runs": runs}).ratio("paced", "limit", "relay", "cpu_us_per_frame")
    assert ratio == budgets.Spread(pytest.approx(0.15), 0.1, 0.2)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_percentile_is_the_least_value_that_covers_the_share(share: float, expected: int) -> None:
    assert measure.percentile([4, 1, 3, 2], share) == expected


def test_cpu_time_of_children_is_counted() -> None:
    before = measure.Usage.of_self()
    sum(range(300_000))
    assert measure.Usage.of_self().since(before).cpu_seconds > 0


def test_a_run_of_all_measures_what_every_budget_names() -> None:
    """What is left out to save time is not what a verdict needs."""
    every = list(systems.SYSTEMS.values())
    planned = {
        (scenario.name, system.name)
        for scenario, system, _ in command_line._plan(
            list(scenarios.SCENARIOS.values()), every, repetitions=None, is_usual=True
        )
    }
    for budget in budgets.BUDGETS:
        assert (budget.scenario, budget.system) in planned, budget
        assert budget.peer is None or (budget.scenario, budget.peer) in planned, budget
