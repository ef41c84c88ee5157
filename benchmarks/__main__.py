"""The command line: ``run`` measures, ``report`` writes the figures into the documentation."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import measure, report
from benchmarks.budgets import DISTURBED
from benchmarks.processes import ROOT
from benchmarks.rig import Figures, rig
from benchmarks.scenarios import FULL, QUICK, SCENARIOS, SMOKE, Scale, Scenario
from benchmarks.systems import SYSTEMS, System, missing, start_redis

RESULTS = ROOT / "benchmarks" / "results"
SCALES = {"full": FULL, "quick": QUICK, "smoke": SMOKE}
SCENARIO_SECONDS = 300  # more than any needs; a hanging server must not hang the benchmark


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    if options.command == "report":
        report.write(options.results or _newest_results(), options.docs)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all processes are stopped then too
    results = run(
        [SYSTEMS[name] for name in options.systems] if options.systems else None,
        [SCENARIOS[name] for name in options.scenarios],
        options.repetitions,
        options.scale,
    )
    path = options.output or RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))
    print(f"\n{report.summary(results)}\n\nWritten to {path}")
    return 0


def run(
    systems: Sequence[System] | None, scenarios: Sequence[Scenario], repetitions: int | None, scale: str
) -> dict[str, Any]:
    """Measure every scenario on every system that can serve it, repeatedly and in turn.

    Args:
        systems: ``None``: those that each scenario is usually measured with.
        repetitions: ``None``: as many as each scenario usually has.

    Returns:
        What ``report`` reads: the machine, the runs with their figures, and what was left out and why.
    """
    _allow_many_sockets()
    cores = measure.Cores.choose()
    wanted = list(SYSTEMS.values()) if systems is None else systems
    redis_url, redis = start_redis(cores.load, wanted)
    skipped = {system.name: reason for system in wanted if (reason := missing(system, redis_url))}
    for name, reason in skipped.items():
        print(f"skipped: {name}: {reason}", flush=True)
    present = [system for system in wanted if system.name not in skipped]
    plan = list(_plan(scenarios, present, repetitions, is_usual=systems is None))
    results: dict[str, Any] = {
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale,
        "repetitions": max((repetition for _, _, repetition in plan), default=0) + 1,
        "machine": measure.machine(),
        "skipped": skipped,
        "runs": [],
    }
    try:
        for scenario, system, repetition in plan:
            outcome = _measure(scenario, system, cores, SCALES[scale], redis_url)
            print(f"{repetition} {scenario.name:18} {system.name:17} {_line(outcome)}", flush=True)
            results["runs"].append(
                {"scenario": scenario.name, "system": system.name, "repetition": repetition, **outcome}
            )
    finally:
        if redis is not None:
            redis.stop()
    return results


def _plan(
    scenarios: Sequence[Scenario], systems: Sequence[System], repetitions: int | None, *, is_usual: bool
) -> Iterator[tuple[Scenario, System, int]]:
    """Interleave: a repetition visits every system before the next starts, so that all see the same machine."""
    for scenario in scenarios:
        for repetition in range(repetitions or scenario.repetitions):
            for system in systems:
                if scenario.usually_measures(system) if is_usual else scenario.suits(system):
                    yield scenario, system, repetition


def _measure(
    scenario: Scenario, system: System, cores: measure.Cores, scale: Scale, redis_url: str | None
) -> dict[str, Any]:
    """Measure once, or again if other programs disturbed it; keep the outcome that was disturbed least.

    No attempt hides a failure of another: it is returned, and the largest loss of any attempt counts.
    """
    outcomes: list[dict[str, Any]] = []
    for _ in range(scale.attempts):
        outcome = _measure_once(scenario, system, cores, scale, redis_url)
        if "error" in outcome:
            return outcome
        outcomes.append(outcome)
        if outcome["figures"].get("disturbed", 0.0) <= DISTURBED:
            break
    figures = dict(min((outcome["figures"] for outcome in outcomes), key=lambda each: each.get("disturbed", 0.0)))
    if "lost" in figures:
        figures["lost"] = max(outcome["figures"]["lost"] for outcome in outcomes)
    return {"figures": figures, "attempts": len(outcomes)}


def _measure_once(
    scenario: Scenario, system: System, cores: measure.Cores, scale: Scale, redis_url: str | None
) -> dict[str, Any]:
    async def measured() -> Figures:
        async with rig(system, cores, redis_url) as started, asyncio.timeout(SCENARIO_SECONDS):
            return await scenario.run(started, scale)

    try:
        return {"figures": uvloop.run(measured())}
    except Exception as exc:  # the other systems are measured all the same
        return {"error": f"{type(exc).__name__}: {exc}"}


def _line(outcome: dict[str, Any]) -> str:
    if "error" in outcome:
        return f"FAILED: {outcome['error']}"
    return "  ".join(f"{name}={value:.4g}" for name, value in outcome["figures"].items())


def _allow_many_sockets() -> None:
    with contextlib.suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _newest_results() -> Path:
    paths = sorted(RESULTS.glob("*.json"))
    if not paths:
        sys.exit("Nothing was measured yet: python -m benchmarks run")
    return paths[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure, and write a JSON file", description=run.__doc__)
    running.add_argument(
        "--scenarios",
        nargs="+",
        choices=SCENARIOS,
        default=list(SCENARIOS),
        metavar="NAME",
        help=f"which, of: {', '.join(SCENARIOS)} (default: all)",
    )
    running.add_argument(
        "--systems",
        nargs="+",
        choices=SYSTEMS,
        metavar="NAME",
        help=f"which, of: {', '.join(SYSTEMS)} (default: the gateway, and beside it whom the scenario says)",
    )
    running.add_argument("--repetitions", type=int, help="of each; figures are medians (default: 3 of paced, else 1)")
    running.add_argument(
        "--scale",
        choices=SCALES,
        default="full",
        help="how much of everything; quick is for a first look, smoke only tries that all works",
    )
    running.add_argument("--quick", action="store_const", dest="scale", const="quick", help="the same as --scale quick")
    running.add_argument("--output", type=Path, help="the JSON file (default: benchmarks/results/<date>.json)")
    reporting = commands.add_parser("report", help="write benchmarks.md and benchmarks.svg from a JSON file")
    reporting.add_argument("results", type=Path, nargs="?", help="the JSON file (default: the newest)")
    reporting.add_argument("--docs", type=Path, default=ROOT / "docs", help="where to write (default: docs/)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
