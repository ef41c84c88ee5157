"""The kernel's figures: CPU time, memory, and the time that processes waited for a core."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_PROC = Path("/proc")
_PACKAGES = (
    "channels",
    "channels-redis",
    "daphne",
    "django",
    "fastapi",
    "granian",
    "httpx",
    "picows",
    "uvicorn",
    "uvloop",
)


@dataclass(frozen=True)
class Cores:
    """The cores of the server, of which most systems use the first only, and the one of load client and agent."""

    server: tuple[int, ...]
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """Take the first core that we may use for the load, and the others, from the last on, for the server."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(server=tuple(reversed(others)) or (first,), load=first)


@dataclass(frozen=True)
class Usage:
    """What some processes and their children have used so far.

    Attributes:
        cpu_seconds: user and system time of all threads, ended ones too.
        waiting_seconds: how long their main threads were ready to run and had no core, less what their own other
            threads and each other used meanwhile: disturbance by others, at least.
        at_seconds: when this was read.
    """

    cpu_seconds: float
    waiting_seconds: float
    at_seconds: float

    @classmethod
    def of(cls, pids: Iterable[int]) -> Usage:
        """Read the kernel's accounts."""
        tree = [member for pid in pids for member in process_tree(pid)]
        cpu_seconds = sum(map(_cpu_seconds, tree))
        for_each_other_seconds = cpu_seconds * (len(tree) - 1)  # at most: they share a core
        return cls(cpu_seconds, sum(map(_waiting_seconds, tree)) - for_each_other_seconds, time.monotonic())

    @classmethod
    def of_self(cls) -> Usage:
        """Read our own account, without our children's."""
        return cls(time.process_time(), _waiting_seconds(os.getpid()), time.monotonic())

    def since(self, earlier: Usage) -> Usage:
        """Return the difference to an earlier reading; its ``at_seconds`` is the time between."""
        return Usage(
            self.cpu_seconds - earlier.cpu_seconds,
            self.waiting_seconds - earlier.waiting_seconds,
            self.at_seconds - earlier.at_seconds,
        )

    @property
    def busy(self) -> float:
        """The share of one core (of a difference)."""
        return self.cpu_seconds / self.at_seconds

    @property
    def disturbed(self) -> float:
        """The share of the time in which the processes wanted a core and got none (of a difference)."""
        return max(self.waiting_seconds / self.at_seconds, 0.0)


def process_tree(pid: int) -> list[int]:
    """Return a process and its descendants that are alive."""
    tree = [pid]
    for member in tree:
        for children in _PROC.glob(f"{member}/task/*/children"):
            with contextlib.suppress(OSError):
                tree.extend(map(int, children.read_text().split()))
    return tree


def memory_bytes(pids: Iterable[int]) -> int:
    """Return the memory of process trees: proportional set size, so shared pages count once."""
    return sum(_kilobytes(member, "smaps_rollup", "Pss") for pid in pids for member in process_tree(pid)) * 1024


def kernel_bytes() -> int:
    """Return what the kernel holds in its own objects, those of all sockets of the machine among them."""
    lines = (_PROC / "meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Slab:")) * 1024


def peak_memory_bytes(pids: Iterable[int]) -> int:
    """Return the largest resident size since ``reset_peak_memory``."""
    return sum(_kilobytes(member, "status", "VmHWM") for pid in pids for member in process_tree(pid)) * 1024


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the resident size now, to be compared with ``peak_memory_bytes``."""
    return sum(_kilobytes(member, "status", "VmRSS") for pid in pids for member in process_tree(pid)) * 1024


def reset_peak_memory(pids: Iterable[int]) -> None:
    """Reset ``peak_memory_bytes`` (proc(5), clear_refs: 5)."""
    for pid in pids:
        for member in process_tree(pid):
            (_PROC / str(member) / "clear_refs").write_text("5")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that a ``share`` of all values does not exceed; NaN without values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def machine() -> dict[str, object]:
    """Describe the machine."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _cpu_seconds(pid: int) -> float:
    """Read a process's own CPU clock, to the nanosecond, and add the children it has waited for."""
    try:
        own = time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not have
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return own + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")  # cutime and cstime, proc(5)


def _waiting_seconds(pid: int) -> float:
    try:
        ran, waited, _ = map(int, (_PROC / str(pid) / "schedstat").read_text().split())  # of the main thread
    except OSError:
        return 0.0
    return (waited + ran) / 1e9 - _cpu_seconds(pid)


def _kilobytes(pid: int, file: str, name: str) -> int:
    try:
        lines = (_PROC / str(pid) / file).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _processor() -> str:
    lines = (_PROC / "cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
