"""Answers that come faster than anything is done with them, many times longer than the log is allowed to be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests import processes
from tests.buffer.redis_store import server_url
from tests.clients import LIMIT_SECONDS, V1, Client, SocketClient, text_of
from tests.e2e.test_events import KEY, events

MAX_FRAMES = 1_000
TOKENS = 6_000
ANSWER = "".join(f"{number} " for number in range(TOKENS))


@pytest.fixture(scope="module", params=["memory", "redis"])
def small_log(request: pytest.FixtureRequest, server: str, scripted_agent: processes.Process) -> Iterator[str]:
    """A gateway whose log holds a part of the answer; give its port."""
    store = {"REDIS_URL": server_url()} if request.param == "redis" else {}
    with processes.gateway(server, scripted_agent.http_url, BUFFER_SIZE=str(MAX_FRAMES), **store) as gateway:
        yield f"127.0.0.1:{gateway.port}"


async def whole_answer(viewer: Client) -> str:
    """The answer as it came, frame by frame; a snapshot in between, or a socket that is closed, fails the test."""
    frames = await viewer.turn()
    assert {frame["type"] for frame in frames} <= {"welcome", "accepted", "user_message", "assistant_message"}
    assert len([frame for frame in frames if frame["type"] == "assistant_message"]) == TOKENS + 1
    return text_of(frames)


@pytest.mark.needs("full speed")
async def test_viewers_that_read_are_not_overtaken_by_an_answer_at_full_speed(small_log, server):
    """Plain ones, resumable ones and event streams see every token, though the log holds a few of them at a time."""
    session_id = f"full-speed-{server}"
    url = f"ws://{small_log}/ws/{session_id}/"
    async with AsyncExitStack() as leaving:
        dialects = [None, [V1], None, [V1]]
        viewers = [await leaving.enter_async_context(SocketClient(url, dialect)) for dialect in dialects]
        http = await leaving.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{small_log}", headers=KEY, timeout=LIMIT_SECONDS, trust_env=False)
        )
        streams = [await leaving.enter_async_context(events(http, session_id)) for _ in range(2)]
        for stream in streams:
            assert (await stream.frame())["type"] == "welcome"
        await viewers[0].say(f"script:burst {TOKENS}")
        assert set(await asyncio.gather(*map(whole_answer, [*viewers, *streams]))) == {ANSWER}
