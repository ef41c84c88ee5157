"""Starts Python programs by forking an interpreter that has imported the gateway and its libraries already.

Importing them costs a gateway 1.3 seconds of a core, and a test run starts hundreds. What depends on its environment
each process does for itself, as it would alone: it reads settings, sets up Django, runs checks, installs a reactor.

    program = fork_server.start(["manage.py", "serve"], cwd=ROOT, env=environment(), output=file)
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from tests import leftovers, preloading

MESSAGE_BYTES = 200_000
MAX_FDS = 16  # of one request
SPARE_FD = 200  # above the descriptors that programs are given
# Variables that no library reads as it is imported, and Python not as it starts.
OWN = ("GATEWAY__", "GATEWAY_URL", "DJANGO_SETTINGS_MODULE", "PYTEST_", "TERM", "COLUMNS", "LINES")
# Every program has these: it writes at once, and the stacks of its threads if it is aborted.
TALKATIVE = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


class Program:
    """A program that was started: a ``subprocess.Popen`` of few words, whose parent is the fork server."""

    def __init__(self, pid: int, end: socket.socket) -> None:
        self.pid = pid
        self._end = end
        self._exit_code: int | None = None

    def poll(self, timeout_seconds: float | None = 0) -> int | None:
        """Give its exit code, or ``None`` while it runs."""
        if self._exit_code is None and select.select([self._end], [], [], timeout_seconds)[0]:
            self._exit_code = int(self._end.recv(16))
            self._end.close()
        return self._exit_code

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for its end and give its exit code."""
        code = self.poll(timeout_seconds)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_seconds or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def can_start(env: dict[str, str]) -> bool:
    """May a program with this environment be forked, or has it to be an interpreter of its own from the start?"""
    names = {name for name in os.environ.keys() | env.keys() if not name.startswith(OWN)} - TALKATIVE.keys()
    is_measured = any(name.startswith("COVERAGE_PROCESS") for name in names)
    return hasattr(os, "pidfd_open") and not is_measured and all(os.environ.get(n) == env.get(n) for n in names)


def start(
    arguments: list[str],
    *,
    cwd: Path,
    env: dict[str, str],
    output: IO[Any] | int,
    errors: IO[Any] | int | None = None,
    source: IO[Any] | int = 0,
    is_leader: bool = False,
    fds: tuple[int, ...] = (),
) -> Program:
    """Start what ``python <arguments>`` would start.

    Args:
        output: a file for what it writes, or its descriptor; for its errors too, unless ``errors`` is one for them.
        source: what it reads; by default what this process reads.
        is_leader: has it a session of processes of its own?
        fds: descriptors that it has too, by the same numbers.
    """
    channel, lock = _server()
    request = {"arguments": arguments, "cwd": str(cwd), "env": env, "is_leader": is_leader, "fds": fds}
    files = (source, output, output if errors is None else errors, *fds)
    ours, theirs = socket.socketpair()
    with theirs, lock:
        fds = [file if isinstance(file, int) else file.fileno() for file in (*files, theirs)]
        socket.send_fds(channel, [json.dumps(request).encode()], fds)
        pid = int(channel.recv(16))
    leftovers.note(pid)
    return Program(pid, ours)


@functools.cache
def _server() -> tuple[socket.socket, threading.Lock]:
    """Start the server, once for the whole run; it ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())]
    env = {**os.environ, **TALKATIVE}
    server = subprocess.Popen(command, cwd=Path(__file__).parent.parent, env=env, pass_fds=[theirs.fileno()])
    theirs.close()
    atexit.register(server.wait)
    atexit.register(ours.close)
    return ours, threading.Lock()


# The other side.


def main() -> None:
    """Serve until the tests have ended; in a child, run its program."""
    preloading.load()
    gc.collect()
    gc.freeze()  # a program's collections need not look through the libraries, and so copy their memory
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests and the programs
    program = serve(socket.socket(fileno=int(sys.argv[1])))
    if program is not None:
        signal.signal(signal.SIGINT, on_interrupt)
        try:
            run(**program)
        except SystemExit as exc:
            if not isinstance(exc.code, int | None):
                raise
            end(exc.code or 0)
        end(0)


def serve(channel: socket.socket) -> dict | None:
    """Fork a child for each request, and tell its exit code. Returns: in a child, its request; at the end, nothing."""
    with channel, selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not channel:
                    selector.unregister(key.fileobj)
                    tell_end(key.fd, *key.data)
                    continue
                request, fds, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, MAX_FDS)
                if not request:
                    return None
                *files, end = fds
                pid = os.fork()
                if pid == 0:
                    leave(selector, channel)
                    os.close(end)
                    return {**json.loads(request), "files": [move_up(file) for file in files]}
                for file in files:
                    os.close(file)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, end))
                channel.send(str(pid).encode())


def leave(selector: selectors.BaseSelector, channel: socket.socket) -> None:
    """Close, in a child, what the server has of its other children."""
    for key in list(selector.get_map().values()):
        if key.fileobj is not channel:
            os.close(key.fd)
            os.close(key.data[1])


def tell_end(pidfd: int, pid: int, end: int) -> None:
    """Take a child's exit code to who has started it."""
    _, status = os.waitpid(pid, 0)
    with socket.socket(fileno=end) as told:
        told.send(str(os.waitstatus_to_exitcode(status)).encode())
    os.close(pidfd)


def move_up(file: int) -> int:
    """Give a descriptor a number that no program is promised."""
    number = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, SPARE_FD)
    os.close(file)
    return number


def run(arguments: list[str], cwd: str, env: dict[str, str], is_leader: bool, files: list[int], fds: list[int]) -> None:
    """Do what ``python <arguments>`` does once the interpreter is there."""
    for file, number in zip(files, (0, 1, 2, *fds), strict=True):
        os.dup2(file, number)
        os.close(file)
    if is_leader:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], cwd
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


def end(exit_code: int) -> None:
    """End as an interpreter ends, except that it takes no module apart: that would copy the memory of them all."""
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    gc.collect()  # what was left undone is told now: a task that is pending, a file that was not closed
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
