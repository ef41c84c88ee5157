"""Viewers keep up with an answer that is stored."""

import asyncio

import pytest

from relay.turns.log_sink import let_viewers_catch_up


@pytest.mark.parametrize(("frames", "iterations"), [(1, 0), (31, 0), (32, 1), (63, 1), (64, 2), (320, 10)])
async def test_viewers_run_as_often_as_an_event_stream_needs_for_the_frames(frames, iterations):
    giving_way = asyncio.ensure_future(let_viewers_catch_up(frames))
    await asyncio.sleep(0)  # it starts
    seen = 0
    while not giving_way.done():
        await asyncio.sleep(0)
        seen += 1
    assert seen == iterations
