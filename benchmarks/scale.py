"""The size of the load: full for published figures, quick for a first look, smoke to see that all works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """The size of the load.

    Attributes:
        begin_seconds: during which the sessions start, evenly spread.
        warm_seconds: after that: connections are open, caches are warm.
        seconds: that are measured then.
        attempts: at most so many, where other programs disturb the measurement.
    """

    attempts: int = 2
    begin_seconds: float = 1.0
    warm_seconds: float = 1.0
    seconds: float = 4.0
    sessions: int = 100
    talkers: int = 50
    worker_sessions: int = 16
    burst_sessions: int = 4
    burst_tokens: int = 10_000
    long_tokens: tuple[int, int] = (500, 50_000)
    fan_out_viewers: int = 100
    idle_sockets: int = 5_000
    idle_crowd: int = 50_000
    idle_seconds: float = 20.0  # a heartbeat of every socket falls into it
    settle_seconds: float = 1.0
    storm_sockets: int = 500
    resume_sessions: int = 100
    resume_clients: int = 1_000
    resume_tokens: int = 500
    outage_sessions: int = 100
    drop_viewers: int = 10  # of each session
    drop_seconds: float = 120.0
    deploy_viewers: int = 50
    crowd_sockets: tuple[int, int] = (50, 2_000)
    crowd_sessions: tuple[int, int] = (10, 3_000)
    visitors_per_second: int = 10
    visitor_tokens: int = 200
    strangers: int = 40
    disturbed_sessions: int = 10


FULL = Scale()
QUICK = Scale(
    seconds=3.0,
    idle_sockets=1_000,
    idle_crowd=5_000,
    idle_seconds=3.0,
    resume_clients=300,
    drop_seconds=20.0,
    deploy_viewers=10,
    crowd_sessions=(10, 1_000),
)
SMOKE = Scale(
    attempts=1,
    begin_seconds=0.0,  # so that the window opens before the answers, however slow the machine is
    warm_seconds=0.0,
    seconds=0.3,
    sessions=3,
    talkers=2,
    worker_sessions=3,
    burst_sessions=2,
    burst_tokens=200,
    long_tokens=(20, 400),
    fan_out_viewers=3,
    idle_sockets=10,
    idle_crowd=20,
    settle_seconds=0.0,
    idle_seconds=0.2,
    storm_sockets=5,
    resume_sessions=2,
    resume_clients=4,
    resume_tokens=20,
    outage_sessions=2,
    drop_viewers=2,
    drop_seconds=4.0,  # so that a cut is longer than the time between two tokens
    deploy_viewers=2,
    crowd_sockets=(2, 4),
    crowd_sessions=(2, 4),
    visitor_tokens=5,
    strangers=2,
    disturbed_sessions=2,
)
SCALES = {"full": FULL, "quick": QUICK, "smoke": SMOKE}
