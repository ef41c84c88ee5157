"""One system under test with its load: what every scenario works with."""

from __future__ import annotations

import asyncio
import gc
import re
import secrets
from array import array
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from benchmarks import load_agent
from benchmarks.load_client import Tally, Viewer, connect, until
from benchmarks.measure import Cores, Usage, memory_bytes, percentile
from benchmarks.processes import Process, free_port, settled_on
from benchmarks.systems import System

Figures = dict[str, float]

SUBPROTOCOL = "gateway.v1"
INTERNAL_KEY = b"change-me-internal-key"  # the default
MAX_HANDSHAKES = 64  # under way at once
LEAVE_SECONDS = 15.0  # for all viewers to be gone


@dataclass(frozen=True)
class Window:
    """The measurements of a period."""

    frames: int
    server: Usage
    agent: Usage
    client: Usage
    latencies_ns: array[int]

    def figures(self) -> Figures:
        """Return the figures of any window with tokens."""
        ordered = sorted(self.latencies_ns)
        return {
            "cpu_us_per_frame": self.server.cpu_seconds / max(self.frames, 1) * 1e6,
            "p50_ms": percentile(ordered, 0.5) / 1e6,
            "p99_ms": percentile(ordered, 0.99) / 1e6,
            "p999_ms": percentile(ordered, 0.999) / 1e6,
            "longest_ms": percentile(ordered, 1.0) / 1e6,
            "frames_per_second": self.frames / self.server.at_seconds,
            "server_busy": self.server.busy,
            "load_busy": self.agent.busy + self.client.busy,
            "disturbed": self.server.disturbed,
        }


class Rig:
    """The system's processes, the agent behind it, and viewers in front of it."""

    def __init__(self, servers: list[Process], agent: Process, load_core: int) -> None:
        self.tally = Tally()
        self.server_pids = [server.pid for server in servers]
        self._servers = servers
        self._agent = agent
        self._load_core = load_core
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        self._sessions = 0
        self._prefix = secrets.token_hex(4)  # a store may remember those of another rig

    # Viewers.

    def new_sessions(self, count: int) -> list[str]:
        """Name sessions that were not used yet."""
        self._sessions += count
        return [f"{self._prefix}-{number}" for number in range(self._sessions - count, self._sessions)]

    async def view(
        self, session_id: str, *, resumable: bool = False, query: str = "", tally: Tally | None = None
    ) -> Viewer:
        """Open a socket; with several workers, on the last."""
        url = f"ws://127.0.0.1:{self._servers[-1].port}/ws/{session_id}/?{query}"
        async with self._handshakes:
            return await connect(tally or self.tally, url, subprotocol=SUBPROTOCOL if resumable else None)

    async def view_all(self, session_ids: list[str]) -> list[Viewer]:
        """Open a socket on each session, as fast as it goes."""
        return await asyncio.gather(*(self.view(session_id) for session_id in session_ids))

    async def ask(self, viewer: Viewer, session_id: str, *, tokens: int, rate: int = 0) -> None:
        """Send a message: through the viewer's own socket or, with several workers, through the first worker."""
        content = load_agent.order(tokens, rate)
        if len(self._servers) == 1:
            viewer.say(content)
            return
        url = f"ws://127.0.0.1:{self._servers[0].port}/ws/{session_id}/"
        sender = await connect(Tally(), url, subprotocol=SUBPROTOCOL)
        sender.say(content)
        await until(lambda: sender.is_accepted, LEAVE_SECONDS)
        sender.transport.disconnect()

    async def leave(self, viewers: list[Viewer]) -> None:
        """Close sockets and wait until they are."""
        for viewer in viewers:
            viewer.transport.disconnect()
        await until(lambda: all(viewer.is_closed for viewer in viewers), LEAVE_SECONDS)

    @contextmanager
    def strangers(self, count: int) -> Iterator[None]:
        """Start clients that send without end; see ``benchmarks.strangers``."""
        target = str(self._servers[-1].port)
        arguments = ("-m", "benchmarks.strangers", "--target", target, "--count", str(count), "--port", "{port}")
        process = Process.start(arguments, self._load_core, port=free_port())
        try:
            yield
        finally:
            process.stop()

    # Measuring.

    async def store_reads(self) -> int:
        """Give how often the server has read a log from its store, by its own account; 0 if it has none."""
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Internal-Auth: %b\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self._servers[-1].port)
        writer.write(request % INTERNAL_KEY)
        text = (await reader.read()).decode()
        writer.close()
        found = re.search(r'^gateway_store_call_duration_seconds_count{call="read"} (\d+)', text, re.MULTILINE)
        return int(found[1]) if found else 0

    def memory_bytes(self) -> int:
        """Give what the server holds."""
        return memory_bytes(self.server_pids)

    @asynccontextmanager
    async def window(self, *, tallies: tuple[Tally, ...] = ()) -> AsyncGenerator[list[Window], None]:
        """Measure the body; the window is appended to the list when it ends."""
        windows: list[Window] = []
        counted = (self.tally, *tallies)
        self.tally.latencies_ns = array("q")
        self.tally.is_recording = True
        tokens = sum(tally.tokens for tally in counted)
        before = self._usage()
        yield windows
        after = self._usage()
        self.tally.is_recording = False
        frames = sum(tally.tokens for tally in counted) - tokens
        used = [end.since(begin) for begin, end in zip(before, after, strict=True)]
        windows.append(Window(frames, *used, self.tally.latencies_ns))

    def _usage(self) -> tuple[Usage, Usage, Usage]:
        return Usage.of(self.server_pids), Usage.of([self._agent.pid]), Usage.of_self()


@asynccontextmanager
async def rig(system: System, cores: Cores, redis_url: str | None) -> AsyncGenerator[Rig, None]:
    """Start a system with its load, and stop all of it."""
    arguments = ("-m", "benchmarks.load_agent", "--port", "{port}")
    processes: list[Process] = []
    try:
        agent = Process.start(arguments, cores.load, port=free_port())
        processes.append(agent)
        servers = system.start(cores.server, agent_url=f"http://127.0.0.1:{agent.port}", redis_url=redis_url)
        processes += servers
        with settled_on(cores.load), no_garbage_collection():
            yield Rig(servers, agent, cores.load)
    finally:
        for process in processes:
            process.stop()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Let the load client not pause for it."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
