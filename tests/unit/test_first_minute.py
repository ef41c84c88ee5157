"""What a person sees who starts it for the first time: progress, never a long silence, and faults in a sentence."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from gateway_project import run_ports
from gateway_project.progress import QUIET_SECONDS, Progress, run
from gateway_project.run_ports import MAKE_RUN, PortsUnfit, names_agent, usable_ports
from scripts.install import Pip, main
from tests.processes import ROOT, free_port

LIMIT_SECONDS = 60
UNTIL_HEARD = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
sys.exit(3)
"""


class Clock:
    """Time that passes by as much as each look at it adds."""

    def __init__(self, step):
        self.now = 0.0
        self._step = step

    def __call__(self):
        self.now += self._step
        return self.now


def test_silence_is_never_longer_than_five_seconds():
    said_at = [0.0]
    clock = Clock(0.05)
    progress = Progress(clock, lambda words: said_at.append(clock.now))
    while clock.now < 60:
        progress.tick()
    assert max(after - before for before, after in pairwise(said_at)) < 5
    assert QUIET_SECONDS < 5


def test_a_silent_command_is_accompanied(tmp_path):
    """It ends when something was said."""
    heard, said = tmp_path / "heard", []

    def say(words):
        said.append(words)
        heard.touch()

    assert run([sys.executable, "-c", UNTIL_HEARD, heard], Progress(Clock(QUIET_SECONDS), say)) == 3
    assert all(words.startswith("  … ") for words in said)


def test_output_of_a_command_arrives_line_by_line():
    taken = []
    run([sys.executable, "-c", "print('a\\nb')"], Progress(Clock(0)), taken.append)
    assert taken == ["a", "b"]


def test_progress_of_pip_is_counted():
    said = []
    pip = Pip(Progress(Clock(0), said.append), packages=13)
    lines = ["Ignoring x: markers", *(f"Collecting p{number}==1" for number in range(12))]
    for line in [*lines, "Installing collected packages: p0", "WARNING: Retrying (1)", "WARNING: Retrying (0)"]:
        pip.take(line)
    assert said == [
        "  10 of 12 packages downloaded",
        "  all 12 packages downloaded; unpacking them",
        "  the package index does not respond; retrying",
    ]
    assert not pip.is_offline


def test_a_missing_network_is_explained(tmp_path, monkeypatch, capsys):
    """Nothing can be installed here: no server listens where the packages would come from."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a-package-that-is-nowhere==1.0\n")
    assert main(Path(sys.prefix), requirements) == 1
    said = capsys.readouterr().out
    assert said.startswith("Installing some 0 packages")
    assert "the package index does not respond; retrying" in said
    assert "Is this machine online?" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["abc", "0", "80000", "-1", "8_000", "8000.0"])
def test_what_is_no_port_is_named(text, monkeypatch):
    monkeypatch.setenv("AGENT_PORT", text)
    with pytest.raises(PortsUnfit, match=r"AGENT_PORT must be a port number from 1 to 65535.*AGENT_PORT=9001"):
        usable_ports(MAKE_RUN, "PORT", "AGENT_PORT")


def test_a_port_that_is_taken_is_replaced_and_the_other_kept(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken, free = server.getsockname()[1], free_port()
        monkeypatch.setenv("PORT", str(taken))
        monkeypatch.setenv("AGENT_PORT", str(free))
        with pytest.raises(PortsUnfit, match=rf"Port {taken} is in use\. .*PORT=\d+ AGENT_PORT={free}$") as unfit:
            usable_ports(MAKE_RUN, "PORT", "AGENT_PORT")
    proposed = str(unfit.value).partition(" PORT=")[2].partition(" ")[0]
    monkeypatch.setenv("PORT", proposed)
    assert usable_ports(MAKE_RUN, "PORT", "AGENT_PORT") == {"PORT": int(proposed), "AGENT_PORT": free}


@pytest.mark.parametrize(("port", "agent_port"), [(9_461, 9_462), (8_461, 9_461)])
def test_the_ports_that_are_proposed_differ(port, agent_port, monkeypatch):
    monkeypatch.setattr(run_ports, "_obstacle", lambda port: "is in use" if port in (8_461, 9_461) else "")
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.setenv("AGENT_PORT", str(agent_port))
    with pytest.raises(PortsUnfit) as unfit:
        usable_ports(MAKE_RUN, "PORT", "AGENT_PORT")
    proposed = [int(text) for text in re.findall(r"PORT=(\d+)", str(unfit.value))]
    assert len(set(proposed) - {8_461, 9_461}) == 2


def test_a_port_that_was_not_given_is_not_proposed(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(run_ports, "DEFAULTS", {"PORT": server.getsockname()[1], "AGENT_PORT": free_port()})
        monkeypatch.delenv("PORT", raising=False)
        monkeypatch.delenv("AGENT_PORT", raising=False)
        with pytest.raises(PortsUnfit, match=r"Choose another: make run PORT=\d+$"):
            usable_ports(MAKE_RUN, "PORT", "AGENT_PORT")


def test_two_servers_need_two_ports(monkeypatch):
    port = str(free_port())
    monkeypatch.setenv("PORT", port)
    monkeypatch.setenv("AGENT_PORT", port)
    with pytest.raises(PortsUnfit, match="must be different ports"):
        usable_ports(MAKE_RUN, "PORT", "AGENT_PORT")


def test_ports_are_checked_before_anything_is_installed(tmp_path):
    """``make`` shows what it would do, and the check comes first."""
    plan = subprocess.run(
        ["make", "--dry-run", "run", f"VENV={tmp_path}/venv"],
        cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True,
    ).stdout  # fmt: skip
    order = ["gateway_project.run_ports", "scripts.install", "-m gateway_project.run\n"]
    assert sorted(order, key=plan.index) == order


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", False),
        ("# GATEWAY__AGENT_URL=http://a\n#GATEWAY__AGENT_URL=http://a", False),
        ("GATEWAY__AGENT_PROTOCOL=agent", False),
        ("GATEWAY__AGENT_URL=http://a", True),
        ("export GATEWAY__AGENT_PROTOCOL = 'openai' # a comment", True),
    ],
)
def test_agent_of_the_env_file_is_seen_before_its_parser_is_there(text, names, tmp_path, monkeypatch):
    monkeypatch.setattr(run_ports, "FOLDER", tmp_path)
    (tmp_path / ".env").write_text(text)
    assert names_agent(run_ports._names_in_env_file()) is names
