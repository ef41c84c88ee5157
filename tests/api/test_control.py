"""What operators do over REST, seen by those who watch."""

from __future__ import annotations

import asyncio

import pytest

from relay.exceptions import StoreUnavailable
from relay.process import lifecycle
from tests.clients import LIMIT_SECONDS
from tests.http_clients import API
from tests.scripted_agent import Stall, Token

NOTICE = {"type": "notice", "code": "operator", "content": "We restart at six."}


@pytest.fixture
async def gateway(application):
    gateway = await lifecycle.current()
    async with asyncio.timeout(LIMIT_SECONDS):
        await gateway.control.listening()
    return gateway


async def test_disconnect_sends_viewers_of_one_session_away_for_good(plain, v1, http, gateway):
    async with v1("s") as kicked, plain("s") as old, v1("other") as other, http.events("s") as events:
        for browser in (kicked, other, events):
            await browser.frame_of("welcome")
        answer = await http.delete(f"{API}/s/viewers")
        assert (answer.status, answer.json()) == (202, {"viewers": 3})
        for browser in (kicked, events):
            leaving = await browser.frame_of("disconnect")
            assert (leaving["code"], leaving["reconnect"], leaving["delay_ms"]) == ("kicked", False, 0)
        assert await kicked.close_code() == 4403
        assert await old.close_code() == 4403
        assert await other.ask("still here") == "still here"


async def test_a_kicked_event_stream_is_told_not_to_come_back(http, gateway):
    async with http.events("s") as events:
        await events.frame_of("welcome")
        await http.delete(f"{API}/s/viewers")
        await events.frame_of("disconnect")
        assert events.last_event_id == "closed"
        assert await events.rest() == b""


async def test_disconnecting_nobody_is_no_error(http, gateway):
    assert (await http.delete(f"{API}/nobody/viewers")).json() == {"viewers": 0}


async def test_notice_reaches_v1_clients_of_every_session_and_no_plain_one(plain, v1, http, gateway):
    async with v1("a") as first, v1("b") as second, plain("a") as old, http.events("b") as events:
        for browser in (first, second, events):
            await browser.frame_of("welcome")
        answer = await http.post("/api/v1/notice", {"content": NOTICE["content"]})
        assert answer.status == 202
        for browser in (first, second, events):
            assert await browser.frame_of("notice") == NOTICE
        assert await old.ask("and plain goes on") == "and plain goes on"


async def test_notice_is_not_in_the_log_and_loses_no_frame(v1, http, gateway, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser, http.events() as events:
        await browser.say("x")
        await events.frame_of("assistant_message")
        await http.post("/api/v1/notice", {"content": NOTICE["content"]})
        assert await events.frame() == NOTICE
        await browser.cancel()
        assert (await events.turn())[-1]["offset"] == 3


async def test_notice_for_one_session_leaves_others_alone(v1, http, gateway):
    async with v1("a") as first, v1("b") as second:
        for browser in (first, second):
            await browser.frame_of("welcome")
        await http.post("/api/v1/notice", {"content": NOTICE["content"], "session_id": "a"})
        assert await first.frame_of("notice") == NOTICE
        assert await second.is_quiet()


@pytest.mark.parametrize(
    "body", [{}, {"content": " "}, {"content": 5}, {"content": "x", "session_id": ".."}, b"no", []]
)
async def test_notice_without_words_is_refused(http, body):
    answer = await http.post("/api/v1/notice", body)
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")


async def test_cleared_queue_ends_its_turns_without_the_agent(v1, http, agent, gateway):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        await browser.say("running")
        await browser.frame_of("assistant_message")
        for content in ("first", "second"):
            await browser.say(content)
            await browser.frame_of("accepted")
        answer = await http.delete(f"{API}/s/queue")
        assert (answer.status, answer.json()) == (200, {"cancelled": 2})
        await browser.cancel()
        endings = [(await browser.turn())[-1]["finish_reason"] for _ in range(3)]
        assert endings == ["cancelled"] * 3
    assert [request.content for request in agent.requests] == ["running"]


async def test_queue_of_no_session_is_empty(http, gateway):
    assert (await http.delete(f"{API}/nobody/queue")).json() == {"cancelled": 0}


@pytest.mark.parametrize("body", [None, {"everywhere": False}, {"everywhere": True}])
async def test_drain_ends_the_process_as_its_manager_would(http, gateway, monkeypatch, body):
    ended = asyncio.Event()
    for module in ("relay.process.control", "relay.web.operator_api"):
        monkeypatch.setattr(f"{module}.end_process", ended.set)
    assert (await http.post("/api/v1/drain", body)).status == 202
    async with asyncio.timeout(LIMIT_SECONDS):
        await ended.wait()


async def test_drain_with_a_wrong_wish_is_refused(http, gateway):
    assert (await http.post("/api/v1/drain", {"everywhere": "yes"})).status == 400


async def test_orders_that_cannot_be_sent_are_refused(http, gateway, monkeypatch):
    async def unreachable(*args):
        raise StoreUnavailable

    monkeypatch.setattr(gateway.layer, "publish_order", unreachable)
    answer = await http.post("/api/v1/notice", {"content": "x"})
    assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")


async def test_order_of_a_newer_version_is_left_out(v1, gateway):
    async with v1() as browser:
        await browser.frame_of("welcome")
        await gateway.control._send(order="dance")
        await gateway.control.notify("x")
        assert (await browser.frame_of("notice"))["content"] == "x"


async def test_order_that_comes_while_the_process_stops_is_not_followed(gateway, monkeypatch):
    """A second SIGTERM would shorten the drain."""
    ended = asyncio.Event()
    monkeypatch.setattr("relay.process.control.end_process", ended.set)
    await gateway.control.stop()
    await gateway.control.drain()
    assert not ended.is_set()
