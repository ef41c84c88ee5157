"""The measured systems: the gateway's variants and its peers, how each is started, and when it cannot be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import ROOT, Process
from benchmarks.stores import CLUSTER, SINGLE
from scripts.ports import free_port

UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--backlog", "4096")
OUR_SOCKETS = ("--ws", "relay.server.uvicorn:WebSocket")  # of the gateway; peers use uvicorn's
DAPHNE = ("-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}")
GRANIAN = ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning")
SOCKET_IO = "benchmarks/peers/socket_io"
GATEWAY = "gateway_project.asgi:application"
GATEWAY_SERVERS = {
    "serve": ("manage.py", "serve", "--port", "{port}", "--no-access-log"),
    "daphne": (*DAPHNE, GATEWAY),
    "uvicorn": (*UVICORN, *OUR_SOCKETS, GATEWAY),
    "granian": (*GRANIAN, GATEWAY),
}
GATEWAY_ENV = {
    "GATEWAY__AGENT_URL": "{agent}",
    "GATEWAY__DATABASE_URL": "{database}",
    "GATEWAY__RATE_LIMIT": "1000000",  # counted as ever, and never reached
    "GATEWAY__MAX_SESSIONS": "100000",  # for crowds of sockets
    "GATEWAY__MAX_EMPTY_SESSIONS": "100000",
    "GATEWAY__FORWARD_TYPES": "tool_result",
    "GATEWAY__ADAPTERS": "ai-sdk,ag-ui,openai",
}

GATEWAYS = ("memory-serve", "memory-uvicorn", "redis-serve", "redis-uvicorn")  # those that every budget holds for
SERVES = ("memory-serve", "redis-serve")
CROWDED = ("memory-serve", "redis-serve-workers-4")  # as many sockets as a process may have, and more
RELAYS = "relays answers"
KEEPS_LOG = "keeps a log"  # a client that reconnects gets what it missed
KEEPS_SESSIONS = "keeps sessions"  # and a sent answer can be replayed as often as wanted
KEEPS_TRANSCRIPTS = "keeps transcripts"  # ended turns, in a database
FANS_OUT = "fans out"  # several viewers see one session
TAKES_BACK = "takes viewers back"  # to their session, after a connection that was lost
SPEAKS_SOCKET_IO = "speaks Socket.IO"
FORWARDS = "forwards"  # any type of message, to the agent
HAS_ADAPTERS = "has adapters"  # speaks the protocols of other front ends
HAS_WORKERS = "has workers"  # sessions are shared by several processes, by a store
RESTARTS = "restarts"  # its workers, one after another
SHARES_TIME = "shares time"  # among clients, whatever they send; under uvicorn two strangers are enough to stop all


@dataclass(frozen=True)
class System:
    """One thing to measure.

    Attributes:
        name: how the command line and the results call it.
        title: how the report calls it.
        arguments: of the program; ``{port}`` is filled in.
        env: its environment; ``{agent}``, ``{store}`` and ``{database}`` are filled in.
        processes: how many are started, each on a port of its own; viewers are on the last, messages go to the first.
        cores: that it may use, if the machine has as many.
        store: the kind of store that it needs.
        program: by default this Python interpreter.
        package: a folder that its package manager fills, without which it cannot run.
        can: the abilities that scenarios need.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    env: dict[str, str] = field(default_factory=lambda: {"AGENT_URL": "{agent}"})
    processes: int = 1
    cores: int = 1
    store: str | None = None
    can: frozenset[str] = frozenset({RELAYS})
    program: str = sys.executable
    package: str | None = None

    def start(
        self, cores: Sequence[int], *, agent_url: str, store_url: str | None, database: Path
    ) -> Iterator[Process]:
        """Start its processes, each listening already."""
        texts = {"agent": agent_url, "store": store_url, "database": f"sqlite:///{database}"}
        env = {name: text.format(**texts) for name, text in self.env.items()}
        for _ in range(self.processes):
            yield Process.start(self.arguments, cores[: self.cores], port=free_port(), env=env, program=self.program)

    def missing(self) -> str | None:
        """Say what of its own is not installed here; ``None``: nothing."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not installed"
        if self.package is not None and not (ROOT / self.package / "node_modules").is_dir():
            return f"npm ci --prefix {self.package} was not run"
        return None


LAYERS = {"memory": (None, "memory"), "redis": (SINGLE, "Redis"), "cluster": (CLUSTER, "cluster of three")}


def _gateway(layer: str, server: str, *, processes: int = 1, workers: int = 1) -> System:
    store, layer_title = LAYERS[layer]
    name, title = f"{layer}-{server}", f"**gateway**, {layer_title}, {server}"
    if processes > 1:
        name, title = f"{name}-{processes}", f"{title}, viewer on another worker"
    if workers > 1:
        name, title = f"{name}-workers-{workers}", f"{title}, {workers} workers"
    can = {RELAYS, KEEPS_LOG, KEEPS_SESSIONS, KEEPS_TRANSCRIPTS, FANS_OUT, TAKES_BACK, FORWARDS, HAS_ADAPTERS}
    if server == "serve":
        can |= {SHARES_TIME, *({HAS_WORKERS} if store is not None else ()), *({RESTARTS} if workers > 1 else ())}
    return System(
        name=name,
        title=title,
        arguments=(*GATEWAY_SERVERS[server], *(("--workers", str(workers)) if workers > 1 else ())),
        env={**GATEWAY_ENV, **({"GATEWAY__REDIS_URL": "{store}"} if store is not None else {})},
        processes=processes,
        cores=workers,
        store=store,
        can=frozenset(can),
    )


SYSTEMS = {
    system.name: system
    for system in (
        System(
            "limit", "limit", ("-m", "benchmarks.peers.limit", "--port", "{port}"), can=frozenset({RELAYS, FORWARDS})
        ),
        System("relay", "relay", (*UVICORN, "benchmarks.peers.relay:app"), can=frozenset({RELAYS, FORWARDS})),
        System(
            "fastapi-gateway",
            "gateway in FastAPI",
            (*UVICORN, "benchmarks.peers.fastapi_gateway:app"),
            can=frozenset({RELAYS, FANS_OUT, TAKES_BACK, FORWARDS, KEEPS_LOG}),
        ),
        System("channels-direct", "channels-direct", (*DAPHNE, "benchmarks.peers.channels_direct:application")),
        System(
            "channels-group",
            "channels-group",
            (*DAPHNE, "benchmarks.peers.channels_group:application"),
            can=frozenset({RELAYS, FANS_OUT, TAKES_BACK}),
        ),
        System(
            "channels-redis",
            "channels-redis",
            (*DAPHNE, "benchmarks.peers.channels_group:application"),
            env={"AGENT_URL": "{agent}", "REDIS_URL": "{store}"},
            store=SINGLE,
            can=frozenset({RELAYS, FANS_OUT, TAKES_BACK}),
        ),
        System(
            "socket-io",
            "Socket.IO with connection state recovery",
            (f"{SOCKET_IO}/server.js", "{port}"),
            can=frozenset({TAKES_BACK, SPEAKS_SOCKET_IO}),
            program="node",
            package=SOCKET_IO,
        ),
        System(
            "echo-daphne",
            "bare consumer, daphne",
            (*DAPHNE, "benchmarks.peers.channels_echo:application"),
            can=frozenset(),
        ),
        System(
            "echo-uvicorn",
            "bare consumer, uvicorn",
            (*UVICORN, "benchmarks.peers.channels_echo:application"),
            can=frozenset(),
        ),
        System(
            "unobserved",
            "gateway, memory, uvicorn, without metrics, logs and transcripts",
            (*UVICORN, *OUR_SOCKETS, "benchmarks.peers.unobserved:application"),
            env={**GATEWAY_ENV, "GATEWAY__LOG_LEVEL": "CRITICAL", "GATEWAY__TRANSCRIPTS": "false"},
            can=frozenset({RELAYS, FORWARDS}),
        ),
        _gateway("memory", "serve"),
        _gateway("memory", "uvicorn"),
        _gateway("memory", "daphne"),
        _gateway("memory", "granian"),
        _gateway("redis", "serve"),
        _gateway("redis", "uvicorn"),
        _gateway("redis", "uvicorn", processes=2),
        _gateway("redis", "serve", workers=2),
        _gateway("redis", "serve", workers=4),
        _gateway("cluster", "serve"),
    )
}
