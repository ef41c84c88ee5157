"""What one client may cost: each limit on both sides of its edge, in words, with a time to come back and a metric."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from relay.access.connection_limits import connect_rate
from relay.access.rate_limits import client_network
from relay.delivery import session_connection
from relay.policies import ticket_signing
from relay.process import lifecycle
from tests.clients import V1, CommunicatorClient
from tests.http_clients import API, HttpClient
from tests.processes import KEY


def refused(what: str) -> float:
    return REGISTRY.get_sample_value("gateway_rate_limited_total", {"what": what}) or 0.0


@pytest.fixture
def client(application: Any):
    """Open a v1 socket from an address."""

    def open_socket(address: str = "192.0.2.1", session_id: str = "s", **headers: str) -> CommunicatorClient:
        shown = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        client = CommunicatorClient(application, f"/ws/{session_id}/", [V1], headers=shown)
        client.communicator.scope["client"] = [address, 50_000]
        return client

    return open_socket


async def say(browser: CommunicatorClient, count: int) -> list[str]:
    """What becomes of so many messages: ``accepted``, or an error's code."""
    outcomes = []
    for number in range(count):
        await browser.say("x", client_message_id=f"m{number}")
        while (frame := await browser.frame())["type"] not in ("accepted", "error"):
            pass
        outcomes.append(frame.get("code", "accepted"))
    return outcomes


async def test_messages_of_a_session_are_limited_whoever_sends_them(client, configure, http, agent):
    configure(RATE_LIMIT="3")
    before = refused("session_messages")
    async with client() as one, client("192.0.2.2") as two:
        assert await say(one, 2) == ["accepted"] * 2
        await two.say("x", client_message_id="m9")
        assert (await two.frame_of("accepted"))["client_message_id"] == "m9"
        await two.say("one too many", client_message_id="m10")
        error = await two.frame_of("error")
        assert (error["code"], error["client_message_id"]) == ("rate_limited", "m10")
        assert 0 < error["retry_after_ms"] <= 20_000
        assert "Wait a moment" in error["content"]
        answer = await http.post(f"{API}/s/messages", {"content": "x"})
        assert (answer.status, answer.json()["code"]) == (429, "rate_limited")
        assert 0 < int(answer.headers["retry-after"]) <= 20
    async with client(session_id="another") as browser:
        assert await say(browser, 3) == ["accepted"] * 3
    assert refused("session_messages") == before + 2
    assert not any("one too many" in json.dumps(request.json) for request in agent.requests)


async def test_a_plain_client_is_told_in_words_and_stays_connected(application, configure):
    configure(RATE_LIMIT="1")
    async with CommunicatorClient(application, "/ws/s/") as browser:
        await browser.ask("hello")
        await browser.say("too soon")
        assert await browser.error() == "You are sending messages too quickly. Wait a moment, then try again."


async def test_messages_of_an_address_are_limited_in_all_its_sessions(client, configure):
    configure(ADDRESS_RATE_LIMIT="3")
    before = refused("address_messages")
    async with client() as one, client(session_id="t") as two, client("192.0.2.2") as other:
        assert await say(one, 2) == ["accepted"] * 2
        assert await say(two, 2) == ["accepted", "rate_limited"]
        assert await say(other, 3) == ["accepted"] * 3
    assert refused("address_messages") == before + 1


async def test_a_service_with_the_key_speaks_for_many_and_has_no_limit_of_address(client, configure):
    configure(ADDRESS_RATE_LIMIT="1", ADDRESS_MAX_SOCKETS="1")
    async with client(X_Internal_Auth=KEY) as one, client(X_Internal_Auth=KEY) as two:
        assert await say(one, 2) == ["accepted"] * 2
        assert (await two.frame())["type"] == "welcome"


async def test_clients_whose_address_is_not_known_are_limited_as_one(application, configure):
    """As on a Unix socket without trusted proxies: the server tells no address."""
    configure(ADDRESS_RATE_LIMIT="1", ADDRESS_MAX_SOCKETS="2")

    def unknown(session_id: str) -> CommunicatorClient:
        return CommunicatorClient(application, f"/ws/{session_id}/", [V1])

    async with unknown("s") as one, unknown("t") as two, unknown("u") as three:
        assert await say(one, 1) == ["accepted"]
        assert await say(two, 1) == ["rate_limited"]
        assert (await three.frame())["code"] == "rate_limited"


async def test_zero_is_no_limit(client, configure):
    configure(RATE_LIMIT="0", MAX_QUEUE="1000")
    async with client() as browser:
        assert await say(browser, 320) == ["accepted"] * 320


async def test_who_may_say_no_more_may_still_stop_the_answer(client, configure, agent):
    from tests.scripted_agent import Stall, Token

    configure(RATE_LIMIT="1")
    agent.script = [Token("a"), Stall()]
    async with client() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        assert (await browser.frame_of("cancel_ack"))["status"] == "cancelling"


async def test_connections_of_a_session_are_limited_sockets_and_streams_together(client, configure, application):
    configure(MAX_SOCKETS="2")
    before = refused("session_sockets")
    http = HttpClient(application)
    async with client() as one, http.events() as stream:
        await one.frame()
        await stream.frame()
        async with client("192.0.2.2") as late:
            frame = await late.frame()
            assert (frame["type"], frame["code"], frame["reconnect"]) == ("disconnect", "rate_limited", True)
            assert frame["delay_ms"] >= 10_000
            assert await late.close_code() == 4429
        async with http.events() as late_stream:
            assert (await late_stream.frame())["code"] == "rate_limited"
        async with client(session_id="another") as browser:
            assert (await browser.frame())["type"] == "welcome"
    async with client() as browser:
        assert (await browser.frame())["type"] == "welcome"
    assert refused("session_sockets") == before + 2


async def test_connections_of_an_address_are_limited_and_given_back(client, configure):
    configure(ADDRESS_MAX_SOCKETS="2")
    before = refused("address_sockets")
    for _ in range(2):
        async with client() as one, client(session_id="t") as two:
            await one.frame()
            await two.frame()
            async with client(session_id="u") as late:
                assert (await late.frame())["code"] == "rate_limited"
                assert await late.close_code() == 4429
            async with client("192.0.2.2") as other:
                assert (await other.frame())["type"] == "welcome"
    assert refused("address_sockets") == before + 2


async def test_connections_that_an_address_opens_a_minute_are_limited(client, configure, application):
    """Those that have ended count as well, and so does each that is refused for another reason."""
    configure(ADDRESS_CONNECT_RATE="2")
    before = refused("address_connects")
    for session_id in ("s", "t"):
        async with client(session_id=session_id) as browser:
            assert (await browser.frame())["type"] == "welcome"
    async with client(session_id="u") as late:
        frame = await late.frame()
        assert (frame["code"], frame["reconnect"]) == ("rate_limited", True)
        assert frame["delay_ms"] >= 20_000
        assert await late.close_code() == 4429
    assert await lifecycle.session_layer().get("u") is None
    async with client("192.0.2.2") as other:
        assert (await other.frame())["type"] == "welcome"
    for _ in range(3):
        async with client(X_Internal_Auth=KEY) as service:
            assert (await service.frame())["type"] == "welcome"
    assert refused("address_connects") == before + 1


async def test_event_streams_count_among_the_connections_of_an_address(configure, application):
    async def from_address(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "client": ["192.0.2.1", 50_000]}, receive, send)

    configure(ADDRESS_CONNECT_RATE="1", WS_AUTH="ticket")
    codes = []
    for _ in range(2):
        path = f"{API}/s/events?ticket={ticket_signing.issue('s', None, 60)}"
        async with HttpClient(from_address).open("GET", path, key=None) as (_, chunks):
            codes.append(b"rate_limited" in await anext(chunks))
    assert codes == [False, True]


@pytest.mark.parametrize(
    ("texts", "rate"),
    [
        ({}, 0),
        ({"TRUSTED_PROXIES": "1"}, 600),
        ({"TRUSTED_PROXIES": "10.0.0.0/8"}, 600),
        ({"TRUSTED_PROXIES": "1", "ADDRESS_CONNECT_RATE": "0"}, 0),
        ({"ADDRESS_CONNECT_RATE": "5"}, 5),
    ],
)
def test_connections_are_limited_by_default_where_addresses_are_known(settings, texts, rate):
    settings.GATEWAY = {**settings.GATEWAY, **texts}
    assert connect_rate() == rate


async def test_a_plain_client_that_is_one_too_many_gets_403(application, configure):
    configure(MAX_SOCKETS="1")
    async with CommunicatorClient(application, "/ws/s/"), CommunicatorClient(application, "/ws/s/") as late:
        assert not late.is_accepted


async def test_a_socket_on_which_nothing_is_said_is_closed(client, configure):
    configure(IDLE_TIMEOUT="0.3", HEARTBEAT_SECONDS="0.2")
    async with client() as browser:
        frame = await browser.frame_of("disconnect")
        assert (frame["code"], frame["reconnect"]) == ("idle", True)
        assert await browser.close_code() == 4408


async def test_a_socket_on_which_something_is_said_is_not_idle(client, configure, agent, monkeypatch):
    from tests.scripted_agent import Final, Token, Wait

    configure(IDLE_TIMEOUT="100", HEARTBEAT_SECONDS="0.2")
    now = 0.0
    monkeypatch.setattr(session_connection, "time", SimpleNamespace(monotonic=lambda: now))
    gates = [asyncio.Event() for _ in range(3)]
    agent.script = [*(step for gate in gates for step in (Token("a"), Wait(gate))), Final()]
    async with client() as browser:
        await browser.say("x")
        for gate in gates:
            await browser.frame_of("assistant_message")
            await browser.frame_of("ping")  # a heartbeat has seen the token, and leaves the socket open
            now += 90
            gate.set()
        await browser.frame_of("assistant_message")
        await browser.frame_of("ping")
        now += 110
        assert (await browser.frame_of("disconnect"))["code"] == "idle"


@pytest.mark.parametrize(("depth", "outcome"), [(5, "accepted"), (6, "bad_request")])
async def test_nesting_is_limited(client, configure, depth, outcome):
    configure(FORWARD_TYPES="tool_result", MAX_JSON_DEPTH="5")
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    async with client() as browser:
        await browser.send({"type": "tool_result", "value": value, "client_message_id": "m"})
        while (frame := await browser.frame())["type"] not in ("accepted", "error"):
            pass
        assert frame.get("code", "accepted") == outcome


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("a name", "a name"),
    ],
)
def test_what_one_client_may_be(address, network):
    assert client_network(address) == network
