"""What the runner does beside the turns: it waits for a store that is away, and gives way to the viewers."""

import asyncio
import logging

import pytest

from relay.exceptions import StoreUnavailable
from relay.turns import runner


@pytest.mark.parametrize(
    ("failures", "log"),
    [
        (0, []),
        (
            1,
            [
                (logging.WARNING, "turn start or end waits for the store: full"),
                (logging.INFO, "turn start or end stored after 2 attempts"),
            ],
        ),
        (
            3,
            [
                (logging.WARNING, "turn start or end waits for the store: full"),
                (logging.INFO, "turn start or end stored after 4 attempts"),
            ],
        ),
    ],
)
async def test_an_outage_is_logged_once_and_so_is_its_end(monkeypatch, caplog, failures, log):
    monkeypatch.setattr(runner, "OUTAGE_PAUSE_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    outcomes = [StoreUnavailable("full")] * failures

    async def call():
        if outcomes:
            raise outcomes.pop()
        return "stored"

    assert await runner._retry_until_stored(call) == "stored"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == log


@pytest.mark.parametrize(("frames", "iterations"), [(1, 0), (31, 0), (32, 1), (63, 1), (64, 2), (320, 10)])
async def test_viewers_run_as_often_as_an_event_stream_needs_for_the_frames(frames, iterations):
    giving_way = asyncio.ensure_future(runner._let_viewers_catch_up(frames))
    await asyncio.sleep(0)  # it starts
    seen = 0
    while not giving_way.done():
        await asyncio.sleep(0)
        seen += 1
    assert seen == iterations
