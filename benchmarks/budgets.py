"""What the gateway may cost. Each budget is a ratio within one run, so that it holds on any machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.systems import CROWDED, GATEWAYS, SERVES

BLIND = "unobserved"
DISTURBED = 0.055  # the share of waiting above which figures are not to be trusted; real time leaves 0.05 to others


@dataclass(frozen=True)
class Spread:
    """A figure over the repetitions."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread | None:
        """Summarise, if there is anything."""
        finite = [value for value in values if math.isfinite(value)]
        return cls(median(finite), min(finite), max(finite)) if finite else None


class Results:
    """The figures of one run of the benchmark, by scenario, system and repetition."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.raw = results
        self._figures: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
        for run in results["runs"]:
            if "figures" in run:
                repetitions = self._figures.setdefault((run["scenario"], run["system"]), {})
                repetitions[run["repetition"]] = run["figures"]

    def spread(self, scenario: str, system: str, figure: str) -> Spread | None:
        """Return a figure's median, least and most."""
        repetitions = self._figures.get((scenario, system), {}).values()
        return Spread.of([figures[figure] for figures in repetitions if figure in figures])

    def ratio(self, scenario: str, system: str, peer: str, figure: str) -> Spread | None:
        """Divide a system's figure by its peer's in the same repetition."""
        own, others = self._figures.get((scenario, system), {}), self._figures.get((scenario, peer), {})
        both = [key for key in own.keys() & others.keys() if figure in own[key] and others[key].get(figure)]
        return Spread.of([own[key][figure] / others[key][figure] for key in both])

    def repetitions(self, scenario: str, system: str) -> int:
        """Say how often a system was measured in a scenario."""
        return len(self._figures.get((scenario, system), {}))

    def systems(self, scenario: str) -> Iterator[str]:
        """Name the systems that were measured in a scenario."""
        return (system for name, system in self._figures if name == scenario)

    def failures(self) -> Iterator[tuple[str, str, str]]:
        """Return the failed runs: scenario, system, error."""
        return ((run["scenario"], run["system"], run["error"]) for run in self.raw["runs"] if "error" in run)


@dataclass(frozen=True)
class Budget:
    """A bound on a figure of a system, or on its ratio to a peer's.

    Attributes:
        at_least: is ``limit`` a lower bound?
    """

    what: str
    scenario: str
    system: str
    figure: str
    limit: float
    peer: str | None = None
    at_least: bool = False

    def measured(self, results: Results) -> Spread | None:
        """Return the measured figure."""
        if self.peer is None:
            return results.spread(self.scenario, self.system, self.figure)
        return results.ratio(self.scenario, self.system, self.peer, self.figure)

    def is_met(self, value: float) -> bool:
        """Is it within the budget?"""
        return value >= self.limit if self.at_least else value <= self.limit

    def doubts(self, results: Results) -> list[str]:
        """Return reasons to doubt the figure."""
        if self.figure == "lost":
            return []
        involved = [name for name in (self.system, self.peer) if name is not None]

        def highest(figure: str) -> float:
            spreads = [results.spread(self.scenario, name, figure) for name in involved]
            return max((spread.median for spread in spreads if spread is not None), default=0.0)

        disturbed = ["disturbed"] if highest("disturbed") > DISTURBED else []
        return [*disturbed, "frames were lost"] if highest("lost") else disturbed

    @property
    def bound(self) -> str:
        """The bound in words."""
        unit = f" × {self.peer}" if self.peer else ""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{unit}"


def _cpu(system: str, peer: str, limit: float) -> Budget:
    return Budget("CPU per token frame", "paced", system, "cpu_us_per_frame", limit, peer)


def _turn(system: str, peer: str, limit: float) -> Budget:
    return Budget("CPU per turn of three tokens", "turns", system, "cpu_us_per_turn", limit, peer)


def _each(systems: tuple[str, ...], *budgets: tuple[str, str, str, float, bool]) -> tuple[Budget, ...]:
    return tuple(
        Budget(what, scenario, system, figure, limit, at_least=at_least)
        for what, scenario, figure, limit, at_least in budgets
        for system in systems
    )


BUDGETS = (
    _turn("memory-serve", "relay", 0.4),
    _turn("memory-serve", "limit", 4.0),
    _turn("redis-serve", "relay", 0.55),
    Budget("CPU of metrics, logs and transcripts, a turn", "turns", "memory-uvicorn", "cpu_us_per_turn", 1.15, BLIND),
    _cpu("memory-serve", "relay", 0.35),
    _cpu("memory-serve", "limit", 2.0),
    _cpu("memory-uvicorn", "relay", 0.35),
    _cpu("memory-uvicorn", "limit", 2.0),
    _cpu("redis-serve", "relay", 0.45),
    _cpu("redis-uvicorn", "relay", 0.45),
    _cpu("redis-uvicorn", "channels-redis", 0.35),
    _cpu("redis-uvicorn-2", "relay", 0.8),
    _cpu("memory-serve", "memory-daphne", 1.05),
    Budget("CPU of metrics, logs and transcripts, a token", "paced", "memory-uvicorn", "cpu_us_per_frame", 1.05, BLIND),
    Budget(
        "CPU per token frame, two workers compared with one",
        "workers",
        "redis-serve-workers-2",
        "cpu_us_per_frame",
        1.1,
        "redis-serve",
    ),
    *(
        Budget("added latency, 99th percentile", "paced", system, "p99_ms", 0.8, "relay")
        for system in (*GATEWAYS, "memory-daphne", "memory-granian", "redis-uvicorn-2")
    ),
    *(
        Budget(f"{what}, a cluster compared with one store", "stores", "cluster-serve", figure, 1.1, "redis-serve")
        for what, figure in (
            ("CPU per token frame", "cpu_us_per_frame"),
            ("calls per token frame", "store_calls_per_frame"),
            ("bytes per token frame", "store_bytes_per_frame"),
            ("CPU of the store per token frame", "store_cpu_us_per_frame"),
        )
    ),
    *(
        Budget(
            f"CPU of an idle socket, µs per second, in {scenario}", scenario, system, "cpu_us_per_socket_second", 4.7
        )
        for scenario, systems in (("idle", GATEWAYS), ("idle-crowd", CROWDED))
        for system in systems
    ),
    *(
        Budget("memory of an idle socket", "idle", system, "memory_bytes_per_socket", 1.2, peer)
        for system, peer in zip(GATEWAYS, ("echo-daphne", "echo-uvicorn") * 2, strict=True)
    ),
    *_each(
        GATEWAYS,
        ("growth of CPU per frame with open sockets", "crowd-of-sockets", "growth", 1.2, False),
        ("growth of CPU per frame with kept sessions", "crowd-of-sessions", "growth", 1.2, False),
        ("growth of CPU per frame with the answer's length", "long-answer", "growth", 1.2, False),
        ("CPU per delivered frame, many viewers compared with one", "fan-out", "growth", 0.6, False),
        (
            "handshakes per second among many sockets, compared with none",
            "connect-storm",
            "handshakes_ratio",
            0.9,
            True,
        ),
        *(
            (f"frames lost in {scenario}", scenario, "lost", 0, False)
            for scenario in ("paced", "turns", "burst", "fan-out", "long-answer", "resume-storm", "mixed")
        ),
        ("peak memory of a resume storm, compared with before it", "resume-storm", "memory_peak_ratio", 2.0, False),
    ),
    *_each(
        SERVES,
        ("share of the frames delivered to viewers whose connection is cut", "drop", "delivered", 1.0, True),
        ("time until such a viewer has missed nothing, p99 ms", "drop", "whole_p99_ms", 1_000, False),
        *(
            (f"frames lost in {scenario}", scenario, "lost", 0, False)
            for scenario in ("tool-turns", "adapters", "drop")
        ),
        ("share of the turns that is in the database", "turns", "kept_turns", 1.0, True),
    ),
    Budget("frames lost in stores", "stores", "cluster-serve", "lost", 0),
    *_each(
        ("redis-serve-workers-2",),
        ("frames lost in workers", "workers", "lost", 0, False),
        ("frames lost in a rolling restart", "deploy", "lost", 0, False),
    ),
    *(
        Budget("longest wait for a token, with 40 noisy strangers, ms", "noisy-strangers", system, "longest_ms", 250)
        for system in SERVES
    ),
    *_each(  # the log is longer than a batch: two batches, and the read that finds no more
        ("redis-serve", "redis-uvicorn"),
        ("store reads per session in a resume storm", "resume-storm", "store_reads_per_session", 3, False),
    ),
)
