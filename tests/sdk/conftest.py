"""Agents by the packages in ``sdk/``, each in a process of its own, before a gateway."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests import processes

SDK = processes.ROOT / "sdk"
PROGRAMS = processes.ROOT / "tests/sdk/programs"
PYTHON_PATH = str(SDK / "python/src")

Start = Callable[[str], processes.Process]


def uvicorn_agent(application: str, folder: str, **env: str) -> processes.Process:
    """An ASGI application of a folder, under uvicorn, with our package to be imported."""
    arguments = ["-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "--app-dir", folder, application]
    return processes.Process(arguments, "/", PYTHONPATH=PYTHON_PATH, AGENT_KEY=processes.KEY, **env)


def node_agent(program: str, **env: str) -> processes.Process:
    """A program under Node.js, which gets its port as an argument."""
    return processes.Process([program, "{port}"], "/", python="node", AGENT_KEY=processes.KEY, **env)


@pytest.fixture(scope="module")
def start_agent() -> Iterator[Start]:
    """Start the agent of one of the packages, unless it runs."""
    with ExitStack() as stack:

        @functools.cache
        def start(package: str) -> processes.Process:
            if package == "python":
                agent = uvicorn_agent("python_agent:app", str(PROGRAMS))
            else:
                agent = node_agent(str(PROGRAMS / "node_agent.mjs"))
            return stack.enter_context(agent)

        yield start
