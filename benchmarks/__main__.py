"""The command line: ``run`` measures, ``report`` writes the figures into the documentation."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import measure, report
from benchmarks.bench import Bench
from benchmarks.budgets import DISTURBED
from benchmarks.processes import ROOT
from benchmarks.rig import Figures, rig
from benchmarks.scale import SCALES, Scale
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.systems import SYSTEMS, System

RESULTS = ROOT / "benchmarks" / "results"
SCENARIO_SECONDS = 300  # more than any needs; a hanging server must not hang the benchmark


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    if options.command == "report":
        report.write(options.results or _newest_results(), options.docs)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all processes are stopped then too
    path = options.into or RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"Results are written to {path} as they come.", flush=True)
    results = run(
        [SYSTEMS[name] for name in options.systems] if options.systems else None,
        [SCENARIOS[name] for name in options.scenarios],
        options.repetitions,
        options.scale,
        earlier=json.loads(path.read_text()) if path.exists() else None,
        save=lambda results: _save(results, path),
    )
    print(f"\n{report.summary(results)}\n\nWritten to {path}")
    return 0


def run(
    systems: Sequence[System] | None,
    scenarios: Sequence[Scenario],
    repetitions: int | None,
    scale: str,
    earlier: dict[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Measure every scenario on every system that can serve it, repeatedly and in turn.

    Args:
        systems: ``None``: those that each scenario is usually measured with.
        repetitions: ``None``: as many as each scenario usually has.
        earlier: results that are completed: what they have is not measured again, what failed is.
        save: gets the results so far after each measurement.

    Returns:
        What ``report`` reads: the machine, the runs with their figures, and what was left out and why.
    """
    results = _begin(earlier, scale)
    done = {_key(run) for run in results["runs"] if "figures" in run}
    _allow_many_sockets()
    every = list(SYSTEMS.values()) if systems is None else systems
    plan = [
        step
        for step in plan_of(scenarios, every, repetitions, is_usual=systems is None)
        if (step[0].name, step[1].name, step[2]) not in done
    ]
    wanted = list({system.name: system for _, system, _ in plan}.values())
    with Bench.set_up(wanted) as bench:
        skipped = {system.name: reason for system in wanted if (reason := bench.missing(system))}
        for name, reason in skipped.items():
            print(f"skipped: {name}: {reason}", flush=True)
        measured_now = {system.name for system in wanted} - skipped.keys()
        kept = {name: reason for name, reason in results["skipped"].items() if name not in measured_now}
        results["skipped"] = {**kept, **skipped}
        plan = [step for step in plan if step[1].name not in skipped]
        seconds = [scenario.seconds(SCALES[scale], system) for scenario, system, _ in plan]
        print(f"{len(plan)} measurements, about {sum(seconds) / 60:.0f} minutes.", flush=True)
        for number, (scenario, system, repetition) in enumerate(plan):
            started_at = time.monotonic()
            outcome = _measure(scenario, system, bench, SCALES[scale])
            outcome["took_seconds"] = round(time.monotonic() - started_at, 1)
            left = f"{sum(seconds[number + 1 :]) / 60:3.0f} min left"
            print(f"{left}  {repetition} {scenario.name:18} {system.name:20} {_line(outcome)}", flush=True)
            measured = {"scenario": scenario.name, "system": system.name, "repetition": repetition, **outcome}
            results["runs"] = [*(each for each in results["runs"] if _key(each) != _key(measured)), measured]
            save(results)
    return results


def _begin(earlier: dict[str, Any] | None, scale: str) -> dict[str, Any]:
    """Return new results, or the earlier ones if this machine may complete them."""
    new: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale,
        "machine": measure.machine(),
        "skipped": {},
        "runs": [],
    }
    if earlier is None:
        return new
    if (earlier["scale"], _alike(earlier["machine"])) != (scale, _alike(new["machine"])):
        sys.exit("These results are of another scale, another machine or other packages: begin a new file.")
    return earlier


def _alike(machine: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same in all parts of a run."""
    return {name: value for name, value in machine.items() if name != "load_average"}


def _key(run: dict[str, Any]) -> tuple[str, str, int]:
    return run["scenario"], run["system"], run["repetition"]


def _save(results: dict[str, Any], path: Path) -> None:
    """Write the results in one step, so that a run that is stopped leaves a file that can be reported."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(results, indent=1))
    draft.replace(path)


def plan_of(
    scenarios: Sequence[Scenario], systems: Sequence[System], repetitions: int | None, *, is_usual: bool
) -> Iterator[tuple[Scenario, System, int]]:
    """Interleave: a repetition visits every system before the next starts, so that all see the same machine."""
    for scenario in scenarios:
        for repetition in range(repetitions or scenario.repetitions):
            for system in systems:
                if system.name in scenario.systems if is_usual else scenario.suits(system):
                    yield scenario, system, repetition


def _measure(scenario: Scenario, system: System, bench: Bench, scale: Scale) -> dict[str, Any]:
    """Measure once, or again if other programs disturbed it; keep the outcome that was disturbed least.

    No attempt hides a failure of another: it is returned, and the largest loss of any attempt counts.
    """
    outcomes: list[dict[str, Any]] = []
    for _ in range(scale.attempts):
        outcome = _measure_once(scenario, system, bench, scale)
        if "error" in outcome:
            return outcome
        outcomes.append(outcome)
        if outcome["figures"].get("disturbed", 0.0) <= DISTURBED:
            break
    figures = dict(min((outcome["figures"] for outcome in outcomes), key=lambda each: each.get("disturbed", 0.0)))
    if "lost" in figures:
        figures["lost"] = max(outcome["figures"]["lost"] for outcome in outcomes)
    return {"figures": figures, "attempts": len(outcomes)}


def _measure_once(scenario: Scenario, system: System, bench: Bench, scale: Scale) -> dict[str, Any]:
    async def measured() -> Figures:
        async with rig(system, bench) as started, asyncio.timeout(SCENARIO_SECONDS):
            return await scenario.run(started, scale)

    try:
        return {"figures": uvloop.run(measured())}
    except Exception as exc:  # the other systems are measured nevertheless
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
        help=f"which, of: {', '.join(SYSTEMS)} (default: those that each scenario lists)",
    )
    running.add_argument(
        "--repetitions", type=int, help="of each; figures are medians (default: 3 of paced and turns, else 1)"
    )
    running.add_argument(
        "--scale",
        choices=SCALES,
        default="full",
        help="how much of everything; quick is for a first look, smoke only tries that all works",
    )
    running.add_argument("--quick", action="store_const", dest="scale", const="quick", help="the same as --scale quick")
    running.add_argument(
        "--into",
        type=Path,
        metavar="FILE",
        help="the JSON file; what it has already is not measured again (default: benchmarks/results/<date>.json)",
    )
    reporting = commands.add_parser("report", help="write benchmarks.md, its plot and README's table from a JSON file")
    reporting.add_argument("results", type=Path, nargs="?", help="the JSON file (default: the newest)")
    reporting.add_argument(
        "--docs", type=Path, default=ROOT / "docs", help="where to write (default: docs/); README.md is beside it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
