"""The parent of workers, with processes that only keep up the link to it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay.server import collection, supervise
from relay.server.supervised import Worker
from relay.server.supervisor import Supervisor, Times
from tests.clients import LIMIT_SECONDS
from tests.processes import ROOT

PROGRAM = Path(__file__).with_name("fake_worker.py")
QUICK = Times(tick=0.05, start=LIMIT_SECONDS, silent=LIMIT_SECONDS, pause=0.01, longest_pause=0.02)


class Workers:
    """What the workers of a test have written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behave("serves")

    def behave(self, behaviour: str) -> None:
        """Let workers that are started from now on do this."""
        (self.folder / "behaviour").write_text(behaviour)

    def notes(self, what: str) -> list[tuple[int, int]]:
        """Number and process id of each worker that has written this down."""
        notes = self.folder / "notes"
        lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
        return [(int(number), int(pid)) for number, noted, pid in lines if noted == what]

    async def wait_for(self, what: str, count: int) -> list[tuple[int, int]]:
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(found := self.notes(what)) < count:
                await asyncio.sleep(0.01)
        return found


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(tmp_path)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level("INFO", logger="relay.server.supervisor"):
        yield caplog


async def logged(said: pytest.LogCaptureFixture, words: str, count: int = 1) -> None:
    """Wait for lines of the log."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while sum(words in message for message in said.messages) < count:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def supervised(workers: Workers, count: int = 2, *, times: Times = QUICK, is_own: bool = True):
    """A supervisor with its run, which is ended; a test may end it before and look at its exit code."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-S", "-E", str(PROGRAM), str(workers.folder)]
        supervisor = Supervisor(command, count, listener, is_own=is_own, times=times)
        run = asyncio.create_task(supervisor.run())
        try:
            yield supervisor, run
        finally:
            while not run.done():
                supervisor.stop()
                await asyncio.wait([run], timeout=1)


async def ended(run: asyncio.Task[int]) -> int:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await run


async def test_workers_have_numbers_and_end_together(workers, said):
    async with supervised(workers, 3) as (supervisor, run):
        await logged(said, "ready", 3)
        assert sorted(number for number, _ in workers.notes("starts")) == [0, 1, 2]
        assert all(os.getsid(pid) == pid for _, pid in workers.notes("starts"))  # Ctrl-C does not reach it
        supervisor.stop()
        assert await ended(run) == 0
    assert sorted(number for number, _ in workers.notes("ends")) == [0, 1, 2]


async def test_first_one_is_awaited_and_its_failure_ends_the_start(workers):
    workers.behave("fails")
    async with supervised(workers, 3) as (_, run):
        assert await ended(run) == 3
    assert len(workers.notes("starts")) == 1


async def test_command_that_cannot_be_started_ends_the_start(workers, said):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await ended(asyncio.ensure_future(Supervisor(["/no/such"], 2, listener, is_own=True).run())) == 1
    assert "worker 0 cannot be started: No such file or directory" in said.messages


async def test_worker_that_dies_is_replaced_under_its_number(workers, said):
    async with supervised(workers):
        await logged(said, "ready", 2)
        os.kill(workers.notes("starts")[1][1], signal.SIGKILL)
        await logged(said, "ready", 3)
        assert [number for number, _ in workers.notes("starts")] == [0, 1, 1]
        assert "worker 1 ended: signal 9" in said.messages


async def test_workers_that_die_again_and_again_are_started_after_pauses(workers, said):
    workers.behave("crashes")
    async with supervised(workers, 1) as (_, run):
        await logged(said, "workers do not stay up", 4)
        workers.behave("serves")
        pauses = [float(words.split()[-2]) for words in said.messages if "do not stay up" in words]
        assert pauses[:3] == [0.02, 0.02, 0.02]  # the longest, from the second in vain on
        assert not run.done()


async def test_reload_replaces_all_one_after_another(workers, said):
    async with supervised(workers) as (supervisor, _):
        await logged(said, "ready", 2)
        supervisor.reload()
        await workers.wait_for("leaves", 2)
        await logged(said, "ready", 4)
        assert [number for number, _ in workers.notes("starts")] == [0, 1, 2, 0]
        events = [line.split()[1] for line in (workers.folder / "notes").read_text().splitlines()]
        assert events == ["starts", "starts", "starts", "leaves", "starts", "leaves"]


async def test_reload_during_a_reload_replaces_those_too_that_are_new(workers, said):
    async with supervised(workers) as (supervisor, _):
        await logged(said, "ready", 2)
        supervisor.reload()
        await logged(said, "ready", 3)
        supervisor.reload()
        left = await workers.wait_for("leaves", 3)
        await logged(said, "ready", 5)
        assert {pid for _, pid in left} == {pid for _, pid in workers.notes("starts")[:3]}


async def test_new_code_that_does_not_start_leaves_the_old_workers(workers, said):
    async with supervised(workers) as (supervisor, run):
        await logged(said, "ready", 2)
        workers.behave("fails")
        for times in (1, 2):
            supervisor.reload()
            await logged(said, "workers not replaced", times)
        workers.behave("serves")
        supervisor.reload()  # corrected
        left = await workers.wait_for("leaves", 2)
        assert {pid for _, pid in left} == {pid for _, pid in workers.notes("starts")[:2]}
        await logged(said, "ready", 4)
        assert len(workers.notes("starts")) == 6  # the wrong ones were tried once each
        supervisor.stop()
        assert await ended(run) == 0


async def test_worker_that_drains_by_itself_has_a_successor_while_it_does(workers, said):
    workers.behave("goes")
    async with supervised(workers, 1):
        await workers.wait_for("starts", 1)
        workers.behave("serves")
        await logged(said, "ready", 2)
        assert not workers.notes("leaves")
        assert not any("ended" in words for words in said.messages)


async def test_worker_that_says_nothing_any_more_is_killed_and_one_that_is_alive_is_not(workers, said):
    workers.behave("stays")
    async with supervised(workers, 2) as (supervisor, _):
        await workers.wait_for("starts", 1)
        workers.behave("freezes")
        await logged(said, "ready", 2)
        alive, frozen = supervisor._workers
        async with asyncio.timeout(LIMIT_SECONDS):
            while frozen.silent_ticks < 3:
                await asyncio.sleep(0.01)
            alive.silent_ticks = 1
            while alive.silent_ticks:
                await asyncio.sleep(0.01)
        frozen.silent_ticks = round(QUICK.silent / QUICK.tick)  # one more is too many
        await logged(said, "worker 1 killed: it does not respond")
        await logged(said, "worker 1 ended: signal 9")
        assert "worker 0 killed: it does not respond" not in said.messages
        os.kill(workers.notes("starts")[0][1], signal.SIGKILL)  # it does not end by SIGTERM


async def test_worker_that_is_never_ready_is_killed(workers, said):
    workers.behave("hangs")
    times = Times(tick=0.05, start=0.2, silent=LIMIT_SECONDS)
    async with supervised(workers, 1, times=times) as (_, run):
        assert await ended(run) == 1
    assert "worker 0 killed: it does not respond" in said.messages


@pytest.mark.parametrize(("is_own", "how"), [(True, "ends"), (False, "leaves")])
async def test_only_workers_on_a_socket_that_ends_with_them_are_told_so(workers, said, is_own, how):
    async with supervised(workers, is_own=is_own) as (supervisor, run):
        await logged(said, "ready", 2)
        supervisor.stop()
        assert await ended(run) == 0
    assert len(workers.notes(how)) == 2


async def test_further_signals_are_passed_on_as_signals(workers, said):
    workers.behave("stays")
    async with supervised(workers, 1, is_own=False) as (supervisor, run):
        await logged(said, "ready", 1)
        for count in (1, 2):
            supervisor.stop()
            await workers.wait_for("stays", count)
        assert not run.done()
        os.kill(workers.notes("starts")[0][1], signal.SIGKILL)
        assert await ended(run) == 1  # it did not drain


async def test_stop_during_the_start_ends_it(workers):
    workers.behave("hangs")
    async with supervised(workers) as (supervisor, run):
        await workers.wait_for("starts", 1)
        supervisor.stop()
        assert await ended(run) == 0


async def test_operators_drain_at_one_worker_ends_all(workers):
    workers.behave("drains")
    async with supervised(workers) as (_, run):
        assert await ended(run) == 0


async def test_signals_reach_the_supervisor(workers, said):
    async with supervised(workers, 1) as (_, run):
        await logged(said, "ready", 1)
        os.kill(os.getpid(), signal.SIGHUP)
        await workers.wait_for("leaves", 1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await ended(run) == 0


async def test_each_of_the_others_is_asked_for_its_metrics(workers, said):
    async with supervised(workers, 2):
        await logged(said, "ready", 2)
        workers.behave("collects")
        os.kill(workers.notes("starts")[1][1], signal.SIGKILL)
        await workers.wait_for("collected_7_text_of_0", 1)


async def test_worker_that_dies_when_it_is_asked_is_not_waited_for(workers, said, monkeypatch):
    monkeypatch.setattr(collection, "LIMIT_SECONDS", 2 * LIMIT_SECONDS)
    workers.behave("dies when asked")
    async with supervised(workers, 1) as (supervisor, _):
        await logged(said, "ready", 1)
        workers.behave("collects")
        supervisor.reload()
        await workers.wait_for("collected_7_", 1)


def test_parent_loads_no_large_library():
    """It is to stay small, and to have little that could fail."""
    loaded = "import sys, relay.server.supervise; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-S", "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"asyncio", "relay"} < set(ended.stdout.split())
    assert {"relay"} == {name for name in ended.stdout.split() if name not in sys.stdlib_module_names | {"__main__"}}


async def test_metrics_that_come_too_late_are_dropped(workers, said, monkeypatch):
    """Those of a frozen worker, for example, once it goes on."""
    monkeypatch.setattr(collection, "LIMIT_SECONDS", 0)
    async with supervised(workers, 1) as (supervisor, _):
        await logged(said, "ready", 1)
        workers.behave("collects")
        supervisor.reload()
        await workers.wait_for("collected_7_", 1)


@pytest.mark.parametrize(
    ("formatter", "line"),
    [
        (
            supervise.JsonFormatter(),
            (
                '{"worker": 1, "event": "worker 1 ready", "level": "info", "logger": "relay.server.supervisor",'
                ' "timestamp": "2026-01-02T03:04:05.678000Z"}'
            ),
        ),
        (
            supervise.TextFormatter(),
            f"2026-01-02T03:04:05.678000Z [info     ] {'worker 1 ready':<40} [relay.server.supervisor] worker=1",
        ),
    ],
)
def test_lines_look_like_those_of_workers(formatter, line):
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC).timestamp()
    fields = {"name": "relay.server.supervisor", "levelname": "INFO", "msg": "worker %d ready", "args": (1,)}
    record = logging.makeLogRecord({**fields, "created": moment, "worker": 1})
    assert formatter.format(record) == line


async def test_system_that_allows_no_further_process_is_asked_again(workers, said, monkeypatch):
    start, refusals = Worker.start, iter([None, OSError(errno.EAGAIN, "")])

    async def start_or_not(*arguments):
        if (refusal := next(refusals, None)) is not None:
            raise refusal
        return await start(*arguments)

    monkeypatch.setattr(Worker, "start", start_or_not)
    async with supervised(workers):
        await logged(said, "ready", 2)
    assert f"worker 1 cannot be started: {os.strerror(errno.EAGAIN)}" in said.messages


async def test_program_of_the_parent_ends_with_its_workers_and_removes_its_socket(workers, tmp_path):
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        number = listener.fileno()
        options = ["--workers=2", f"--listener={number}", f"--unlink={path}", "--log-level=INFO", "--log-text", "--"]
        command = [sys.executable, "-P", supervise.__file__, *options, sys.executable, "-S", "-E", PROGRAM]
        with subprocess.Popen([*command, workers.folder], pass_fds=[number], stderr=subprocess.PIPE) as program:
            await workers.wait_for("starts", 2)
            program.terminate()
            said = await asyncio.to_thread(program.stderr.read)
    assert program.returncode == 0
    assert said.endswith(b"[info     ] stopped                                  [relay.server.supervisor]\n"), said
    assert not path.exists()
