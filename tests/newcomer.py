"""The newcomer's path: a copy of the checkout, a HOME without anything, ``make run``, a first question.

``python -m tests.newcomer`` takes it cold and then warm, and prints when each thing was first seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.clients import SocketClient
from tests.processes import ROOT, free_port

LIMIT_SECONDS = 280
READY = "Ctrl-C stops everything."
FIRST_TOKEN = "(first token)"
FOREIGN = ("GATEWAY", "DJANGO", "PYTHON", "MAKE", "MFLAGS", "VENV")  # what this process, and make above it, hand down


class Seen(NamedTuple):
    """A line of output, or another thing that was seen, and when."""

    seconds: float
    words: str


class Run:
    """One ``make run``, from its start to the first token and Ctrl-C."""

    def __init__(self, checkout: Path, home: Path) -> None:
        self.port = free_port()
        self.seen: list[Seen] = []
        self.text = ""
        self.cpu_seconds = 0.0  # known at the end
        self._cpu_before = _cpu_seconds()
        kept = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}
        python = getattr(sys, "_base_executable", sys.executable)
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            ["make", "run", f"PORT={self.port}", f"AGENT_PORT={free_port()}", f"PYTHON={python}"],
            cwd=checkout, env={**kept, "HOME": str(home), "PYTHONUNBUFFERED": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def see(self, words: str) -> None:
        self.seen.append(Seen(time.monotonic() - self._started_at, words))

    @property
    def first_token_seconds(self) -> float:
        """The time until the first token."""
        return next(seen.seconds for seen in self.seen if seen.words == FIRST_TOKEN)

    @property
    def silence_seconds(self) -> float:
        """The longest time without a line before the first token."""
        times = [0.0, *(seen.seconds for seen in self.seen if seen.seconds <= self.first_token_seconds)]
        return max(after - before for before, after in pairwise(times))

    def wait_for(self, words: str) -> None:
        while not any(words in seen.words for seen in self.seen):
            assert self._process.poll() is None, self.output()
            assert time.monotonic() - self._started_at < LIMIT_SECONDS, self.output()
            time.sleep(0.01)

    async def ask(self, content: str) -> None:
        """Ask as the page does."""
        async with SocketClient(f"ws://127.0.0.1:{self.port}/ws/newcomer/") as browser:
            await browser.say(content)
            while not (await browser.frame())["token"]:
                pass  # agents start with an empty token
            self.see(FIRST_TOKEN)
            self.text = await browser.text()

    def stop(self) -> int:
        """Press Ctrl-C; give the exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        code = self._process.wait(LIMIT_SECONDS)
        self._reading.join(LIMIT_SECONDS)
        self.cpu_seconds = _cpu_seconds() - self._cpu_before
        return code

    def output(self) -> str:
        return "\n".join(f"{seen.seconds:6.1f}  {seen.words}" for seen in self.seen)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.see(line.rstrip())


def _cpu_seconds() -> float:
    """The CPU time of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def copy_checkout(folder: Path) -> None:
    """Copy what a clone would have, also what is not committed yet."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in filter(None, names):
        source = ROOT / os.fsdecode(name)
        if source.is_file() and not source.is_symlink():
            target = folder / os.fsdecode(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)


def take_path(folder: Path) -> Iterator[Run]:
    """Take the path twice: with nothing installed, and again. Each run has had its first token, and has ended."""
    checkout, home = folder / "checkout", folder / "home"
    home.mkdir()
    copy_checkout(checkout)
    for _ in range(2):
        run = Run(checkout, home)
        try:
            run.wait_for(READY)
            asyncio.run(run.ask("help"))
        finally:
            run.stop()
        yield run


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        for name, run in zip(("Cold", "Warm"), take_path(Path(folder)), strict=True):
            print(f"{name}: first token after {run.first_token_seconds:.1f} s, ", end="")
            print(f"longest silence before it {run.silence_seconds:.1f} s, ", end="")
            print(f"{run.cpu_seconds:.1f} s of CPU")
            print(f"{run.output()}\n")


if __name__ == "__main__":
    main()
