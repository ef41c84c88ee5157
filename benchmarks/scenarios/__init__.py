"""The scenarios by name. Each takes a rig and returns figures, which ``benchmarks.report`` explains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.loads import SPARE_SECONDS
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale
from benchmarks.scenarios import adapters, outages, resuming, sockets, streams, turns, workers
from benchmarks.scenarios.stores import stores
from benchmarks.systems import (
    CROWDED,
    FANS_OUT,
    FORWARDS,
    GATEWAYS,
    HAS_ADAPTERS,
    HAS_WORKERS,
    KEEPS_SESSIONS,
    RELAYS,
    RESTARTS,
    SERVES,
    SHARES_TIME,
    TAKES_BACK,
    System,
)

Estimate = Callable[[Scale, System], float]


@dataclass(frozen=True)
class Scenario:
    """A scenario by name.

    Attributes:
        figures: those that it gives; some systems lack some.
        estimate: how many seconds it takes with a system, without starting and stopping it, by its own constants.
        systems: those that are measured where none are named: the gateway's, the peers that a budget names, and those
            that tell something about the scenario.
        needs: the ability that any other system must have.
        repetitions: if no other number is asked for. A whole run must end while one waits for it.
    """

    name: str
    run: Callable[[Rig, Scale], Awaitable[Figures]]
    figures: tuple[str, ...]
    estimate: Estimate
    systems: tuple[str, ...]
    needs: str | None = RELAYS
    repetitions: int = 1

    def suits(self, system: System) -> bool:
        """Can the system serve it?"""
        return self.needs is None or self.needs in system.can

    def seconds(self, scale: Scale, system: System) -> float:
        """Return how long one measurement takes if no other program disturbs it, with a tenth to spare."""
        return (RIG_SECONDS + self.estimate(scale, system)) * 1.1


# Of a quiet machine, for estimates only.
RIG_SECONDS = 2.5  # to start and to stop a system with its load
HANDSHAKES_PER_SECOND = 1_000  # also to close as many
FRAMES_PER_SECOND = 40_000  # at full speed


def _paced(times: int) -> Estimate:
    return lambda scale, _: times * (scale.begin_seconds + scale.warm_seconds + scale.seconds + SPARE_SECONDS)


def _talk(scale: Scale, _: System) -> float:
    return scale.warm_seconds + scale.seconds + SPARE_SECONDS


def _at_full_speed(tokens: Callable[[Scale], float]) -> Estimate:
    return lambda scale, _: tokens(scale) / FRAMES_PER_SECOND


def _paced_among(sockets: Callable[[Scale], float]) -> Estimate:
    return lambda scale, system: _paced(2)(scale, system) + sockets(scale) / HANDSHAKES_PER_SECOND


def _idle(scale: Scale, sockets: int) -> float:
    return scale.settle_seconds + scale.idle_seconds + sockets / HANDSHAKES_PER_SECOND


STREAM = (
    "cpu_us_per_frame",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "frames_per_second",
    "server_busy",
    "load_busy",
    "disturbed",
)
TURN = (
    "cpu_us_per_turn",
    "turn_p50_ms",
    "turn_p99_ms",
    "turns_per_second",
    "kept_turns",
    "server_busy",
    "load_busy",
    "disturbed",
    "lost",
)
STORE = ("store_calls_per_frame", "store_bytes_per_frame", "store_cpu_us_per_frame")
GROWTH = ("cpu_us_per_frame_before", "growth")
IDLE = ("sockets", "memory_bytes_per_socket", "kernel_bytes_per_socket", "cpu_us_per_socket_second")
WHOLE = ("whole_p50_ms", "whole_p99_ms", "whole_longest_ms")

BARE = ("limit", "relay")
ECHOES = ("relay", "echo-daphne", "echo-uvicorn")
GROUPS = ("channels-group", "channels-redis")
EVERY_HOST = (*GATEWAYS, "memory-daphne", "memory-granian")

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "paced",
            streams.paced,
            (*STREAM, "lost"),
            _paced(1),
            (*BARE, "fastapi-gateway", "channels-redis", "unobserved", *EVERY_HOST, "redis-uvicorn-2"),
            repetitions=3,
        ),
        Scenario(
            "turns",
            turns.turns,
            TURN,
            _talk,
            (*BARE, "fastapi-gateway", "unobserved", *GATEWAYS, "memory-granian"),
            repetitions=3,
        ),
        Scenario("tool-turns", turns.tool_turns, TURN, _talk, (*BARE, "fastapi-gateway", *SERVES), FORWARDS),
        Scenario(
            "burst",
            streams.burst,
            (*STREAM, "lost"),
            _at_full_speed(lambda scale: 1.1 * scale.burst_sessions * scale.burst_tokens),
            (*BARE, "fastapi-gateway", *EVERY_HOST, "redis-uvicorn-2"),
        ),
        Scenario("kept-runs", streams.kept_runs, (*STREAM, *GROWTH, "lost"), _paced(2), SERVES, KEEPS_SESSIONS),
        Scenario(
            "adapters",
            adapters.adapters,
            ("sse_us_per_frame", "openai_ratio", "ai_sdk_ratio", "ag_ui_ratio", "disturbed", "lost"),
            _paced(5),  # four loads, and what the sessions still owe of each
            (*SERVES, "memory-uvicorn"),
            HAS_ADAPTERS,
        ),
        Scenario("fan-out", streams.fan_out, (*STREAM, *GROWTH, "lost"), _paced(3), (*GROUPS, *GATEWAYS), FANS_OUT),
        Scenario(
            "workers",
            workers.workers,
            (*STREAM, "full_speed_frames_per_second", "full_speed_cpu_us_per_frame", "lost"),
            _paced(2),  # the workers take as long to start as the load to run
            ("redis-serve", "redis-serve-workers-2", "redis-serve-workers-4"),
            HAS_WORKERS,
            repetitions=2,
        ),
        Scenario(
            "stores",
            stores,
            (*STREAM, *STORE, "lost"),
            _paced(1),
            ("redis-serve", "cluster-serve"),
            HAS_WORKERS,
            repetitions=3,
        ),
        Scenario(
            "idle",
            sockets.idle,
            IDLE,
            lambda scale, _: _idle(scale, scale.idle_sockets),
            (*ECHOES, *GATEWAYS),
            None,
        ),
        Scenario(
            "idle-crowd",
            sockets.idle_crowd,
            IDLE,
            lambda scale, system: _idle(scale, sockets.crowd(scale, system)),
            CROWDED,
            None,
        ),
        Scenario(
            "connect-storm",
            sockets.connect_storm,
            ("handshakes_per_second", "handshakes_per_second_alone", "handshakes_ratio", "cpu_us_per_handshake"),
            lambda scale, _: (3 * scale.storm_sockets + scale.idle_sockets) / HANDSHAKES_PER_SECOND,
            (*ECHOES, *GATEWAYS),
            None,
        ),
        Scenario(
            "resume-storm",
            resuming.resume_storm,
            (
                "cpu_us_per_frame",
                "seconds",
                "memory_peak_ratio",
                "memory_bytes_per_token",
                "store_reads_per_session",
                "lost",
            ),
            _at_full_speed(lambda scale: (scale.resume_sessions + scale.resume_clients) * scale.resume_tokens),
            GATEWAYS,
            KEEPS_SESSIONS,
        ),
        Scenario(
            "drop",
            outages.drop,
            ("delivered", *WHOLE, "cpu_us_per_frame", "server_busy", "load_busy", "lost"),
            lambda scale, system: outages.drop_seconds(scale, system) + outages.PERIOD_SECONDS,
            ("fastapi-gateway", "channels-redis", "socket-io", *SERVES),
            TAKES_BACK,
        ),
        Scenario(
            "deploy",
            outages.deploy,
            ("seconds", *WHOLE, "reconnects", "server_busy", "load_busy", "lost"),
            lambda scale, _: 40 + 2 * scale.outage_sessions * scale.deploy_viewers / HANDSHAKES_PER_SECOND,
            ("redis-serve-workers-2",),
            RESTARTS,
        ),
        Scenario(
            "long-answer",
            streams.long_answer,
            (*STREAM, *GROWTH, "lost"),
            _at_full_speed(lambda scale: 1.2 * scale.long_tokens[1]),
            (*BARE, *GATEWAYS),
        ),
        Scenario(
            "crowd-of-sockets",
            streams.crowd_of_sockets,
            (*STREAM, *GROWTH, "lost"),
            _paced_among(lambda scale: scale.crowd_sockets[1]),
            ("relay", *GATEWAYS),
        ),
        Scenario(
            "crowd-of-sessions",
            streams.crowd_of_sessions,
            (*STREAM, *GROWTH, "lost"),
            _paced_among(lambda scale: scale.crowd_sessions[1]),
            GATEWAYS,
            KEEPS_SESSIONS,
        ),
        Scenario("mixed", streams.mixed, (*STREAM, "lost"), _paced(1), ("relay", *GATEWAYS)),
        Scenario(
            "noisy-strangers",
            streams.noisy_strangers,
            ("p50_ms", "p99_ms", "longest_ms", "longest_ms_before", "frames_per_second", "server_busy", "lost"),
            _paced(2),
            SERVES,
            SHARES_TIME,
        ),
    )
}
