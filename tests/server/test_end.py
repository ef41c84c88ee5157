"""The end of a process comes, whatever the hooks of its server do."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.processes import Process
from tests.server.conftest import ARGUMENTS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--drain", "cancelled"], "drain failed"),
        (["--stop", "cancelled"], "shutdown step failed"),
        (["--stop", "stand_still", "STOP_SECONDS=0.1"], "not ended within 0.1 s, at EndingServer.on_stop"),
        (["--stop", "leave_thread", "THREADS_SECONDS=0.1"], "thread does not end"),
    ],
)
async def test_a_hook_that_fails_or_stands_still_does_not_keep_the_process(options, words):
    with Process([*ARGUMENTS, *options]) as process:
        process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
        assert words in process.output()


async def test_an_end_without_trouble_says_nothing():
    with Process(ARGUMENTS) as process:
        process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
        assert process.output() == ""
