"""The benchmark runs and measures all that it promises. Times are not judged here: the machine may be busy."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("picows", reason="the benchmark's dependencies are not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads Linux's accounts")

import uvloop  # noqa: E402

from benchmarks import __main__ as command_line  # noqa: E402
from benchmarks import bench, budgets, measure, processes, report, scale, scenarios, stores, systems  # noqa: E402
from benchmarks.rig import rig  # noqa: E402

PACED = (
    "limit",
    "relay",
    "fastapi-gateway",
    "channels-direct",
    "channels-group",
    "unobserved",
    "memory-serve",
    "memory-uvicorn",
    "memory-daphne",
    "memory-granian",
)
ONLY_SOME_HAVE = {"store_reads_per_session", "kept_turns"}


def run(system_names: tuple[str, ...], *scenario_names: str, **options: Any) -> dict[str, Any]:
    measured = [systems.SYSTEMS[name] for name in system_names]
    chosen = [scenarios.SCENARIOS[name] for name in scenario_names or ("paced",)]
    return command_line.run(measured, chosen, repetitions=1, scale="smoke", **options)


def assert_complete(scenario: str, figures: dict[str, float]) -> None:
    """Every figure that the scenario names is there, and no token was lost."""
    assert set(figures) >= set(scenarios.SCENARIOS[scenario].figures) - ONLY_SOME_HAVE
    assert all(math.isfinite(value) for value in figures.values()), figures
    assert figures.get("lost", 0) == 0, scenario


def test_every_scenario_of_one_process_gives_every_figure() -> None:
    system = systems.SYSTEMS["memory-serve"]

    async def every_scenario(place: bench.Bench) -> dict[str, dict[str, float]]:
        async with rig(system, place) as started:
            return {
                name: await each.run(started, scale.SMOKE)
                for name, each in scenarios.SCENARIOS.items()
                if each.suits(system)
            }

    with bench.Bench.set_up([system]) as place:
        measured = uvloop.run(every_scenario(place))
    for scenario, figures in measured.items():
        assert_complete(scenario, figures)
    assert measured["turns"]["kept_turns"] == measured["tool-turns"]["kept_turns"] == 1


def test_turns_are_answered_by_peers_too() -> None:
    results = run(("limit", "relay", "fastapi-gateway"), "turns", "tool-turns")
    assert len(results["runs"]) == 6
    for outcome in results["runs"]:
        assert "error" not in outcome, outcome
        assert_complete(outcome["scenario"], outcome["figures"])


@pytest.mark.parametrize("scenario", ["workers", "deploy"])
def test_several_workers_lose_nothing_under_load_and_in_a_rolling_restart(scenario: str) -> None:
    (outcome,) = run(("redis-serve-workers-2",), scenario)["runs"]
    assert "error" not in outcome, outcome
    assert_complete(scenario, outcome["figures"])
    assert outcome["figures"].get("reconnects", 1) > 0


@pytest.mark.parametrize("system", ["redis-serve", "cluster-serve"])
def test_a_store_tells_what_it_has_done(system: str) -> None:
    (outcome,) = run((system,), "stores")["runs"]
    assert "error" not in outcome, outcome
    assert_complete("stores", outcome["figures"])
    assert outcome["figures"]["store_calls_per_frame"] > 0.1
    assert outcome["figures"]["store_bytes_per_frame"] > 100


def test_a_peer_with_a_log_of_its_own_delivers_what_a_cut_viewer_missed() -> None:
    (outcome,) = run(("fastapi-gateway",), "drop")["runs"]
    assert "error" not in outcome, outcome
    assert_complete("drop", outcome["figures"])
    assert outcome["figures"]["delivered"] == 1


@pytest.mark.skipif(
    systems.SYSTEMS["socket-io"].missing() is not None, reason=f"{systems.SYSTEMS['socket-io'].missing()}"
)
def test_socket_io_recovers_what_a_cut_viewer_missed() -> None:
    (outcome,) = run(("socket-io",), "drop")["runs"]
    assert "error" not in outcome, outcome
    assert outcome["figures"]["delivered"] == 1
    assert outcome["figures"]["lost"] == 0


def test_a_peer_whose_package_is_not_installed_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(systems, "ROOT", tmp_path)
    results = run(("socket-io",), "drop")
    assert results["runs"] == []
    assert results["skipped"] == {"socket-io": "npm ci --prefix benchmarks/peers/socket_io was not run"}


def test_idle_sockets_beyond_those_of_one_process_are_opened_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios.sockets, "most_sockets", lambda: 7)
    (outcome,) = run(("redis-serve-workers-2",), "idle-crowd")["runs"]
    assert "error" not in outcome, outcome
    assert outcome["figures"]["sockets"] == 14
    assert scenarios.sockets._shares(14) == [7, 7]
    assert scenarios.sockets._shares(15) == [5, 5, 5]


def test_a_peer_without_a_log_loses_what_a_cut_viewer_missed() -> None:
    (outcome,) = run(("channels-group",), "drop")["runs"]
    assert "error" not in outcome, outcome
    assert 0 < outcome["figures"]["delivered"] < 1
    assert outcome["figures"]["lost"] > 0


def test_results_are_saved_after_each_measurement_even_a_failed_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command_line, "_measure_once", lambda scenario, system, *_: {"error": f"{system.name} broke"})
    saved = []
    run(("limit", "relay"), save=lambda results: saved.append(len(results["runs"])))
    assert saved == [1, 2]
    path = tmp_path / "results.json"
    arguments = ["run", "--systems", "limit", "--scenarios", "paced", "--repetitions", "1", "--into", str(path)]
    assert command_line.main(arguments) == 0
    assert [outcome["error"] for outcome in json.loads(path.read_text())["runs"]] == ["limit broke"]
    assert "limit broke" in command_line.report.summary(json.loads(path.read_text()))


def test_every_system_without_redis_relays_every_token() -> None:
    results = run(PACED)
    assert [outcome["system"] for outcome in results["runs"]] == list(PACED)
    for outcome in results["runs"]:
        assert "error" not in outcome, outcome
        assert_complete("paced", outcome["figures"])


def test_a_system_that_cannot_run_here_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_PROGRAMS", ())
    results = run(("channels-redis",))
    assert results["runs"] == []
    assert "Redis" in results["skipped"]["channels-redis"]


def reported(tmp_path: Path, runs: list[dict[str, Any]], skipped: dict[str, str] | None = None) -> tuple[str, bool]:
    """Report these runs; return the page, and whether there is a plot beside it."""
    pytest.importorskip("matplotlib")
    results = {
        "measured_at": "2026-01-01T00:00:00+00:00",
        "scale": "smoke",
        "machine": measure.machine(),
        "skipped": skipped or {},
        "runs": [{"repetition": 0, **outcome} for outcome in runs],
    }
    stored, docs = tmp_path / "results.json", tmp_path / "docs"
    stored.write_text(json.dumps(results))
    assert command_line.main(["report", str(stored), "--docs", str(docs)]) == 0
    plot = docs / "benchmarks.svg"
    return (docs / "benchmarks.md").read_text(), plot.exists() and plot.stat().st_size > 0


def test_report_writes_tables_verdicts_and_a_plot(tmp_path: Path) -> None:
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
    text, has_plot = reported(tmp_path, runs, {"redis-uvicorn": "no Redis server"})
    assert "| CPU per token frame | **gateway**, memory, uvicorn | ≤ 0.35 × relay | 0.30 | met |" in text
    assert "| CPU per token frame | **gateway**, memory, uvicorn | ≤ 2 × limit | 3.00 | **missed** |" in text
    assert "| CPU per token frame | **gateway**, memory, serve | ≤ 0.35 × relay | – | not measured |" in text
    assert "**gateway**, Redis, uvicorn: no Redis server." in text
    assert has_plot


def test_a_run_of_some_scenarios_that_partly_failed_can_be_reported(tmp_path: Path) -> None:
    figures = dict.fromkeys(scenarios.SCENARIOS["turns"].figures, 1.0)
    runs = [
        {"scenario": "turns", "system": "relay", "figures": figures},
        {"scenario": "turns", "system": "memory-serve", "error": "RuntimeError: it broke"},
    ]
    text, has_plot = reported(tmp_path, runs)
    assert "## turns" in text
    assert "- turns, **gateway**, memory, serve: RuntimeError: it broke." in text
    assert "benchmarks.svg" not in text
    assert not has_plot
    assert "- turns, 0 of 3 times: limit; gateway in FastAPI; " in text
    assert "- turns, 1 of 3 times: relay." in text
    assert "- drop: not at all." in text


def test_a_system_that_delivered_nothing_is_reported_without_the_figures_that_it_lacks(tmp_path: Path) -> None:
    figures = {**dict.fromkeys(scenarios.SCENARIOS["paced"].figures, 1.0), "lost": 9.0}
    missing = dict.fromkeys(("p50_ms", "p99_ms", "p999_ms"), math.nan)
    stored = {"cpu_us_per_frame": 1.0, "store_calls_per_frame": 1.0}
    runs = [
        {"scenario": "paced", "system": "relay", "figures": figures | missing},
        {"scenario": "stores", "system": "redis-serve", "figures": stored},
        {"scenario": "stores", "system": "cluster-serve", "figures": {"cpu_us_per_frame": 1.0}},
    ]
    text, has_plot = reported(tmp_path, runs)
    assert "| relay (saturated) | 1.00 | 1.0 | – | – | – |" in text
    assert "benchmarks.svg" not in text
    assert not has_plot


def test_the_short_table_is_written_into_the_readme(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{report.SHORT_BEGIN}\nold\n{report.SHORT_END}\n\nafter\n")
    for _ in range(2):
        page, _ = reported(tmp_path, [{"scenario": "drop", "system": "memory-serve", "figures": {"delivered": 1.0}}])
    text = readme.read_text()
    assert text.startswith(f"before\n\n{report.SHORT_BEGIN}\n| ")
    assert text.endswith(f"\n{report.SHORT_END}\n\nafter\n")
    assert "100.000" in text
    assert "old" not in text
    assert text.removeprefix("before").removesuffix("after\n") in page


def test_the_tables_of_readme_and_benchmarks_are_of_one_run() -> None:
    def table(file: str) -> str:
        text = (processes.ROOT / file).read_text()
        return text.partition(report.SHORT_BEGIN)[2].partition(report.SHORT_END)[0]

    assert report.SHORT_BEGIN in (processes.ROOT / "README.md").read_text()
    assert table("README.md") == table("docs/benchmarks.md")


def test_a_run_is_continued_in_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it has is kept, what failed is measured again, and other machines' figures are not mixed in."""
    path = tmp_path / "results.json"
    first, failed, again, last = {"seconds": 1.0}, "it broke", {"seconds": 2.0}, {"seconds": 3.0}
    outcomes = iter([{"figures": first}, {"error": failed}, {"figures": again}, {"figures": last}])
    monkeypatch.setattr(command_line, "_measure_once", lambda *_: next(outcomes))
    arguments = ["run", "--scale", "smoke", "--repetitions", "1", "--into", str(path), "--systems"]
    for _ in range(2):
        assert command_line.main([*arguments, "limit", "relay", "--scenarios", "paced"]) == 0
    assert command_line.main([*arguments, "limit", "--scenarios", "turns"]) == 0
    results = json.loads(path.read_text())
    measured = [(run["scenario"], run["system"], run["figures"]) for run in results["runs"]]
    assert measured == [("paced", "limit", first), ("paced", "relay", again), ("turns", "limit", last)]
    results["machine"]["processor"] = "another"
    path.write_text(json.dumps(results))
    with pytest.raises(SystemExit, match="another machine"):
        command_line.main([*arguments, "limit", "--scenarios", "turns"])


def test_a_whole_run_takes_forty_minutes_at_most() -> None:
    steps = command_line.plan_of(
        list(scenarios.SCENARIOS.values()), list(systems.SYSTEMS.values()), repetitions=None, is_usual=True
    )
    assert sum(scenario.seconds(scale.FULL, system) for scenario, system, _ in steps) <= 40 * 60


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
    place = bench.Bench(measure.Cores.choose())
    assert command_line._measure(paced, limit, place, scale.QUICK) == expected


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
        for scenario, system, _ in command_line.plan_of(
            list(scenarios.SCENARIOS.values()), every, repetitions=None, is_usual=True
        )
    }
    for budget in budgets.BUDGETS:
        assert (budget.scenario, budget.system) in planned, budget
        assert budget.peer is None or (budget.scenario, budget.peer) in planned, budget
