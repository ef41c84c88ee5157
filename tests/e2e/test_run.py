"""What ``make run`` starts, and what it says when a part of it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests import processes


def test_an_agent_that_ends_is_named_and_ends_everything():
    port, agent_port = processes.free_port(), processes.free_port()
    env = processes.environment(PORT=str(port), AGENT_PORT=str(agent_port), GATEWAY__TRANSCRIPTS="false")
    command = [sys.executable, "-m", "scripts.run"]
    with subprocess.Popen(command, cwd=processes.ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        try:
            while f"Open http://127.0.0.1:{port}/" not in running.stdout.readline():
                assert running.poll() is None
            agent, _gateway = map(int, Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split())
            os.kill(agent, signal.SIGKILL)
            said, _ = running.communicate(timeout=processes.STOP_SECONDS)
        finally:
            running.terminate()
    assert running.returncode == 1
    assert "The demo agent has ended, so everything stops." in said


def test_with_an_agent_of_ones_own_no_demo_agent_is_started():
    port = processes.free_port()
    env = processes.environment(PORT=str(port), GATEWAY__AGENT_PROTOCOL="openai", GATEWAY__TRANSCRIPTS="false")
    command = [sys.executable, "-m", "scripts.run"]
    with subprocess.Popen(command, cwd=processes.ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        try:
            while f"Open http://127.0.0.1:{port}/" not in running.stdout.readline():
                assert running.poll() is None
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=processes.STOP_SECONDS)
    assert len(children) == 1
