"""What happens moves the metric that names it, and no other that must stay 0."""

from __future__ import annotations

import asyncio

import pytest

from relay.process import lifecycle
from tests import scraping
from tests.clients import LIMIT_SECONDS
from tests.http_clients import API
from tests.processes import KEY
from tests.scripted_agent import Event, Final, Send, Stall, Status, Token, event_bytes, final_value, token_value


@pytest.fixture
def counted():
    """What was counted since the test began."""
    before = scraping.here()
    yield lambda: scraping.here().since(before)
    assert not scraping.here().since(before).wrong()


async def test_metrics_are_prometheus_text_behind_the_key(http, configure):
    assert (await http.request("GET", "/metrics", key=None)).status == 401
    answer = await http.get("/metrics")
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert scraping.Scrape(answer.body.decode())["python_info"] == 1
    assert (await http.post("/metrics")).status == 405


@pytest.mark.parametrize(
    ("credential", "status"),
    [(f"Bearer {KEY}", 200), (f"bearer  {KEY}", 200), (f"Bearer {KEY}x", 401), (f"Basic {KEY}", 401), ("Bearer ", 401)],
)
async def test_prometheus_may_present_the_key_as_bearer_and_only_there(http, credential, status):
    headers = {"Authorization": credential}
    assert (await http.request("GET", "/metrics", key=None, headers=headers)).status == status
    assert (await http.request("GET", "/api/v1/sessions", key=None, headers=headers)).status == 401


async def test_metrics_may_be_opened_by_a_setting(http, configure):
    configure(METRICS_OPEN="true")
    assert (await http.request("GET", "/metrics", key=None)).status == 200
    assert (await http.request("GET", "/metrics/x", key=None)).status == 401


async def test_openmetrics_is_given_to_who_asks_for_it(http):
    answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


async def test_an_answered_turn(v1, agent, counted):
    agent.script = [Token(""), Token("a"), Token("b"), Token("c"), Final()]
    async with v1() as browser:
        assert counted()['gateway_sockets{dialect="gateway.v1"}'] == 1
        await browser.say("x")
        await browser.turn()
        await browser.say("x", client_message_id="one")
        await browser.turn()
        await browser.say("x", client_message_id="one")
        await browser.frame_of("accepted")
    change = counted()
    assert change['gateway_turns_total{reason="answered"}'] == 2
    assert change["gateway_tokens_total"] == 6  # the empty ones are none
    assert change["gateway_turn_first_token_seconds_count"] == 2
    assert change["gateway_turn_duration_seconds_count"] == 2
    assert change["gateway_queue_wait_seconds_count"] == 2
    assert change["gateway_queue_depth_turns_count"] == 2
    assert change['gateway_messages_total{result="accepted"}'] == 2
    assert change['gateway_messages_total{result="duplicate"}'] == 1
    assert change['gateway_upstream_requests_total{status="200"}'] == 2
    assert change['gateway_resumes_total{result="new"}'] == 1
    assert change["gateway_turns_running"] == 0
    assert change["gateway_sockets"] == 0


async def test_a_turn_in_flight_is_counted_as_running(v1, agent, counted):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        assert counted()["gateway_turns_running"] == 1
        await browser.cancel()
        await browser.turn()
    assert counted()['gateway_turns_total{reason="cancelled"}'] == 1


async def test_an_agent_that_refuses(v1, agent, counted):
    agent.script = [Status(429)]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert counted()['gateway_upstream_requests_total{status="429"}'] == 1
    assert counted()['gateway_turns_total{reason="upstream_unavailable"}'] == 1


async def test_an_agent_that_is_not_there(v1, agent, counted, monkeypatch):
    refused = 'gateway_upstream_requests_total{status="refused"}'
    agent.refuse()
    async with v1() as browser, asyncio.timeout(LIMIT_SECONDS):
        monkeypatch.setattr("relay.agent.asking.CONNECT_SECONDS", 3600.0)
        await browser.say("it is asked again and again")
        while counted()[refused] < 2:
            await asyncio.sleep(0.01)
        await browser.cancel()
        await browser.turn()
        before = counted()[refused]
        monkeypatch.setattr("relay.agent.asking.CONNECT_SECONDS", 0.0)
        await browser.say("it is asked once")
        await browser.turn()
    assert counted()[refused] == before + 1
    assert counted()['gateway_turns_total{reason="upstream_unavailable"}'] == 1


async def test_an_agent_that_says_what_it_must_not(v1, agent, counted):
    agent.script = [Event({"type": "welcome"}), Send(event_bytes(final_value()) + event_bytes(token_value("late")))]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert counted()['gateway_upstream_events_skipped_total{cause="reserved"}'] == 1
    assert counted()["gateway_upstream_events_late_total"] == 1


async def test_a_refused_message(v1, counted):
    async with v1() as browser:
        await browser.send({"type": "user_message"})
        await browser.frame_of("error")
    assert counted()['gateway_messages_total{result="bad_request"}'] == 1


async def test_a_message_over_rest(http, agent, counted):
    agent.script = [Stall()]
    assert (await http.post(f"{API}/s/messages", {"content": "x"})).status == 202
    assert (await http.post(f"{API}/s/messages", {"content": "x", "on_busy": "reject"})).status == 409
    assert counted()['gateway_messages_total{result="accepted"}'] == 1
    assert counted()['gateway_messages_total{result="session_busy"}'] == 1


async def test_a_viewer_that_comes_back(v1, ended, counted):
    async with v1(query=f"epoch={ended}&offset=20"):
        pass
    async with v1(query=f"epoch={ended}&offset=1"):
        pass
    assert counted()['gateway_resumes_total{result="recovered"}'] == 1
    assert counted()['gateway_resumes_total{result="gap"}'] == 1


async def test_a_drain(v1, counted):
    async with v1() as browser:
        await browser.frame_of("welcome")
        await lifecycle.drain()
        assert scraping.here()["gateway_draining"] == 1
        await browser.frame_of("disconnect")
    assert counted()['gateway_disconnects_total{code="server_restart"}'] == 1


async def test_a_message_over_the_sessions_rate(v1, counted, configure):
    configure(RATE_LIMIT="1")
    async with v1() as browser:
        for _ in range(3):
            await browser.say("x")
        await browser.frame_of("error")
        await browser.frame_of("error")
    limited = counted()['gateway_rate_limited_total{what="session_messages"}']
    assert (
        limited == counted()["gateway_rate_limited_total"] == counted()['gateway_messages_total{result="rate_limited"}']
    )
    assert limited >= 2
