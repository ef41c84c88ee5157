"""The scenarios. Each takes a rig and returns figures, which ``FIGURES`` explains."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.load_client import Tally, Viewer, until
from benchmarks.measure import peak_memory_bytes, reset_peak_memory, resident_bytes
from benchmarks.rig import Figures, Rig
from benchmarks.systems import FANS_OUT, GATEWAYS, KEEPS_LOG, SHARES_TIME, System

RATE = 50  # tokens a second and session
SPARE_SECONDS = 0.5  # answers outlast the window by so much
LAST_TOKENS_SECONDS = 30.0  # for what a slow system still owes

FILLING = 50  # sessions at once

ANSWERS_ONLY = "relays answers"


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        begin_seconds: in which all sessions begin, evenly.
        warm_seconds: after that: connections are open, caches are warm.
        seconds: that are measured then.
        attempts: at most so many, where other programs disturb the measurement.
    """

    attempts: int = 2
    begin_seconds: float = 1.0
    warm_seconds: float = 1.5
    seconds: float = 5.0
    sessions: int = 100
    burst_sessions: int = 4
    burst_tokens: int = 10_000
    long_tokens: tuple[int, int] = (500, 50_000)
    fan_out_viewers: int = 100
    idle_sockets: int = 5_000
    idle_seconds: float = 21.0  # a heartbeat of every socket falls into it
    storm_sockets: int = 500
    resume_sessions: int = 100
    resume_clients: int = 1_000
    resume_tokens: int = 500
    crowd_sockets: tuple[int, int] = (50, 2_000)
    crowd_sessions: tuple[int, int] = (10, 5_000)
    visitors_per_second: int = 10
    visitor_tokens: int = 200
    strangers: int = 40
    disturbed_sessions: int = 10


FULL = Scale()
QUICK = Scale(seconds=3.0, idle_sockets=1_000, idle_seconds=3.0, resume_clients=300, crowd_sessions=(10, 1_000))
SMOKE = Scale(
    attempts=1,
    begin_seconds=0.0,  # so that the window opens before the answers, however slow the machine is
    warm_seconds=0.0,
    seconds=0.3,
    sessions=3,
    burst_sessions=2,
    burst_tokens=200,
    long_tokens=(20, 400),
    fan_out_viewers=3,
    idle_sockets=10,
    idle_seconds=0.2,
    storm_sockets=5,
    resume_sessions=2,
    resume_clients=4,
    resume_tokens=20,
    crowd_sockets=(2, 4),
    crowd_sessions=(2, 4),
    visitor_tokens=5,
    strangers=2,
    disturbed_sessions=2,
)


async def paced(rig: Rig, scale: Scale) -> Figures:
    """Many sessions, each at the pace of a quick model."""
    return await _paced(rig, scale, scale.sessions)


async def burst(rig: Rig, scale: Scale) -> Figures:
    """Answers as fast as they come: frames a second when the server has no core left."""
    await _burst(rig, sessions=scale.burst_sessions, tokens=scale.burst_tokens // 10)
    return await _burst(rig, sessions=scale.burst_sessions, tokens=scale.burst_tokens)


async def fan_out(rig: Rig, scale: Scale) -> Figures:
    """One session with many viewers, against as many sessions with one viewer each: equally many frames."""
    single = await _paced(rig, scale, scale.fan_out_viewers)
    shared = await _paced(rig, scale, 1, viewers=scale.fan_out_viewers)
    return {**shared, "lost": shared["lost"] + single["lost"], **_growth(single, shared)}


async def idle(rig: Rig, scale: Scale) -> Figures:
    """Silent sockets."""
    await rig.leave(
        await rig.view_all(rig.new_sessions(scale.storm_sockets))
    )  # memory that the first sockets leave behind
    empty_bytes = rig.memory_bytes()
    await rig.view_all(rig.new_sessions(scale.idle_sockets))
    await asyncio.sleep(1)
    async with rig.window() as windows:
        await asyncio.sleep(scale.idle_seconds)
    full_bytes = rig.memory_bytes()
    minutes = windows[0].server.at_seconds / 60
    return {
        "memory_bytes_per_socket": (full_bytes - empty_bytes) / scale.idle_sockets,
        "cpu_ms_per_socket_minute": windows[0].server.cpu_seconds * 1e3 / scale.idle_sockets / minutes,
    }


async def connect_storm(rig: Rig, scale: Scale) -> Figures:
    """Handshakes as fast as they go, with no other socket open and with many."""
    await _storm(rig, scale.storm_sockets)  # warm
    alone = await _storm(rig, scale.storm_sockets)
    await rig.view_all(rig.new_sessions(scale.idle_sockets))
    crowded = await _storm(rig, scale.storm_sockets)
    return {
        **crowded,
        "handshakes_per_second_alone": alone["handshakes_per_second"],
        "handshakes_ratio": crowded["handshakes_per_second"] / alone["handshakes_per_second"],
    }


async def resume_storm(rig: Rig, scale: Scale) -> Figures:
    """Clients that all come back at once, each with an answer to replay."""
    sessions = rig.new_sessions(scale.resume_sessions)
    before_bytes = rig.memory_bytes()
    cursors = dict(zip(sessions, await _fill(rig, sessions, scale.resume_tokens), strict=True))
    kept_bytes = rig.memory_bytes() - before_bytes
    reads_before = await rig.store_reads()
    reset_peak_memory(rig.server_pids)
    steady_bytes = resident_bytes(rig.server_pids)
    returning = list(itertools.islice(itertools.cycle(sessions), scale.resume_clients))
    async with rig.window() as windows:
        viewers = await asyncio.gather(
            *(rig.view(name, resumable=True, query=f"epoch={cursors[name]}&offset=1") for name in returning)
        )
        await _all_arrived(viewers, scale.resume_tokens)
    reads = await rig.store_reads()
    read_figures = {"store_reads_per_session": (reads - reads_before) / scale.resume_sessions} if reads else {}
    return {
        **read_figures,
        "cpu_us_per_frame": windows[0].figures()["cpu_us_per_frame"],
        "seconds": windows[0].server.at_seconds,
        "memory_peak_ratio": peak_memory_bytes(rig.server_pids) / steady_bytes,
        "memory_bytes_per_token": kept_bytes / (scale.resume_sessions * scale.resume_tokens),
        "lost": _lost(viewers, scale.resume_tokens),
    }


async def long_answer(rig: Rig, scale: Scale) -> Figures:
    """A very long answer, against short ones."""
    short, long = scale.long_tokens
    await _burst(rig, sessions=1, tokens=long // 10)  # warm
    short_figures = await _burst(rig, sessions=1, tokens=short, turns=min(long // short, 10))
    long_figures = await _burst(rig, sessions=1, tokens=long)
    lost = short_figures["lost"] + long_figures["lost"]
    return {**long_figures, "lost": lost, **_growth(short_figures, long_figures)}


async def crowd_of_sockets(rig: Rig, scale: Scale) -> Figures:
    """The paced load among few and among many other open sockets."""
    few, many = scale.crowd_sockets
    await rig.view_all(rig.new_sessions(few))
    first = await _paced(rig, scale, scale.sessions)
    await rig.view_all(rig.new_sessions(many - few))
    second = await _paced(rig, scale, scale.sessions)
    return {**second, "lost": first["lost"] + second["lost"], **_growth(first, second)}


async def crowd_of_sessions(rig: Rig, scale: Scale) -> Figures:
    """The paced load among few and among many sessions that the layer keeps."""
    few, many = scale.crowd_sessions
    await _fill(rig, rig.new_sessions(few), tokens=1)
    first = await _paced(rig, scale, scale.sessions)
    await _fill(rig, rig.new_sessions(many - few), tokens=1)
    second = await _paced(rig, scale, scale.sessions)
    return {**second, "lost": first["lost"] + second["lost"], **_growth(first, second)}


async def mixed(rig: Rig, scale: Scale) -> Figures:
    """The paced load, while visitors connect, get an answer at once, and leave."""
    visits = Tally()
    visiting = asyncio.create_task(_visit_for_ever(rig, scale, visits))
    try:
        return await _paced(rig, scale, scale.sessions, others=(visits,))
    finally:
        visiting.cancel()
        await asyncio.gather(visiting, return_exceptions=True)


async def noisy_strangers(rig: Rig, scale: Scale) -> Figures:
    """The paced load of few sessions, while strangers send pings and bodies in the smallest pieces, without end."""
    alone = await _paced(rig, scale, scale.disturbed_sessions)
    with rig.strangers(scale.strangers):
        beside = await _paced(rig, scale, scale.disturbed_sessions)
    return {**beside, "lost": alone["lost"] + beside["lost"], "longest_ms_before": alone["longest_ms"]}


@dataclass(frozen=True)
class Scenario:
    """A scenario by name.

    Attributes:
        figures: those that it gives; some systems lack some.
        needs: what a system must be able to do.
        beside: the peers that are measured beside the gateway where no others are named; ``None``: all that can.
        repetitions: if no other number is asked for. A whole run shall end while one waits for it.
    """

    name: str
    run: Callable[[Rig, Scale], Awaitable[Figures]]
    figures: tuple[str, ...]
    needs: str = ANSWERS_ONLY
    beside: frozenset[str] | None = None
    repetitions: int = 1

    def suits(self, system: System) -> bool:
        """Can the system serve it?"""
        if self.needs == ANSWERS_ONLY:
            return system.relays
        return self.needs in system.can or self.needs == ""

    def usually_measures(self, system: System) -> bool:
        """Is the system measured in it if none are named?"""
        return self.suits(system) and (self.beside is None or system.name in GATEWAYS or system.name in self.beside)


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
# Peers beside the gateway: those that a budget names, and those that tell something about the scenario.
ECHOES = frozenset({"relay", "echo-daphne", "echo-uvicorn"})
GROUPS = frozenset({"channels-group", "channels-redis"})
RELAYS = frozenset({"limit", "relay"})
NOBODY: frozenset[str] = frozenset()

GROWTH = ("cpu_us_per_frame_before", "growth")

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("paced", paced, (*STREAM, "lost"), repetitions=3),
        Scenario("burst", burst, (*STREAM, "lost")),
        Scenario("fan-out", fan_out, (*STREAM, *GROWTH, "lost"), FANS_OUT, GROUPS),
        Scenario("idle", idle, ("memory_bytes_per_socket", "cpu_ms_per_socket_minute"), "", ECHOES),
        Scenario(
            "connect-storm",
            connect_storm,
            ("handshakes_per_second", "handshakes_per_second_alone", "handshakes_ratio", "cpu_us_per_handshake"),
            "",
            ECHOES,
        ),
        Scenario(
            "resume-storm",
            resume_storm,
            (
                "cpu_us_per_frame",
                "seconds",
                "memory_peak_ratio",
                "memory_bytes_per_token",
                "store_reads_per_session",
                "lost",
            ),
            KEEPS_LOG,
            NOBODY,
        ),
        Scenario("long-answer", long_answer, (*STREAM, *GROWTH, "lost")),
        Scenario("crowd-of-sockets", crowd_of_sockets, (*STREAM, *GROWTH, "lost"), beside=RELAYS),
        Scenario("crowd-of-sessions", crowd_of_sessions, (*STREAM, *GROWTH, "lost"), KEEPS_LOG, NOBODY),
        Scenario("mixed", mixed, (*STREAM, "lost"), beside=RELAYS),
        Scenario(
            "noisy-strangers",
            noisy_strangers,
            ("p50_ms", "p99_ms", "longest_ms", "longest_ms_before", "frames_per_second", "server_busy", "lost"),
            SHARES_TIME,
            NOBODY,
        ),
    )
}


async def _paced(rig: Rig, scale: Scale, sessions: int, *, viewers: int = 1, others: tuple[Tally, ...] = ()) -> Figures:
    """Let sessions talk and measure in the middle; then wait for every token."""
    names = rig.new_sessions(sessions)
    watching = await rig.view_all(names * viewers)
    tokens = round(RATE * (scale.begin_seconds + scale.warm_seconds + scale.seconds + SPARE_SECONDS))
    asking = []
    for viewer, name in zip(watching, names, strict=False):
        asking.append(asyncio.create_task(rig.ask(viewer, name, tokens=tokens, rate=RATE)))
        await asyncio.sleep(scale.begin_seconds / sessions)
    await asyncio.gather(*asking)
    await asyncio.sleep(scale.warm_seconds)
    async with rig.window(tallies=others) as windows:
        await asyncio.sleep(scale.seconds)
        await until(lambda: bool(rig.tally.latencies_ns), LAST_TOKENS_SECONDS)  # none yet if the machine stood still
    await _all_arrived(watching, tokens)
    lost = _lost(watching, tokens)
    await rig.leave(watching)
    return {**windows[0].figures(), "lost": lost}


async def _burst(rig: Rig, *, sessions: int, tokens: int, turns: int = 1) -> Figures:
    names = rig.new_sessions(sessions)
    viewers = await rig.view_all(names)
    async with rig.window() as windows:
        for turn in range(1, turns + 1):
            for viewer, name in zip(viewers, names, strict=True):
                await rig.ask(viewer, name, tokens=tokens)
            await _all_arrived(viewers, tokens * turn, turns=turn)
    lost = _lost(viewers, tokens * turns)
    await rig.leave(viewers)
    return {**windows[0].figures(), "lost": lost}


async def _storm(rig: Rig, sockets: int) -> Figures:
    names = rig.new_sessions(sockets)
    async with rig.window() as windows:
        viewers = await rig.view_all(names)
    await rig.leave(viewers)
    used = windows[0].server
    return {
        "handshakes_per_second": sockets / used.at_seconds,
        "cpu_us_per_handshake": used.cpu_seconds / sockets * 1e6,
    }


async def _fill(rig: Rig, sessions: list[str], tokens: int) -> list[str]:
    """Give each session an answer to keep, and return their epochs."""
    epochs = []
    for first in range(0, len(sessions), FILLING):
        batch = sessions[first : first + FILLING]
        viewers = await asyncio.gather(*(rig.view(name, resumable=True) for name in batch))
        for viewer, name in zip(viewers, batch, strict=True):
            await rig.ask(viewer, name, tokens=tokens)
        await _all_arrived(viewers, tokens)
        epochs += [viewer.epoch for viewer in viewers]
        await rig.leave(viewers)
    return epochs


async def _visit_for_ever(rig: Rig, scale: Scale, tally: Tally) -> None:
    while True:
        name = rig.new_sessions(1)[0]
        visitor = await rig.view(name, tally=tally)
        await rig.ask(visitor, name, tokens=scale.visitor_tokens)
        await asyncio.sleep(1 / scale.visitors_per_second)
        await rig.leave([visitor])


async def _all_arrived(viewers: list[Viewer], tokens: int, *, turns: int = 1) -> None:
    """Wait for whole answers; what does not come is lost."""
    await until(lambda: all(viewer.finals >= turns or viewer.is_closed for viewer in viewers), LAST_TOKENS_SECONDS)


def _lost(viewers: list[Viewer], tokens: int) -> float:
    """Count lost and duplicate tokens; an answer in the wrong order or with an error counts as a whole."""
    return sum(
        abs(tokens - viewer.tokens) if viewer.is_in_order and not viewer.errors else tokens for viewer in viewers
    )


def _growth(before: Figures, after: Figures) -> Figures:
    return {
        "cpu_us_per_frame_before": before["cpu_us_per_frame"],
        "growth": after["cpu_us_per_frame"] / before["cpu_us_per_frame"],
    }
