"""Agents by the packages in ``sdk/``, each in a process of its own, before a gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import processes

SDK = processes.ROOT / "sdk"
PROGRAMS = processes.ROOT / "tests/sdk/programs"
PYTHON_PATH = str(SDK / "python/src")


def uvicorn_agent(application: str, folder: str, **env: str) -> processes.Process:
    """An ASGI application of a folder, under uvicorn, with our package to be imported."""
    arguments = ["-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "--app-dir", folder, application]
    return processes.Process(arguments, "/", PYTHONPATH=PYTHON_PATH, AGENT_KEY=processes.KEY, **env)


@pytest.fixture(scope="module")
def python_agent() -> Iterator[processes.Process]:
    with uvicorn_agent("python_agent:app", str(PROGRAMS), CANCEL_SECONDS="0.2") as agent:
        yield agent
