"""What ``make run`` starts, which agent then answers, and what it says when a part of it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway_project.run_ports import names_agent
from tests import processes
from tests.clients import SocketClient

# Each starts four interpreters one after another, on a machine that may be loaded.
pytestmark = pytest.mark.timeout(300)
# As `make run` does it, but for the folder of its `.env`.
RUN = """
import pathlib, sys
from gateway_project import run
sys.exit(run.main(folder=pathlib.Path(sys.argv[1])))
"""
FUNCTION = """
async def answer(message, session):
    yield f"A function says: {message['content']}"
"""


class Running(NamedTuple):
    process: subprocess.Popen[str]
    port: int

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def running(folder: Path, settings: str = "") -> Iterator[Running]:
    """What ``make run`` starts with settings in ``.env``, as soon as it says which page to open."""
    (folder / ".env").write_text(settings)
    port, agent_port = processes.free_port(), processes.free_port()
    env = {"PORT": str(port), "AGENT_PORT": str(agent_port), "GATEWAY__TRANSCRIPTS": "false", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", RUN, str(folder)]
    with subprocess.Popen(
        command, cwd=processes.ROOT, env=processes.environment(**env), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            while f"Open http://127.0.0.1:{port}/" not in process.stdout.readline():
                assert process.poll() is None
            yield Running(process, port)
        finally:
            process.terminate()


def state(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=60) as answer:
            return json.load(answer)["status"]
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)["status"]


async def ask(run: Running, content: str) -> str:
    async with SocketClient(f"ws://127.0.0.1:{run.port}/ws/s/") as browser:
        return await browser.ask(content)


async def test_without_settings_the_demo_agent_answers(tmp_path):
    with running(tmp_path) as run:
        assert len(run.children()) == 2
        assert "demo" in await ask(run, "help")


async def test_agent_that_env_names_answers(tmp_path, scripted_agent):
    with running(tmp_path, f"GATEWAY__AGENT_URL={scripted_agent.http_url}\n") as run:
        assert len(run.children()) == 1
        assert await ask(run, "a word that comes back") == "a word that comes back"


async def test_function_that_env_names_answers(tmp_path):
    (tmp_path / "own_agent.py").write_text(FUNCTION)
    with running(tmp_path, "GATEWAY__AGENT_PROTOCOL=own_agent.answer\n") as run:
        assert len(run.children()) == 1
        assert await ask(run, "hello") == "A function says: hello"


@pytest.mark.parametrize(
    ("settings", "is_named"),
    [
        ({}, False),
        ({"GATEWAY__AGENT_PROTOCOL": "agent"}, False),
        ({"GATEWAY__AGENT_API_KEY": "key"}, False),
        ({"GATEWAY__AGENT_PROTOCOL": "openai"}, True),
        ({"GATEWAY__AGENT_URL": "http://127.0.0.1:8001"}, True),
        ({"GATEWAY__AGENT_URL_FILE": "/run/secrets/agent_url"}, True),
    ],
)
def test_settings_that_name_an_agent(settings, is_named):
    assert names_agent(settings) is is_named


def test_an_agent_that_ends_is_named_and_ends_everything(tmp_path):
    with running(tmp_path) as run:
        agent, _gateway = run.children()
        os.kill(agent, signal.SIGKILL)
        said, _ = run.process.communicate(timeout=processes.STOP_SECONDS)
    assert run.process.returncode == 1
    assert "The demo agent has stopped, so everything is being stopped." in said


async def test_ctrl_c_ends_at_once_what_is_still_ending(tmp_path):
    with running(tmp_path) as run:
        agent, gateway = run.children()
        async with SocketClient(f"ws://127.0.0.1:{run.port}/ws/s/") as browser:
            await browser.say("count to 1000")
            await browser.frame_of("assistant_message")
            os.kill(agent, signal.SIGKILL)  # the gateway waits for the answer to go on
            while await asyncio.to_thread(state, run.port) != "draining":
                await asyncio.sleep(0.1)
            run.process.send_signal(signal.SIGINT)
            code = await asyncio.to_thread(run.process.wait)
    assert code == 1, "its own code, not that of a KeyboardInterrupt"
    assert not Path(f"/proc/{gateway}").exists()


def test_with_an_agent_of_ones_own_no_demo_agent_is_started():
    port = processes.free_port()
    env = processes.environment(PORT=str(port), GATEWAY__AGENT_PROTOCOL="openai", GATEWAY__TRANSCRIPTS="false")
    command = [sys.executable, "-m", "gateway_project.run"]
    with subprocess.Popen(command, cwd=processes.ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        try:
            while f"Open http://127.0.0.1:{port}/" not in running.stdout.readline():
                assert running.poll() is None
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=processes.STOP_SECONDS)
    assert len(children) == 1
