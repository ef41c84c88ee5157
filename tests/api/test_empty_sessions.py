"""Sessions that are only watched: reading begins none, and what was watched leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import channel_layers
from redis.asyncio import Redis

from relay.process import lifecycle
from tests.clients import V1, CommunicatorClient
from tests.faults.valkey import Valkey
from tests.http_clients import API, HttpClient
from tests.scripted_agent import Final, Token

HANDSHAKES = 40


async def listed(http: HttpClient) -> list[str]:
    return [session["session_id"] for session in (await http.get(API)).json()["sessions"]]


async def test_session_that_is_watched_is_listed_from_its_first_message_on(v1, http, agent):
    agent.script = [Token("a"), Final()]
    async with v1() as browser, http.events() as stream:
        welcome = await browser.frame()
        assert (await stream.frame())["epoch"] == welcome["epoch"]
        assert await listed(http) == []
        for path in (f"{API}/s", f"{API}/s/frames"):
            assert (await http.get(path)).status == 404
        assert (await http.delete(f"{API}/s/viewers")).json() == {"viewers": 2}
    async with v1() as browser:
        welcome = await browser.frame()
        await browser.ask("x")
        assert await listed(http) == ["s"]
        assert (await http.get(f"{API}/s")).json()["epoch"] == welcome["epoch"]


@pytest.mark.parametrize("ask", [f"{API}/s/events", f"{API}/s", f"{API}/s/frames?offset=0", f"{API}/s/turns"])
async def test_reading_begins_no_session(http, ask):
    async with http.open("GET", ask) as (answer, chunks):
        if answer.status == 200:
            await anext(chunks)
        assert await listed(http) == []
    assert await listed(http) == []
    assert await lifecycle.session_layer().get("s") is None


async def test_a_history_that_is_read_over_a_socket_begins_no_session(v1, http):
    async with v1() as browser:
        await browser.send({"type": "history"})
        assert (await browser.frame_of("history"))["turns"] == []
        assert await listed(http) == []
    assert await lifecycle.session_layer().get("s") is None


async def test_session_that_is_watched_can_be_deleted(v1, http):
    async with v1() as browser:
        await browser.frame_of("welcome")
        assert (await http.delete(f"{API}/s")).status == 204
        assert (await browser.frame())["code"] == "session_deleted"
    assert (await http.delete(f"{API}/s")).status == 404


async def test_one_more_than_may_be_watched_is_told_to_come_back(v1, plain, http, configure):
    configure(MAX_EMPTY_SESSIONS="1")
    async with v1("first") as first:
        await first.frame_of("welcome")
        async with v1("second") as second:
            leaving = await second.frame()
            assert (leaving["code"], leaving["reconnect"]) == ("store_unavailable", True)
            assert await second.close_code() == 4503
        async with plain("second") as second:
            assert not second.is_accepted
        assert (await http.post(f"{API}/third/messages", {"content": "x"})).status == 202
        await first.ask("x")
        async with v1("second") as second:
            await second.frame_of("welcome")


@pytest.fixture
async def store(application: Any, settings: Any) -> AsyncIterator[Redis]:
    with Valkey() as server:
        backend = {"BACKEND": "relay.layers.redis.RedisSessionLayer", "CONFIG": {"url": server.url}}
        settings.CHANNEL_LAYERS = {"default": backend}
        channel_layers.backends = {}
        async with Redis.from_url(server.url) as redis:
            yield redis
        await lifecycle.stop()


async def test_handshakes_leave_nothing_that_lasts_in_the_store(application, http, store):
    async def come(session_id: str, subprotocols: list[str] | None = None) -> None:
        async with CommunicatorClient(application, f"/ws/{session_id}/", subprotocols) as browser:
            assert browser.is_accepted

    async def stream(session_id: str) -> None:
        async with http.events(session_id) as events:
            await events.frame_of("welcome")

    async def all_of(kind: str) -> None:
        for number in range(HANDSHAKES):
            session_id = f"{kind}{number}"
            await asyncio.gather(come(session_id), come(session_id, [V1]), stream(session_id))

    await all_of("session")
    # A read that arrives after its viewer has left starts the session once more; it lapses as a silent viewer does.
    lapses_ms = 1_000 * (lifecycle.session_layer().bounds.viewer_seconds + 1)
    lifetimes = [await store.pttl(key) for key in await store.keys("*") if b"session" in key]
    assert all(0 < lifetime <= lapses_ms for lifetime in lifetimes)
