"""Processes of the server under a test application, and questions to them."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Process

ARGUMENTS = ["-m", "tests.server.application", "--port", "{port}"]


@pytest.fixture(scope="module")
def service() -> Iterator[Process]:
    """The test application with the limits as they are."""
    with Process(ARGUMENTS) as process:
        yield process


@pytest.fixture(scope="module")
def impatient(request: pytest.FixtureRequest) -> Iterator[Process]:
    """The test application, which looks often, and has the short times that the test names by ``short``."""
    with Process([*ARGUMENTS, "WATCH_SECONDS=0.1", *request.param]) as process:
        yield process


def short(**limits: float) -> pytest.MarkDecorator:
    """Name the limits of ``impatient``: those that the test is about, and which none of its own steps has to beat.

    All others are as they are, so that no client is cut off because the machine stood still for some seconds.
    """
    words = [f"{name}={value}" for name, value in limits.items()]
    return pytest.mark.parametrize("impatient", [words], indirect=True, ids=[",".join(words)])


def state(process: Process) -> dict[str, Any]:
    """What the test application says of itself."""
    with urllib.request.urlopen(f"{process.http_url}/state", timeout=60) as response:
        return json.load(response)


def release(process: Process) -> None:
    """Let the applications that wait for it go on."""
    with urllib.request.urlopen(f"{process.http_url}/release", timeout=60):
        pass


def open_files(process: Process) -> int:
    """How many file descriptors a process has."""
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


@asynccontextmanager
async def without_files(process: Process, address: tuple[str, int]) -> AsyncIterator[None]:
    """Connections take the last files that a process may open; it says so."""
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    few = open_files(process) + 10
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (few, limits[1]))
    said_before = process.output()
    try:
        with ExitStack() as clients:
            async with asyncio.timeout(60):
                while "accepted: Too many open files" not in process.output().removeprefix(said_before):
                    clients.enter_context(await asyncio.to_thread(socket.create_connection, address))
            yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)


async def until(condition: Callable[[], bool], limit_seconds: float = 60) -> None:
    """Wait for a condition that can only be asked for."""
    async with asyncio.timeout(limit_seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)
