"""A ticket is good once, whichever worker it is shown to."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from tests import processes
from tests.clients import V1, SocketClient
from tests.faults.conftest import running_cluster


@pytest.fixture(params=processes.servers_under_test("serve"))
def guarded(request, scripted_agent):
    settings = {"WS_AUTH": "ticket", "SECRET_KEY": "the same for all workers", "LEASE_SECONDS": "20"}
    with running_cluster(request.param, scripted_agent, **settings) as cluster:
        yield cluster


def ticket_of(gateway: processes.Process, session_id: str) -> str:
    request = urllib.request.Request(
        f"{gateway.http_url}/api/v1/tickets",
        data=json.dumps({"session_id": session_id}).encode(),
        headers={"X-Internal-Auth": processes.KEY, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["ticket"]


async def first_frame(gateway: processes.Process, query: str) -> dict:
    async with SocketClient(f"{gateway.ws_url}/ws/s/?{query}", [V1]) as browser:
        return await browser.frame()


async def test_a_ticket_that_was_used_at_one_worker_is_used_up_at_the_other(guarded):
    one, other = guarded.gateways
    ticket = ticket_of(one, "s")
    welcome = await first_frame(other, f"ticket={ticket}")
    assert welcome["type"] == "welcome"
    for gateway in (one, other):
        frame = await first_frame(gateway, f"ticket={ticket}")
        assert (frame["type"], frame["code"]) == ("disconnect", "unauthorized")
    cursor = f"epoch={welcome['epoch']}&offset=0"
    assert (await first_frame(one, f"ticket={ticket}&{cursor}"))["code"] == "unauthorized", "a cursor changes nothing"


def open_stream(gateway: processes.Process, ticket: str, **headers: str) -> dict | int:
    """The first frame of an event stream, or the status without one."""
    url = f"{gateway.http_url}/api/v1/sessions/s/events?ticket={ticket}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            while not (line := response.readline()).startswith(b"data: "):
                assert line, "the stream ended"
            return json.loads(line.removeprefix(b"data: "))
    except urllib.error.HTTPError as refused:
        return refused.code


async def test_an_event_stream_comes_back_to_another_worker_with_its_logs_cursor_only(guarded):
    one, other = guarded.gateways
    ticket = ticket_of(one, "s")
    welcome = open_stream(one, ticket)
    assert welcome["type"] == "welcome"
    for invented in ({}, {"Last-Event-ID": "abc:0"}, {"Last-Event-ID": ":0"}):
        assert open_stream(other, ticket, **invented) == 401
    again = open_stream(other, ticket, **{"Last-Event-ID": f"{welcome['epoch']}:0"})
    assert again["type"] == "welcome"
