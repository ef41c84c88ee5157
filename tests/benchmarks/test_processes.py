"""No process of a measurement outlives it: it would disturb the next."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads Linux's accounts")

from benchmarks import processes  # noqa: E402
from benchmarks.measure import process_tree  # noqa: E402
from scripts.ports import free_port  # noqa: E402

STUBBORN = """
import signal, socket, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_does_not_end_is_killed_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.1)
    cores = sorted(os.sched_getaffinity(0))
    process = processes.Process.start(("-c", STUBBORN, "{port}"), cores, port=free_port())
    tree = process_tree(process.pid)
    assert len(tree) == 2
    process.stop()
    give_up_at = time.monotonic() + 30
    while any(map(is_running, tree)) and time.monotonic() < give_up_at:  # the signal has to arrive
        time.sleep(0.01)
    assert not any(map(is_running, tree))
