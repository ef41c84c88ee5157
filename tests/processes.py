"""Real processes under test: gateway servers and agents, on free ports of loopback, stopped by who started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from scripts.ports import free_port
from tests import fork_server, leftovers, log_search
from tests.leftovers import children

ROOT = Path(__file__).resolve().parent.parent
KEY = "test-internal-key"
START_SECONDS = 100.0  # less than the limit of a test, so that its output is told
STOP_SECONDS = 60.0
ABORT_SECONDS = 10.0  # to write the stacks
STATE = ("State", "Threads", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")  # in /proc: is it stopped, is a signal pending?

_APPLICATION = ["gateway_project.asgi:application"]
_UVICORN = ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--ws-per-message-deflate=false"]
SERVERS = {
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", *_APPLICATION],
    "uvicorn": [*_UVICORN, "--ws", "relay.server.uvicorn:WebSocket", *_APPLICATION],
    "uvicorn-plain": [*_UVICORN, *_APPLICATION],  # with its own class of sockets
    "granian": ["-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", *_APPLICATION],
    "serve": ["manage.py", "serve", "--port", "{port}"],
    "runserver": ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"],
}
# What some tests need and a server has not: these tests are not collected for it. docs/deployment.md says it in words.
LACKS = {
    "daphne": {"broken responses", "drain", "flow control", "large frames"},
    "granian": {"full speed"},
}
AGENTS = {
    "demo": ["manage.py", "demo_agent", "--port", "{port}", "--delay", "0.02"],
    "scripted": ["-m", "tests.scripted_agent", "--port", "{port}"],
}


def servers_under_test(*default: str) -> list[str]:
    """Which servers a suite runs against: those that the variable TEST_SERVERS names, or else its own default."""
    return os.environ["TEST_SERVERS"].split(",") if os.environ.get("TEST_SERVERS") else list(default)


def environment(**variables: str) -> dict[str, str]:
    """Our own environment without the gateway's settings, and with these variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY__")}
    inherited.pop("DJANGO_SETTINGS_MODULE", None)
    return {**inherited, **fork_server.TALKATIVE, **variables}


def launch(
    arguments: list[str],
    *,
    cwd: Path,
    env: dict[str, str],
    output: IO[Any] | int,
    errors: IO[Any] | None = None,
    source: IO[Any] | int = 0,
    is_leader: bool = False,
    fds: tuple[int, ...] = (),
    python: str = sys.executable,
) -> fork_server.Program | subprocess.Popen[bytes]:
    """Start ``python <arguments>``, by a fork where it makes no difference, and do not wait for it."""
    if python == sys.executable and fork_server.can_start(env):
        return fork_server.start(
            arguments, cwd=cwd, env=env, output=output, errors=errors, source=source, is_leader=is_leader, fds=fds
        )
    return leftovers.start(
        [python, *arguments], cwd=cwd, env=env, stdin=source, stdout=output, stderr=errors or output, pass_fds=fds,
        start_new_session=is_leader,
    )  # fmt: skip


def run(
    arguments: list[str], cwd: Path = ROOT, *, python: str = sys.executable, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python <arguments>`` to its end; what it has said is all in ``stdout``."""
    with tempfile.TemporaryFile("w+") as output:
        program = launch(arguments, cwd=cwd, env=environment(**env), output=output, python=python)
        exit_code = _wait(program)
        output.seek(0)
        return subprocess.CompletedProcess(arguments, exit_code, output.read())


def manage(*arguments: str, said: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py <arguments>`` to its end, with what it reads from a pipe, and with its two outputs apart."""
    with ExitStack() as stack:
        output, errors = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
        source, end = os.pipe()
        threading.Thread(target=_write, args=(end, said), daemon=True).start()
        command = ["manage.py", *arguments]
        try:
            program = launch(command, cwd=ROOT, env=environment(**env), source=source, output=output, errors=errors)
        finally:
            os.close(source)
        exit_code = _wait(program)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, exit_code, output.read(), errors.read())


def _write(end: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError), open(end, "w") as pipe:
        pipe.write(text)


def _wait(program: fork_server.Program | subprocess.Popen[bytes]) -> int:
    try:
        return program.wait(START_SECONDS)
    finally:
        program.kill()


class Process:
    """One Python process that listens on a port; its output is kept in a file."""

    def __init__(
        self,
        arguments: list[str],
        health: str = "/health",
        *,
        python: str = sys.executable,
        start_seconds: float = START_SECONDS,
        fds: tuple[int, ...] = (),
        **env: str,
    ) -> None:
        self.port = free_port()
        self._python = python
        self._start_seconds = start_seconds
        self._fds = fds
        self._arguments = [argument.format(port=self.port) for argument in arguments]
        self._health = health
        self._env = environment(**env)
        self._output = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=True)  # noqa: SIM115 - closed in stop
        self._process: subprocess.Popen[bytes] | fork_server.Program | None = None

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that serves: Granian's first one starts another, all others serve themselves."""
        assert self._process is not None
        return (children(self._process.pid) if "granian" in self._arguments else [self._process.pid])[-1]

    def output(self) -> str:
        """What the process has printed so far."""
        return Path(self._output.name).read_text(errors="replace")

    def start(self) -> Self:
        self.launch()
        self.wait_until_up()
        return self

    def launch(self) -> None:
        """Start it, and do not wait until it answers."""
        fds, python = self._fds, self._python
        self._process = launch(self._arguments, cwd=ROOT, env=self._env, output=self._output, fds=fds, python=python)

    def wait_until_up(self) -> None:
        """Wait until it answers; a process that does not is stopped, and its output is in the error."""
        assert self._process is not None
        give_up_at = time.monotonic() + self._start_seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                output = self.output()
                self.stop()
                self._output.close()
                raise RuntimeError(f"{self._arguments} did not start:\n{output}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Signal the process that serves, unless it has ended."""
        _signal([self.pid], number)

    def kill(self) -> None:
        """End it at once, as a crash would, and the processes that it has started."""
        if self._process is not None:
            _signal(children(self._process.pid), signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            self._process = None

    def discard(self) -> None:
        """End it at once, for good: its output is gone."""
        self.kill()
        self._output.close()

    @property
    def is_running(self) -> bool:
        """Was it started, and has not ended?"""
        return self._process is not None and self._process.poll() is None

    def poll(self) -> int | None:
        """Give its exit code, or ``None`` while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and give its exit code. One that does not end is aborted; the error says where it was."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            state = self._abort()
            raise RuntimeError(
                f"{self._arguments} did not end within {seconds:g} s:\n{state}\n{self.output()}"
            ) from None

    def stop(self) -> int:
        """Ask it to stop and give its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self.wait(STOP_SECONDS)
        finally:
            self._process = None

    def _abort(self) -> str:
        """End it and its children, each with the stacks of its threads in the output; give the states they were in."""
        assert self._process is not None
        pids = [*children(self._process.pid), self._process.pid]
        states = "\n".join(map(_state, pids))
        _signal(pids, signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ABORT_SECONDS)
        _signal(pids[:-1], signal.SIGKILL)
        self.kill()
        return states

    def restart(self) -> None:
        self.kill()
        self.start()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.http_url + self._health, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        log_search.search(self.output(), " ".join(self._arguments))
        with contextlib.suppress(OSError):
            self._output.close()


def _signal(pids: list[int], number: signal.Signals) -> None:
    """Signal those of the processes that have not ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _state(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return f"process {pid}: " + ", ".join(" ".join(line.split()) for line in lines if line.startswith(STATE))
    return f"process {pid}: ended"


@contextlib.contextmanager
def running(*processes: Process) -> Iterator[None]:
    """Start processes side by side, which takes about as long as one; stop them at the end."""
    with ExitStack() as stack:
        for process in processes:
            process.launch()
            stack.push(process)
        for process in processes:
            process.wait_until_up()
        yield


def gateway(server: str, agent_url: str, **settings: str) -> Process:
    """A gateway under one of ``SERVERS``; ``settings`` without the prefix."""
    env = {"INTERNAL_API_KEY": KEY, "AGENT_URL": agent_url, "TRANSCRIPTS": "false", **settings}
    return Process(SERVERS[server], **{f"GATEWAY__{name}": value for name, value in env.items()})


def agent(kind: str, **env: str) -> Process:
    """A ``demo`` or a ``scripted`` agent in its own process."""
    return Process(AGENTS[kind], **{"GATEWAY__INTERNAL_API_KEY": KEY, **env})
