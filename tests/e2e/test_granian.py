"""Each frame goes out once under Granian, whose ``send`` has sent when it returns, and returns no coroutine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.e2e.test_events import KEY, events

TOKENS = [f"{number} " for number in range(40)]


@pytest.fixture(scope="module")
def service(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("granian", scripted_agent.http_url) as gateway:
        yield gateway


@pytest.mark.parametrize("script", ["tokens 40", "tokens 40 delay=0.01", "burst 40"])
async def test_each_frame_goes_out_once(plain, v1, service, script):
    session_id = re.sub(r"\W", "-", script)
    async with (
        httpx.AsyncClient(base_url=service.http_url, headers=KEY, timeout=LIMIT_SECONDS, trust_env=False) as http,
        plain(session_id) as socket,
        v1(session_id) as resumable,
        events(http, session_id) as stream,
    ):
        assert (await stream.frame())["type"] == "welcome"  # from here on it misses nothing
        await socket.say(f"script:{script}")
        assert spoken(await socket.turn()) == TOKENS
        assert await socket.ask("the end") == "the end"  # a second end of the answer before it would be this one's
        for viewer in (resumable, stream):
            frames = await viewer.turn() + await viewer.turn()
            assert spoken(frames) == [*TOKENS, "the ", "end"]
            offsets = [frame["offset"] for frame in frames if frame["type"] not in ("welcome", "accepted")]
            assert offsets == list(range(1, len(offsets) + 1))


def spoken(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["token"] for frame in frames if frame.get("token")]
