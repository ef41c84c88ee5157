"""A process under test that does not end says where it was."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests import processes

STUBBORN = """
import signal, time

def hear(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("heard")

def stand_still():
    print("ready")
    while True:
        time.sleep(60)

signal.signal(signal.SIGTERM, hear)
stand_still()
"""


def until(condition):
    give_up_at = time.monotonic() + processes.START_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.mark.parametrize("env", [{}, {"OTEL_SERVICE_NAME": "t"}], ids=["forked", "alone"])
def test_a_process_that_does_not_end_is_aborted_and_its_stacks_and_output_are_in_the_error(monkeypatch, tmp_path, env):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    program = tmp_path / "stubborn.py"
    program.write_text(STUBBORN)
    process = processes.Process([str(program)], **env)
    process.launch()
    pid = process.pid
    until(lambda: "ready" in process.output())
    process.signal(signal.SIGTERM)
    until(lambda: "heard" in process.output() and "State: S" in processes._state(pid))  # the next one does not wake it
    with pytest.raises(RuntimeError) as said:
        process.stop()
    process.discard()
    words = str(said.value)
    assert f"process {pid}: State: S" in words, "asleep, and not stopped"
    assert "in stand_still" in words, "the stack"
    assert "heard" in words, "the output"
    assert not process.is_running
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_has_ended_can_be_killed(tmp_path):
    program = tmp_path / "short.py"
    program.write_text("")
    process = processes.Process([str(program)])
    process.launch()
    assert process.wait() == 0
    process.kill()
    assert not process.is_running
    process.discard()
