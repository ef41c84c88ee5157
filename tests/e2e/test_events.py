"""The log as server-sent events over real servers: what only they can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS, text_of
from tests.http_clients import API, EventReader

KEY = {"X-Internal-Auth": processes.KEY}


@pytest.fixture
async def http(service: processes.Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=service.http_url, headers=KEY, timeout=LIMIT_SECONDS, trust_env=False
    ) as client:
        yield client


@asynccontextmanager
async def events(http: httpx.AsyncClient, session_id: str, last_event_id: str = "") -> AsyncIterator[EventReader]:
    async with http.stream("GET", f"{API}/{session_id}/events", headers={"Last-Event-ID": last_event_id}) as response:
        assert response.status_code == 200
        yield EventReader(response.aiter_raw())


async def converse(http: httpx.AsyncClient, session_id: str) -> None:
    """Let something be said and answered, because a session that is only watched is not listed."""
    await http.post(f"{API}/{session_id}/messages", json={"content": "script:tokens 1"})
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await has_ended(http, session_id):
            await asyncio.sleep(0.01)


async def has_ended(http: httpx.AsyncClient, session_id: str) -> bool:
    """Was something said, and is every answer in the log to its end?"""
    page = (await http.get(f"{API}/{session_id}")).json()
    return page.get("offset", 0) > 1 and page["active"] is None and not page["queued"]


async def viewers(http: httpx.AsyncClient, session_id: str) -> int:
    sessions = (await http.get(API, params={"limit": 1_000})).json()["sessions"]
    return next(session["viewers"] for session in sessions if session["session_id"] == session_id)


async def wait_for_viewers(http: httpx.AsyncClient, session_id: str, wanted: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while await viewers(http, session_id) != wanted:
            await asyncio.sleep(0.01)


async def test_message_over_rest_is_answered_over_events(http, server):
    session_id = f"events-{server}"
    async with events(http, session_id) as stream:
        assert (await stream.frame())["type"] == "welcome"
        answer = await http.post(f"{API}/{session_id}/messages", json={"content": "hello zwölf 🙂"})
        assert answer.status_code == 202
        assert await stream.answer() == "hello zwölf 🙂"


async def test_quiet_stream_shows_signs_of_life(http, server):
    await converse(http, f"quiet-{server}")
    async with events(http, f"quiet-{server}") as stream:
        await stream.frame()
        for _ in range(4):
            assert (await stream.entry()).comment == ""
        assert await viewers(http, f"quiet-{server}") == 1


async def test_client_that_leaves_is_taken_out_at_once(http, server):
    session_id = f"leave-{server}"
    await converse(http, session_id)
    async with events(http, session_id) as one:
        await one.frame()
        async with events(http, session_id) as two:
            await two.frame()
            assert await viewers(http, session_id) == 2
        await wait_for_viewers(http, session_id, 1)
    await wait_for_viewers(http, session_id, 0)


async def test_client_that_leaves_in_mid_answer_is_taken_out_and_resumes(http, server):
    session_id = f"cut-{server}"
    seen: list[dict[str, Any]] = []
    last_event_id = ":0"
    for visit in range(5):
        async with events(http, session_id, last_event_id) as stream:
            await stream.frame()
            if visit == 0:
                await http.post(f"{API}/{session_id}/messages", json={"content": "script:tokens 10 delay=0.02"})
            seen += [await stream.frame() for _ in range(3 if visit < 4 else 1)]
            last_event_id = stream.last_event_id
        await wait_for_viewers(http, session_id, 0)
    assert [frame["offset"] for frame in seen] == list(range(1, 14))
    assert text_of(seen) == "".join(f"{number} " for number in range(10))


async def test_deleted_session_ends_the_stream_and_is_not_come_back_to(http, server):
    session_id = f"deleted-{server}"
    async with events(http, session_id) as stream:
        await stream.frame()
        assert (await http.delete(f"{API}/{session_id}")).status_code == 204
        assert (await stream.frame_of("disconnect"))["reconnect"] is False
        assert await stream.rest() == b""
    again = await http.get(f"{API}/{session_id}/events", headers={"Last-Event-ID": stream.last_event_id})
    assert again.status_code == 204


async def test_streams_hold_no_threads(http, service, server):
    async with asyncio.timeout(LIMIT_SECONDS):
        streams = [events(http, f"threads-{server}") for _ in range(30)]
        for stream in streams:
            await (await stream.__aenter__()).frame()
        with Path(f"/proc/{service.pid}/status").open() as status:
            threads = next(int(line.split()[1]) for line in status if line.startswith("Threads:"))
        for stream in streams:
            await stream.__aexit__(None, None, None)
    assert threads < 20


async def test_foreign_origin_is_allowed_by_its_setting(server, scripted_agent):
    allowed = "https://chat.example,https://*.example.com:8443"
    with processes.gateway(server, scripted_agent.http_url, ALLOWED_ORIGINS=allowed) as gateway:
        async with httpx.AsyncClient(base_url=gateway.http_url, trust_env=False, timeout=LIMIT_SECONDS) as http:
            for origin, is_allowed in (
                ("https://chat.example", True),
                ("https://a.b.example.com:8443", True),
                ("https://example.com:8443", False),
                ("https://a.example.com", False),
                ("http://chat.example", False),
                ("https://chat.example.evil", False),
                ("https://evil-chat.example", False),
            ):
                preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}
                for answer in (
                    await http.options(f"{API}/s", headers=preflight),
                    await http.get(f"{API}/s", headers={"Origin": origin}),
                ):
                    assert answer.headers.get("access-control-allow-origin") == (origin if is_allowed else None)
