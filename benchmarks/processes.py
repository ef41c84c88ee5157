"""Processes of a measurement: on one core each, on a free port of loopback, stopped by the code that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from benchmarks.measure import process_tree

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 10.0
_OUTPUT_CHARACTERS = 2_000
_FOREIGN = ("GATEWAY__", "DJANGO_", "UVICORN_", "WEB_CONCURRENCY")  # settings of others, in our environment


class Process:
    """One process that listens on a port."""

    def __init__(self, popen: subprocess.Popen[bytes], port: int, output: Path) -> None:
        self.port = port
        self.pid = popen.pid
        self._popen = popen
        self._output = output

    @classmethod
    def start(
        cls,
        arguments: Sequence[str],
        cores: Sequence[int],
        *,
        port: int,
        env: Mapping[str, str] | None = None,
        program: str = sys.executable,
    ) -> Self:
        """Start it on its cores and wait until it listens.

        Raises:
            RuntimeError: it did not; the text holds what it printed.
        """
        output = tempfile.NamedTemporaryFile(prefix="benchmark-", suffix=".log", delete=False)  # noqa: SIM115
        with output:
            popen = subprocess.Popen(
                [program, *(argument.format(port=port) for argument in arguments)],
                cwd=ROOT,
                env={**environment(), **(env or {})},
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: _settle(cores),
            )
        process = cls(popen, port, Path(output.name))
        try:
            process._wait_until_it_listens()
        except BaseException:
            process.stop()
            raise
        return process

    def output(self) -> str:
        """Return the end of what it printed."""
        return self._output.read_text(errors="replace")[-_OUTPUT_CHARACTERS:]

    def stop(self) -> None:
        """End it and its children, gently if it goes."""
        tree = process_tree(self.pid)
        self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in tree:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait()
        self._output.unlink(missing_ok=True)

    def _wait_until_it_listens(self) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if self._popen.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"{self._popen.args} did not start:\n{self.output()}")
            time.sleep(0.05)


@contextlib.contextmanager
def settled_on(core: int) -> Iterator[None]:
    """Keep this process on one core and, if we may, before those of others, for a time."""
    cores, policy = os.sched_getaffinity(0), os.sched_getscheduler(0)
    _settle((core,))
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        if policy != os.sched_getscheduler(0):
            os.sched_setscheduler(0, policy, os.sched_param(0))


def _settle(cores: Sequence[int]) -> None:
    """Pin the process to its cores. A server that has to wait for its core then reads several tokens at once, and looks
    cheaper than it is; so it goes before all that is not real time (sched(7)), where the kernel lets us."""
    os.sched_setaffinity(0, cores)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def environment() -> dict[str, str]:
    """Return our own environment without settings of the measured systems."""
    return {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
