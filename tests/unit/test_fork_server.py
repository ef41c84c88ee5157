"""A forked program finds what a program finds that has an interpreter of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests import fork_server
from tests.clients import LIMIT_SECONDS
from tests.processes import environment, manage

PROGRAM = """
import json, os, signal, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "name": __name__, "folder": os.getcwd(), "environment": dict(os.environ),
    "files": sorted(os.listdir("/proc/self/fd")), "loaded": sorted(m for m in sys.modules if m.startswith("relay")),
    "handlers": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
}))
print("said", file=sys.stderr)
if sys.argv[1:] == ["stay"]:
    signal.pause()
sys.exit(3)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


@pytest.fixture
def start(folder):
    """Start a program and give it and what it writes."""
    output = (folder / "output").open("w+")

    def start_one(*arguments):
        env = environment(GATEWAY__MAX_QUEUE="7")
        assert fork_server.can_start(env)
        return fork_server.start(list(arguments), cwd=folder, env=env, output=output), output

    yield start_one
    output.close()


@pytest.mark.parametrize("arguments", [("program.py", "a", "b"), ("-m", "program", "a")])
def test_a_forked_program_finds_all_as_one_that_was_started(folder, start, arguments):
    program, output = start(*arguments)
    assert program.wait(LIMIT_SECONDS) == program.poll() == 3
    output.seek(0)
    forked, said = output.read().splitlines()
    env = environment(GATEWAY__MAX_QUEUE="7")
    alone = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)
    assert said == "said"
    assert json.loads(forked) == json.loads(alone.stdout)


def test_a_command_reads_a_pipe_and_has_its_outputs_apart():
    done = manage("shell", "--no-imports", said="import os, sys; print(os.getsid(0) == os.getpid()); sys.exit('no')")
    assert (done.returncode, done.stdout, done.stderr) == (1, "False\n", "no\n")


def test_a_leader_has_a_session_of_its_own(folder):
    (folder / "program.py").write_text("import os; print(os.getsid(0) == os.getpid())")
    with (folder / "output").open("w+") as output:
        program = fork_server.start(["program.py"], cwd=folder, env=environment(), output=output, is_leader=True)
        assert program.wait(LIMIT_SECONDS) == 0
        output.seek(0)
        assert output.read() == "True\n"


def test_a_signal_ends_it_and_is_its_exit_code(start):
    program, _ = start("program.py", "stay")
    assert program.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.01)
    program.terminate()
    assert program.wait(LIMIT_SECONDS) == -signal.SIGTERM
    program.kill()  # which is too late, and harmless


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "OTEL_SERVICE_NAME", "COVERAGE_PROCESS_CONFIG"])
def test_a_variable_that_counts_from_the_start_of_an_interpreter_needs_one(name):
    assert not fork_server.can_start({**os.environ, name: "1"})
