"""Answers that are kept: read on behind any event, stopped, and gone on with by a gateway whose connection breaks."""

from __future__ import annotations

import httpx
import pytest

from relay.protocol.event_stream import EventStreamDecoder
from tests.clients import LIMIT_SECONDS
from tests.sdk.test_agents import KEY
from tests.server.conftest import until

PLACES = {"alone": ("python", "/kept/agent"), "django": ("python", "/django/kept"), "node": ("javascript", "/kept")}
HELLO = {"session_id": "s", "content": "hello"}


@pytest.fixture(scope="module", params=PLACES.values(), ids=PLACES)
def place(request):
    return request.param


@pytest.fixture(scope="module")
def agent(place, start_agent):
    return start_agent(place[0])


@pytest.fixture
def path(place):
    return place[1]


@pytest.fixture
async def http(agent):
    async with httpx.AsyncClient(base_url=agent.http_url, timeout=LIMIT_SECONDS, headers=KEY) as client:
        yield client


def events(response):
    assert response.status_code == 200
    return EventStreamDecoder(1_000_000).feed(response.content)


async def test_answer_is_read_on_behind_any_event(http, path):
    asked = await http.post(path, json=HELLO, headers={"Idempotency-Key": "turn-1"})
    assert asked.headers["x-agent-resume"] == "1"
    whole = events(asked)
    assert [event.last_event_id for event in whole] == ["1", "2", "3", "4", "5"]
    assert events(await http.get(f"{path}/turn-1")) == whole
    for number in range(6):
        rest = await http.get(f"{path}/turn-1", headers={"Last-Event-ID": str(number)})
        assert events(rest) == whole[number:]
    for cursor in ("6", "x"):
        gone = await http.get(f"{path}/turn-1", headers={"Last-Event-ID": cursor})
        assert gone.status_code == 410


async def test_answer_goes_on_without_its_reader_until_it_is_stopped(http, path, agent):
    cancelled = agent.output().count("work cancelled")
    message = {"session_id": "s", "content": "wait"}
    async with http.stream("POST", path, json=message, headers={"Idempotency-Key": "turn-2"}) as response:
        await anext(response.aiter_bytes())
    async with http.stream("GET", f"{path}/turn-2") as response:
        async for part in response.aiter_bytes():
            if b"still there" in part:
                break
    assert agent.output().count("work cancelled") == cancelled
    assert (await http.delete(f"{path}/turn-2")).status_code == 200
    await until(lambda: agent.output().count("work cancelled") > cancelled)
    rest = await http.get(f"{path}/turn-2", headers={"Last-Event-ID": "1"})
    assert events(rest) == []


async def test_what_is_not_known_or_not_allowed_is_refused(http, path):
    assert (await http.get(f"{path}/turn-0")).status_code == 404
    assert (await http.delete(f"{path}/turn-0")).status_code == 404
    assert (await http.put(path)).status_code == 405
    assert (await http.get(f"{path}/turn-0", headers={"X-Internal-Auth": "x"})).status_code == 401
    plain = await http.post(path, json=HELLO)
    assert [event.last_event_id for event in events(plain)] == [""] * 5
