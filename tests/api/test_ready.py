"""``/ready``: red when answers cannot flow, green again; each check once, however often it is asked."""

from __future__ import annotations

import asyncio

import pytest

from relay.exceptions import StoreUnavailable
from relay.process import lifecycle, readiness
from tests import scraping
from tests.certificates import certificate
from tests.clients import LIMIT_SECONDS
from tests.scripted_agent import Stall, Token
from tests.tcp_server import TcpServer

GREEN = {"store": True, "announcements": True, "agent": True, "draining": True}


async def ready(http):
    answer = await http.request("GET", "/ready", key=None)
    body = answer.json()
    return answer.status, body["status"], {name: check["ok"] for name, check in body["checks"].items()}


async def becomes(http, answer):
    """Wait until ``/ready`` answers so."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while await ready(http) != answer:
            await asyncio.sleep(0.05)


async def test_all_is_well(http):
    assert await ready(http) == (200, "ready", GREEN)


async def test_an_agent_that_takes_no_connection_and_then_does(http, agent, configure):
    configure(AGENT_URL="http://127.0.0.1:9")
    assert await ready(http) == (503, "unready", {**GREEN, "agent": False})
    checks = (await http.request("GET", "/ready", key=None)).json()["checks"]
    assert checks["agent"]["detail"] == "The agent accepts no connections: the connection is refused."
    assert scraping.here()['gateway_ready{check="agent"}'] == 0
    configure(AGENT_URL=agent.url)
    await becomes(http, (200, "ready", GREEN))
    assert scraping.here()['gateway_ready{check="agent"}'] == 1


async def test_an_agent_with_a_certificate_that_is_not_trusted(http, configure, tmp_path):
    tls = certificate(tmp_path / "shown.pem")
    async with TcpServer(tls=tls) as agent:
        configure(AGENT_URL=f"https://localhost:{agent.port}")
        answer = await http.request("GET", "/ready", key=None)
    check = answer.json()["checks"]["agent"]
    assert check["detail"] == "The agent responds, but its certificate is self-signed, which is not trusted here."
    assert not check["ok"]


@pytest.mark.parametrize("name", ["store", "announcements"])
@pytest.mark.parametrize("trouble", ["slow", "refused", "bug"])
async def test_a_check_that_fails_is_red_and_shows_nobody_why(http, monkeypatch, name, trouble):
    gateway = await lifecycle.current()

    async def probe():
        if trouble == "slow":
            await asyncio.Event().wait()
        raise StoreUnavailable if trouble == "refused" else ZeroDivisionError("redis://secret")

    monkeypatch.setitem(gateway.readiness._probes, name, probe)
    if trouble == "slow":
        monkeypatch.setattr(readiness, "LIMIT_SECONDS", 0.5)
        await becomes(http, (503, "unready", {**GREEN, name: False}))  # after more, if others were too slow as well
    else:
        assert await ready(http) == (503, "unready", {**GREEN, name: False})
    answer = await http.request("GET", "/ready", key=None)
    assert b"secret" not in answer.body
    monkeypatch.undo()
    await becomes(http, (200, "ready", GREEN))


async def test_no_room_for_a_new_session_is_red_until_there_is(http, v1, agent, configure):
    configure(MAX_SESSIONS="1")
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        assert await ready(http) == (503, "unready", {**GREEN, "store": False})
        answer = await http.request("GET", "/ready", key=None)
        assert "MAX_SESSIONS" in answer.json()["checks"]["store"]["detail"]
        await browser.cancel()
        await browser.turn()
    await becomes(http, (200, "ready", GREEN))
    assert (await lifecycle.current()).layer._index.get("s") is not None  # nothing has gone for the check


async def test_a_draining_process(http):
    await ready(http)
    await lifecycle.drain()
    assert await ready(http) == (503, "draining", {**GREEN, "draining": False})


async def test_a_crowd_of_probes_makes_each_check_once(http, monkeypatch):
    gateway = await lifecycle.current()
    asked = 0

    async def probe():
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(readiness, "CACHE_SECONDS", 3600.0)
    monkeypatch.setitem(gateway.readiness._probes, "store", probe)
    answers = await asyncio.gather(*(ready(http) for _ in range(50)))
    assert {status for status, _, _ in answers} == {200}
    assert asked == 1


async def test_a_scrape_shows_the_checks_although_nobody_asked_for_readiness(http, configure):
    configure(AGENT_URL="http://127.0.0.1:9")
    answer = await http.get("/metrics")
    assert scraping.Scrape(answer.body.decode())['gateway_ready{check="agent"}'] == 0


async def test_the_end_does_not_wait_for_a_check_that_hangs(application, monkeypatch):
    gateway, asked = await lifecycle.current(), asyncio.Event()

    async def probe():
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(readiness, "LIMIT_SECONDS", 3600.0)
    monkeypatch.setitem(gateway.readiness._probes, "store", probe)
    asking = asyncio.create_task(gateway.readiness.checks())
    async with asyncio.timeout(LIMIT_SECONDS):
        await asked.wait()
        await lifecycle.stop()
        await asyncio.wait([asking])
    assert asking.cancelled()


async def test_a_bug_is_answered_in_json_and_shown_to_nobody(http, monkeypatch, caplog):
    async def broken():
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(lifecycle, "current", broken)
    answer = await http.request("GET", "/ready", key=None)
    assert (answer.status, answer.json()) == (500, {"detail": "internal error"})
    assert "secret detail" in caplog.text
