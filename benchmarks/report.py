"""Results made readable: tables, budgets in words, and a plot."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    def show_median(self, spread: Spread | None) -> str:
        """Write the median alone."""
        return "–" if spread is None else f"{spread.median / self.unit:,.{self.digits}f}"


COLUMNS = {
    "cpu_us_per_frame": Column("CPU µs per frame"),
    "cpu_us_per_frame_before": Column("µs before"),
    "growth": Column("ratio", 2),
    "p50_ms": Column("p50 ms", 2),
    "p99_ms": Column("p99 ms", 2),
    "p999_ms": Column("p99.9 ms", 2),
    "longest_ms": Column("longest ms"),
    "longest_ms_before": Column("longest without strangers, ms"),
    "frames_per_second": Column("frames/s", 0),
    "server_busy": Column("server's core, %", 0, 0.01),
    "load_busy": Column("load's core, %", 0, 0.01),
    "disturbed": Column("waited %", 1, 0.01),
    "lost": Column("lost", 0),
    "memory_bytes_per_socket": Column("kB per socket", 1, 1000),
    "memory_bytes_per_token": Column("bytes per kept token", 0),
    "delivered": Column("delivered, %", 3, 0.01),
    "whole_p50_ms": Column("whole again after, p50 ms"),
    "whole_p99_ms": Column("p99 ms", 0),
    "whole_longest_ms": Column("longest, ms", 0),
    "reconnects": Column("reconnects per viewer", 2),
    "full_speed_frames_per_second": Column("at full speed, frames/s", 0),
    "full_speed_cpu_us_per_frame": Column("CPU µs per frame"),
    "sse_us_per_frame": Column("own events, CPU µs per frame"),
    "openai_ratio": Column("OpenAI, × own", 2),
    "ai_sdk_ratio": Column("AI SDK, × own", 2),
    "ag_ui_ratio": Column("AG-UI, × own", 2),
    "sockets": Column("sockets", 0),
    "kernel_bytes_per_socket": Column("kernel's kB per socket", 1, 1000),
    "cpu_us_per_socket_second": Column("CPU µs per socket and second", 1),
    "store_calls_per_frame": Column("calls of the store per frame", 3),
    "store_bytes_per_frame": Column("bytes per frame", 0),
    "store_cpu_us_per_frame": Column("store's CPU µs per frame"),
    "cpu_us_per_turn": Column("CPU µs per turn", 0),
    "turn_p50_ms": Column("a turn's p50 ms", 1),
    "turn_p99_ms": Column("p99 ms", 1),
    "turns_per_second": Column("turns/s", 0),
    "kept_turns": Column("in the database, %", 0, 0.01),
    "handshakes_per_second": Column("handshakes/s", 0),
    "handshakes_per_second_alone": Column("without other sockets", 0),
    "handshakes_ratio": Column("ratio", 2),
    "cpu_us_per_handshake": Column("CPU µs per handshake", 0),
    "seconds": Column("seconds", 2),
    "memory_peak_ratio": Column("peak compared with before", 2),
    "store_reads_per_session": Column("store reads per session", 1),
}
RATIO = Column("× relay", 2)
SHORT_BEGIN, SHORT_END = "<!-- written by `python -m benchmarks report` -->", "<!-- end of what it has written -->"
SHORT_SYSTEMS = {
    "memory-serve": "gateway, in memory",
    "redis-serve": "gateway, Redis",
    "relay": "FastAPI relay, keeps nothing",
    "channels-redis": "Channels groups, Redis",
    "socket-io": "Socket.IO with recovery, in memory",
}
SHORT_FIGURES = (
    ("CPU of a token, µs", "paced", "cpu_us_per_frame", Column("", 0)),
    ("added latency of a token, p99 ms", "paced", "p99_ms", Column("", 1)),
    ("CPU of a turn of three tokens, µs", "turns", "cpu_us_per_turn", Column("", 0)),
    ("memory of an open socket, kB", "idle", "memory_bytes_per_socket", Column("", 1, 1000)),
    (
        "frames that reach viewers cut off for 2 s in every 10, %",
        "drop",
        "delivered",
        Column("", 3, 0.01),
    ),
)
SATURATED = 0.93  # of a core, of which real time may use 0.95; above that a server queues: its latencies say only that
LOAD_LIMIT = 0.8  # of a core; below that client and agent are not what is measured


def summary(raw: dict[str, object]) -> str:
    """Write the tables and the budgets as Markdown."""
    results = Results(raw)
    lines = [*_skipped(results), *_failed(results)]
    parts = [*_scenario_parts(results), *_budget_parts(results, measured_only=True), *_left_out_parts(lines)]
    return "\n\n".join(parts)


def write(path: Path, folder: Path) -> None:
    """Write ``benchmarks.md`` and ``benchmarks.svg`` from a file of results, and the table of ``README.md`` beside."""
    from benchmarks.plot import write_plot  # matplotlib is slow to import, and `run` does without

    results = Results(json.loads(path.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    if spreads := _plotted(results):
        write_plot(spreads, folder / "benchmarks.svg")
    lines = [*_skipped(results), *_failed(results), *_absent(results)]
    parts = [*_head_parts(results), *_budget_parts(results), *_scenario_parts(results), *_left_out_parts(lines)]
    (folder / "benchmarks.md").write_text("\n\n".join(parts) + "\n")
    readme = folder.parent / "README.md"
    if readme.exists():
        before, begin, rest = readme.read_text().partition(SHORT_BEGIN)
        if not begin:
            raise ValueError(f"{readme} does not say where the table belongs: {SHORT_BEGIN}")
        _, _, after = rest.partition(SHORT_END)
        readme.write_text(f"{before}{_short(results)}{after}")


def _plotted(results: Results) -> dict[str, dict[str, Spread]]:
    """Return what the plot shows: a system without a token in time has no latency, and is left out."""
    found: dict[str, dict[str, Spread]] = {}
    for name in results.systems("paced"):
        spreads = {figure: results.spread("paced", name, figure) for figure in ("cpu_us_per_frame", "p99_ms")}
        if all(spreads.values()):
            found[name] = {figure: spread for figure, spread in spreads.items() if spread is not None}
    return found


def _head_parts(results: Results) -> Iterator[str]:
    raw, machine = results.raw, results.raw["machine"]
    minutes = sum(run.get("took_seconds", 0) for run in raw["runs"]) / 60
    repetitions = max((run["repetition"] for run in raw["runs"]), default=0) + 1
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    yield "# Benchmarks"
    yield (
        "Generated by `python -m benchmarks report` from one run of `python -m benchmarks run`; do not edit. "
        "[performance.md](performance.md) explains the figures, and describes what else was tried."
    )
    if _plotted(results):
        yield "![CPU per token frame and added latency](benchmarks.svg)"
    yield (
        "**How it is measured.** Agent, server and client are processes on one machine. The server has one core to "
        "itself; agent and client share another, and where the kernel allows it they have priority over all other "
        "programs (real-time scheduling). CPU is the user and system time that the kernel charges to the server's "
        "processes. The agent writes the current time into each token when it hands it to the kernel, and the client "
        "compares it with the time of arrival: the difference is the added latency. Each figure is the median of the "
        "repetitions (minimum – maximum); repetitions of all systems are interleaved. *waited* is the share of the "
        "time in which the server was ready to run but another program had its core. Such a server reads several "
        "tokens at once and looks cheaper than it is, so a measurement is repeated if the server waited for more than "
        "a few per cent. The agent closes the connection after each answer, because httpx, and so the relay, does best "
        "then. Memory is the growth of the proportional set size of the server's processes, divided by the number of "
        "sockets; the kernel's is the growth of its own objects, half of it for each end of a connection. Transcripts "
        "are written to SQLite. **Compare ratios, not machines.**"
    )
    yield (
        f"Measured {_place(raw)}, {machine['kernel']}, Python {machine['python']}, {packages}; up to {repetitions} "
        f"repetitions, scale “{raw['scale']}”, in {minutes:.0f} minutes."
    )
    yield _proof(results)
    yield "## In short"
    yield _short(results)


def _short(results: Results) -> str:
    """Write the figures that most readers ask for, as README has them too."""
    rows = []
    for what, scenario, figure, column in SHORT_FIGURES:
        cells = []
        for name in SHORT_SYSTEMS:
            is_latency_of_queue = figure.endswith("_ms") and _is_saturated(results, scenario, name)
            median = column.show_median(results.spread(scenario, name, figure))
            cells.append(f"{median} (saturated)" if is_latency_of_queue else median)
        rows.append([f"{what} (*{scenario}*)", *cells])
    verdicts = [budget.is_met(spread.median) for budget in BUDGETS if (spread := budget.measured(results)) is not None]
    note = (
        f"Measured {_place(results.raw)}. Of {len(verdicts)} budgets that were measured, {verdicts.count(False)} are "
        "missed. “–”: not measured, or the system cannot do it."
    )
    table = _table(["", *SHORT_SYSTEMS.values()], rows)
    return f"{SHORT_BEGIN}\n{table}\n\n{note}\n{SHORT_END}"


def _place(raw: Mapping[str, Any]) -> str:
    machine = raw["machine"]
    return f"{raw['measured_at'][:10]} on {machine['processor']}, {machine['cores']} cores"


def _proof(results: Results) -> str:
    """Say whether client and agent were fast enough, by the bare limit and by what they used themselves."""
    limit = results.spread("paced", "limit", "p99_ms")
    busiest = max(
        (spread.high for name in results.systems("paced") if (spread := results.spread("paced", name, "load_busy"))),
        default=None,
    )
    if limit is None or busiest is None:
        return "**Is the load fast enough?** Unknown: the bare limit was not measured in this run."
    verdict = "yes" if busiest < LOAD_LIMIT else "no, do not trust these figures"
    return (
        f"**Is the load fast enough?** {verdict.capitalize()}: client and agent together used at most {busiest:.0%} of "
        f"their core in *paced*; with the bare limit 99 % of the tokens arrived within {limit.median:.2f} ms."
    )


def _budget_parts(results: Results, *, measured_only: bool = False) -> Iterator[str]:
    rows = []
    for budget in BUDGETS:
        measured = budget.measured(results)
        if measured is None and measured_only:
            continue
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
            yield inspect.getdoc(scenario.run) or ""
            yield _table(*_scenario_table(results, scenario, measured))


def _scenario_table(results: Results, scenario: Scenario, systems: list[str]) -> tuple[Row, list[Row]]:
    has_ratio = "cpu_us_per_frame" in scenario.figures and "relay" in systems
    heading = ["", *([RATIO.heading] if has_ratio else []), *(COLUMNS[figure].heading for figure in scenario.figures)]
    rows = []
    for system in systems:
        mark = " (saturated)" if _is_saturated(results, scenario.name, system) else ""
        ratio = results.ratio(scenario.name, system, "relay", "cpu_us_per_frame")
        cells = [COLUMNS[figure].show(results.spread(scenario.name, system, figure)) for figure in scenario.figures]
        rows.append([SYSTEMS[system].title + mark, *([RATIO.show(ratio)] if has_ratio else []), *cells])
    return heading, rows


def _is_saturated(results: Results, scenario: str, system: str) -> bool:
    busy = results.spread(scenario, system, "server_busy")
    return busy is not None and busy.median > SATURATED


def _left_out_parts(lines: list[str]) -> Iterator[str]:
    if lines:
        yield "## Not measured"
        yield "\n".join(lines)


def _skipped(results: Results) -> Iterator[str]:
    return (f"- {SYSTEMS[name].title}: {reason}." for name, reason in results.raw["skipped"].items())


def _failed(results: Results) -> Iterator[str]:
    return (f"- {scenario}, {SYSTEMS[system].title}: {error}." for scenario, system, error in results.failures())


def _absent(results: Results) -> Iterator[str]:
    """Name what a whole run would have measured, or measured more often."""
    explained = {(scenario, system) for scenario, system, _ in results.failures()}
    for scenario in SCENARIOS.values():
        times = {
            name: results.repetitions(scenario.name, name)
            for name in scenario.systems
            if name not in results.raw["skipped"] and (scenario.name, name) not in explained
        }
        if times and not any(times.values()):
            yield f"- {scenario.name}: not at all."
            continue
        for count in range(scenario.repetitions):
            if titles := [SYSTEMS[name].title for name, measured in times.items() if measured == count]:
                yield f"- {scenario.name}, {count} of {scenario.repetitions} times: {'; '.join(titles)}."


def _table(heading: Row, rows: list[Row]) -> str:
    lines = [heading, ["---"] + ["---"] * (len(heading) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
