"""One system under test with its load: what every scenario works with."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import secrets
import shutil
import signal
import sqlite3
import tempfile
from array import array
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load_agent
from benchmarks.bench import Bench
from benchmarks.holders import FULL
from benchmarks.load_client import Tally, Viewer, connect, connect_patiently, until
from benchmarks.measure import Usage, memory_bytes, percentile, process_tree
from benchmarks.processes import START_SECONDS, Process, settled_on
from benchmarks.stores import Store, Work
from benchmarks.systems import System
from scripts.ports import free_port

Figures = dict[str, float]

SUBPROTOCOL = "gateway.v1"
INTERNAL_KEY = b"change-me-internal-key"  # the default
MAX_HANDSHAKES = 64  # under way at once
LEAVE_SECONDS = 15.0  # for all viewers to be gone
IDLE_SECONDS, IDLE_SHARE = 1.0, 0.03  # a server that has used less of a core for so long has started
SOCKETS_OF_AN_ADDRESS = 20_000  # its ports, less those of other programs


@dataclass(frozen=True)
class Window:
    """The measurements of a period."""

    frames: int
    turns: int
    server: Usage
    agent: Usage
    client: Usage
    store: Work | None
    latencies_ns: array[int]
    turn_times_ns: array[int]

    def figures(self) -> Figures:
        """Return the figures of any window with tokens."""
        ordered = sorted(self.latencies_ns)
        frames = max(self.frames, 1)
        store = self.store and {
            "store_calls_per_frame": self.store.calls / frames,
            "store_bytes_per_frame": self.store.bytes / frames,
            "store_cpu_us_per_frame": self.store.cpu_seconds / frames * 1e6,
        }
        return {
            **(store or {}),
            "cpu_us_per_frame": self.server.cpu_seconds / frames * 1e6,
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

    def __init__(
        self,
        system: System,
        servers: list[Process],
        agent: Process,
        load_core: int,
        database: Path,
        store: Store | None = None,
    ) -> None:
        self.system = system
        self.tally = Tally()
        self.server_pids = [server.pid for server in servers]
        self.port = servers[-1].port  # of the viewers
        self._servers = servers
        self._database = database
        self._agent = agent
        self._load_core = load_core
        self._store = store if store is not None and store.has_accounts else None
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        self._sessions = 0
        self._opened = 0
        self._prefix = secrets.token_hex(4)  # a store may remember those of another rig

    # Viewers.

    def new_sessions(self, count: int) -> list[str]:
        """Name sessions that were not used yet."""
        self._sessions += count
        return [f"{self._prefix}-{number}" for number in range(self._sessions - count, self._sessions)]

    async def view(
        self,
        session_id: str,
        *,
        resumable: bool = False,
        query: str = "",
        viewer: Viewer | None = None,
        is_patient: bool = False,
    ) -> Viewer:
        """Open a socket, by default for a viewer that counts for the rig; with several processes, on the last."""
        url = f"ws://127.0.0.1:{self.port}/ws/{session_id}/?{query}"
        self._opened += 1
        source = f"127.0.0.{1 + self._opened // SOCKETS_OF_AN_ADDRESS % 250}"
        async with self._handshakes:
            if is_patient:
                return await connect_patiently(viewer or Viewer(self.tally), url, source=source)
            subprotocol = SUBPROTOCOL if resumable else None
            return await connect(viewer or Viewer(self.tally), url, subprotocol=subprotocol, source=source)

    async def view_all(self, session_ids: list[str]) -> list[Viewer]:
        """Open a socket on each session, as fast as it goes."""
        return await asyncio.gather(*(self.view(session_id) for session_id in session_ids))

    async def ask(self, viewer: Viewer, session_id: str, *, tokens: int, rate: int = 0, is_kept: bool = False) -> None:
        """Send a message: through the viewer's own socket or, with several processes, through the first."""
        content = load_agent.order(tokens, rate, is_kept=is_kept)
        if len(self._servers) == 1:
            viewer.say(content)
            return
        url = f"ws://127.0.0.1:{self._servers[0].port}/ws/{session_id}/"
        sender = await connect(Viewer(Tally()), url, subprotocol=SUBPROTOCOL)
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
        target = str(self.port)
        arguments = ("-m", "benchmarks.strangers", "--target", target, "--count", str(count), "--port", "{port}")
        process = Process.start(arguments, (self._load_core,), port=free_port())
        try:
            yield
        finally:
            process.stop()

    @asynccontextmanager
    async def holding(self, counts: Sequence[int]) -> AsyncGenerator[None, None]:
        """Let a process for each number hold as many idle sockets; see ``benchmarks.holders``."""
        processes: list[Process] = []
        try:
            for number, count in enumerate(counts, 1):
                options = {"target": self.port, "count": count, "address": f"127.0.{number}.1", "port": "{port}"}
                arguments = [f"--{name}={value}" for name, value in options.items()]
                command = ("-m", "benchmarks.holders", *arguments)
                processes.append(Process.start(command, (self._load_core,), port=free_port()))
            for process in processes:
                reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
                answer = await reader.read()
                writer.close()
                if answer != FULL:
                    raise RuntimeError(f"the idle sockets did not open:\n{process.output()}")
            yield
        finally:
            for process in processes:
                process.stop()

    def worker_pids(self) -> set[int]:
        """Return the processes that the started ones have started."""
        return {pid for parent in self.server_pids for pid in process_tree(parent)[1:]}

    def replace_workers(self) -> None:
        """Tell the parent of the workers to replace them, one after another."""
        os.kill(self.server_pids[0], signal.SIGHUP)

    # Measuring.

    async def store_reads(self) -> int:
        """Return how often the server has read a log from its store, by its own account; 0 if it has none."""
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Internal-Auth: %b\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request % INTERNAL_KEY)
        text = (await reader.read()).decode()
        writer.close()
        found = re.search(r'^gateway_store_call_duration_seconds_count{call="read"} (\d+)', text, re.MULTILINE)
        return int(found[1]) if found else 0

    def kept_turns(self, session_ids: list[str]) -> int:
        """Count these sessions' turns in the gateway's database."""
        places = ",".join("?" * len(session_ids))
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            query = f"SELECT count(*) FROM relay_turn WHERE session_id IN ({places})"
            count: int = connection.execute(query, session_ids).fetchone()[0]
            return count

    async def started(self) -> None:
        """Wait until the server's processes have started, of which the first listens before the others are there."""
        give_up_at = asyncio.get_running_loop().time() + START_SECONDS
        busy = 1.0
        while busy > IDLE_SHARE and asyncio.get_running_loop().time() < give_up_at:
            before = Usage.of(self.server_pids)
            await asyncio.sleep(IDLE_SECONDS)
            busy = Usage.of(self.server_pids).since(before).busy

    def memory_bytes(self) -> int:
        """Return what the server holds."""
        return memory_bytes(self.server_pids)

    @asynccontextmanager
    async def window(self, *, tallies: tuple[Tally, ...] = ()) -> AsyncGenerator[list[Window], None]:
        """Measure the body; the window is appended to the list when it ends."""
        windows: list[Window] = []
        work_before = await self._store_work()
        counted = (self.tally, *tallies)
        self.tally.latencies_ns, self.tally.turn_times_ns = array("q"), array("q")
        self.tally.is_recording = True
        tokens, turns = sum(tally.tokens for tally in counted), sum(tally.turns for tally in counted)
        before = self._usage()
        yield windows
        after = self._usage()
        self.tally.is_recording = False
        frames = sum(tally.tokens for tally in counted) - tokens
        ended = sum(tally.turns for tally in counted) - turns
        work_after = await self._store_work()
        work = work_after.since(work_before) if work_after is not None and work_before is not None else None
        used = [end.since(begin) for begin, end in zip(before, after, strict=True)]
        windows.append(Window(frames, ended, *used, work, self.tally.latencies_ns, self.tally.turn_times_ns))

    async def _store_work(self) -> Work | None:
        return await asyncio.to_thread(self._store.work) if self._store is not None else None

    def _usage(self) -> tuple[Usage, Usage, Usage]:
        return Usage.of(self.server_pids), Usage.of([self._agent.pid]), Usage.of_self()


@asynccontextmanager
async def rig(system: System, bench: Bench) -> AsyncGenerator[Rig, None]:
    """Start a system with its load, and stop all of it."""
    arguments = ("-m", "benchmarks.load_agent", "--port", "{port}")
    processes: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        database = Path(folder) / "transcripts.sqlite3"
        if bench.database is not None:
            shutil.copy(bench.database, database)
        try:
            processes.append(Process.start(arguments, (bench.cores.load,), port=free_port()))
            agent_url = f"http://127.0.0.1:{processes[0].port}"
            store = bench.stores.get(system.store) if system.store is not None else None
            url = store.url if store is not None else None
            processes.extend(system.start(bench.cores.server, agent_url=agent_url, store_url=url, database=database))
            with settled_on(bench.cores.load), no_garbage_collection():
                started = Rig(system, processes[1:], processes[0], bench.cores.load, database, store)
                if system.cores > 1:
                    await started.started()
                yield started
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
