"""Processes of the server under a test application, and questions to them."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
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
def impatient() -> Iterator[Process]:
    """The test application with short times."""
    times = [
        "ACCEPT_SECONDS=1",
        "CLOSE_SECONDS=1",
        "ENDING_SECONDS=0.5",
        "STALLED_SECONDS=1",
        "LINGER_SECONDS=1",
        "HUNG_SECONDS=1",
    ]
    beats = ["PING_SECONDS=0.2", "PONG_SECONDS=1", "MESSAGE_SECONDS=1", "WATCH_SECONDS=0.1"]
    requests = ["HEAD_SECONDS=1", "BODY_SECONDS=1"]
    with Process([*ARGUMENTS, *times, *beats, *requests]) as process:
        yield process


def state(process: Process) -> dict[str, Any]:
    """What the test application says of itself."""
    with urllib.request.urlopen(f"{process.http_url}/state", timeout=10) as response:
        return json.load(response)


async def until(condition: Callable[[], bool], limit_seconds: float = 20) -> None:
    """Wait for a condition that can only be asked for."""
    async with asyncio.timeout(limit_seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)
