"""Results made readable: tables, budgets in words, and a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.budgets import BUDGETS, Results, Spread
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.systems import SYSTEMS

Row = list[str]


@dataclass(frozen=True)
class Column:
    """How a figure is shown: divided by ``unit``, with so many digits after the point."""

    heading: str
    digits: int = 1
    unit: float = 1.0

    def show(self, spread: Spread | None) -> str:
        """Write the median and, where it tells anything, the spread."""
        if spread is None:
            return "–"
        middle, low, high = (
            f"{value / self.unit:,.{self.digits}f}" for value in (spread.median, spread.low, spread.high)
        )
        return middle if low == high else f"{middle} ({low} – {high})"


COLUMNS = {
    "cpu_us_per_frame": Column("CPU µs a frame"),
    "cpu_us_per_frame_before": Column("µs before"),
    "growth": Column("ratio", 2),
    "p50_ms": Column("p50 ms", 2),
    "p99_ms": Column("p99 ms", 2),
    "p999_ms": Column("p99.9 ms", 2),
    "longest_ms": Column("longest ms"),
    "longest_ms_before": Column("longest without, ms"),
    "frames_per_second": Column("frames/s", 0),
    "server_busy": Column("server's core %", 0, 0.01),
    "load_busy": Column("load's core %", 0, 0.01),
    "disturbed": Column("waited %", 1, 0.01),
    "lost": Column("lost", 0),
    "memory_bytes_per_socket": Column("kB a socket", 1, 1000),
    "memory_bytes_per_token": Column("bytes a kept token", 0),
    "cpu_ms_per_socket_minute": Column("CPU ms a socket and minute", 2),
    "handshakes_per_second": Column("handshakes/s", 0),
    "handshakes_per_second_alone": Column("with no other socket", 0),
    "handshakes_ratio": Column("ratio", 2),
    "cpu_us_per_handshake": Column("CPU µs a handshake", 0),
    "seconds": Column("seconds", 2),
    "memory_peak_ratio": Column("peak against before", 2),
    "store_reads_per_session": Column("store reads a session", 1),
}
RATIO = Column("× relay", 2)
SATURATED = 0.95  # of a core; above that a server queues, and its latencies say only that
LOAD_LIMIT = 0.8  # of a core; below that client and agent are not what is measured


def summary(raw: dict[str, object]) -> str:
    """Write the tables and the budgets as Markdown."""
    results = Results(raw)
    return "\n\n".join([*_scenario_parts(results), *_budget_parts(results)])


def write(path: Path, folder: Path) -> None:
    """Write ``benchmarks.md`` and ``benchmarks.svg`` from a file of results."""
    from benchmarks.plot import write_plot  # matplotlib is slow to import, and `run` does without

    results = Results(json.loads(path.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    write_plot(results, folder / "benchmarks.svg")
    parts = [*_head_parts(results), *_budget_parts(results), *_scenario_parts(results), *_left_out_parts(results)]
    (folder / "benchmarks.md").write_text("\n\n".join(parts) + "\n")


def _head_parts(results: Results) -> Iterator[str]:
    raw, machine = results.raw, results.raw["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    yield "# Benchmarks"
    yield (
        "Written by `python -m benchmarks report` from one run of `python -m benchmarks run`; don't edit. "
        "Why the numbers are what they are, and what was tried, stands in [performance.md](performance.md)."
    )
    yield "![CPU a token frame and added latency](benchmarks.svg)"
    yield (
        "**How it is measured.** Agent, server and client are processes on one machine; the server has one core to "
        "itself, agent and client share another, and where the kernel allows it they go before all other programs "
        "(real-time scheduling). CPU is what the kernel charges to the server's processes, user and "
        "system. The agent writes the time into each token when it hands it to the kernel, the client reads it: that "
        "is the added latency. Each figure is the median over the repetitions (least – most); repetitions of all "
        "systems are interleaved. *waited* is the share of the time in which the server wanted its core and another "
        "program had it: such a server reads several tokens at once and looks cheaper than it is, so where it waited "
        "for more than a few per cent it is measured again. **Compare ratios, not machines.**"
    )
    yield (
        f"Measured {raw['began_at'][:10]}: {machine['processor']}, {machine['cores']} cores, {machine['kernel']}, "
        f"Python {machine['python']}, {packages}; {raw['repetitions']} repetitions, scale “{raw['scale']}”."
    )
    yield _proof(results)


def _proof(results: Results) -> str:
    """Say whether client and agent were fast enough, by the bare limit and by what they used themselves."""
    limit = results.spread("paced", "limit", "p99_ms")
    busiest = max(
        (spread.high for name in results.systems("paced") if (spread := results.spread("paced", name, "load_busy"))),
        default=None,
    )
    if limit is None or busiest is None:
        return "**Is the load fast enough?** Not shown: the bare limit was not measured in this run."
    verdict = "yes" if busiest < LOAD_LIMIT else "no, these figures are not to be trusted"
    return (
        f"**Is the load fast enough?** {verdict.capitalize()}: client and agent together used at most {busiest:.0%} of "
        f"their core in *paced*, and through the bare limit 99 % of the tokens arrived within {limit.median:.2f} ms."
    )


def _budget_parts(results: Results) -> Iterator[str]:
    rows = []
    for budget in BUDGETS:
        measured = budget.measured(results)
        verdict = "not measured" if measured is None else "met" if budget.is_met(measured.median) else "**missed**"
        if measured is not None and (doubts := budget.doubts(results)):
            verdict += f" ({', '.join(doubts)})"
        title = SYSTEMS[budget.system].title
        rows.append([budget.what, title, budget.bound, RATIO.show(measured), verdict])
    yield "## Budgets"
    yield _table(["what", "of", "budget", "measured", ""], rows)


def _scenario_parts(results: Results) -> Iterator[str]:
    for scenario in SCENARIOS.values():
        measured = [name for name in SYSTEMS if name in set(results.systems(scenario.name))]
        if measured:
            yield f"## {scenario.name}"
            yield (scenario.run.__doc__ or "").strip()
            yield _table(*_scenario_table(results, scenario, measured))


def _scenario_table(results: Results, scenario: Scenario, systems: list[str]) -> tuple[Row, list[Row]]:
    has_ratio = "cpu_us_per_frame" in scenario.figures and "relay" in systems
    heading = ["", *([RATIO.heading] if has_ratio else []), *(COLUMNS[figure].heading for figure in scenario.figures)]
    rows = []
    for system in systems:
        busy = results.spread(scenario.name, system, "server_busy")
        mark = " (saturated)" if busy is not None and busy.median > SATURATED else ""
        ratio = results.ratio(scenario.name, system, "relay", "cpu_us_per_frame")
        cells = [COLUMNS[figure].show(results.spread(scenario.name, system, figure)) for figure in scenario.figures]
        rows.append([SYSTEMS[system].title + mark, *([RATIO.show(ratio)] if has_ratio else []), *cells])
    return heading, rows


def _left_out_parts(results: Results) -> Iterator[str]:
    lines = [f"- {SYSTEMS[name].title}: {reason}." for name, reason in results.raw["skipped"].items()]
    lines += [f"- {scenario}, {SYSTEMS[system].title}: {error}." for scenario, system, error in results.failures()]
    if lines:
        yield "## Not measured"
        yield "\n".join(lines)


def _table(heading: Row, rows: list[Row]) -> str:
    lines = [heading, ["---"] + ["---"] * (len(heading) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
