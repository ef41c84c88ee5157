"""Whatever ends a test process, what it has started does not outlive it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import leftovers
from tests.clients import LIMIT_SECONDS
from tests.processes import ROOT, environment

# A program of which others come, by a thread too.
PARENT = """
import subprocess, threading
shell = subprocess.Popen(["sh", "-c", "sleep 1000; :"])
threading.Thread(target=subprocess.run, args=[["sleep", "1000"]]).start()
"""

# A store, one that has to put something in order, and programs of the fork server, of which one has a session of its
# own: some are frozen at last.
TESTS = """
import json, signal, sys
from pathlib import Path
from tests import leftovers, processes
from tests.databases import PostgreSQL
from tests.faults.valkey import Valkey

valkey, postgresql, agent = Valkey().start(), PostgreSQL().start(), processes.agent("demo").start()
pids = [valkey._process.pid, postgresql._process.pid, agent.pid]
env = processes.environment()
parent = processes.launch(["parent.py"], cwd=Path(sys.argv[1]), env=env, output=2, is_leader=True)
while len(leftovers.descendants(parent.pid)) < 3:
    assert parent.poll() is None
pids += [parent.pid, *leftovers.descendants(parent.pid), *leftovers.children(postgresql._process.pid)]
valkey.signal(signal.SIGSTOP)
postgresql._process.send_signal(signal.SIGSTOP)
parent.send_signal(signal.SIGSTOP)
print(json.dumps([pids, [valkey._folder, str(postgresql.folder)]]), flush=True)
sys.stdin.read()
"""


def has_ended(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # nobody has waited for it, since its parent was killed


@contextmanager
def waiting_tests(folder):
    """A process that has started all kinds of things; what these are, and the folders of some."""
    (folder / "parent.py").write_text(PARENT)
    command = [sys.executable, "-c", TESTS, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=-1, stdout=-1, start_new_session=True) as process:
        try:
            yield process, *json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("send", [os.kill, os.killpg])  # to the tests alone, or to all that are in their group
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_tests_have_started_ends_with_them(tmp_path, send, number):
    with waiting_tests(tmp_path) as (process, pids, folders):
        assert not any(map(has_ended, pids))
        assert all(Path(folder).is_dir() for folder in folders)
        send(process.pid, number)
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while left := [pid for pid in pids if not has_ended(pid)] + [name for name in folders if Path(name).exists()]:
        assert time.monotonic() < give_up_at, left
        time.sleep(0.02)


def test_what_has_ended_before_is_left_alone(tmp_path):
    """Its number may be that of another process by then."""
    assert leftovers.start(["true"]).wait(LIMIT_SECONDS) == 0
    assert leftovers.start([sys.executable, "-c", "raise SystemExit(3)"], folder=tmp_path).wait(LIMIT_SECONDS) == 3
    assert tmp_path.is_dir()
