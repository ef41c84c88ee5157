"""Messages and stops over REST by clients of the access policy: what a socket may do, and no more."""

from __future__ import annotations

import pytest

from relay.policies import ticket_signing
from relay.process import lifecycle
from relay.testing.turns import message
from tests.clients import V1, CommunicatorClient
from tests.http_clients import API
from tests.scripted_agent import Final, Stall, Token


@pytest.fixture(autouse=True)
def ticketed(configure):
    configure(WS_AUTH="ticket")


def ticket(subject="ada", session_id="s"):
    return ticket_signing.issue(session_id, subject, 60)


def bearer(credential):
    return {"Authorization": f"Bearer {credential}"}


async def send(http, credential, session_id="s", **fields):
    body = {"content": "hello", **fields}
    return await http.post(f"{API}/{session_id}/messages", body, key=None, headers=bearer(credential))


async def test_ticket_sends_one_message_which_is_its_subjects(http, application, agent):
    agent.script = [Token("a"), Final()]
    async with CommunicatorClient(application, f"/ws/s/?ticket={ticket()}", [V1]) as browser:
        await browser.frame_of("welcome")
        credential = ticket()
        assert (await send(http, credential, client_message_id="m")).status == 202
        await browser.turn()
        assert (await send(http, credential, client_message_id="n")).status == 401
        again = await send(http, ticket(), client_message_id="m")
        assert (again.status, again.json()["duplicate"]) == (202, True)
    assert [request.headers["x-subject"] for request in agent.requests] == ["ada"]


async def test_session_belongs_to_the_subject_that_sent_its_first_message(http, agent):
    agent.script = [Token("a"), Stall()]
    turn_id = (await send(http, ticket("ada"))).json()["turn_id"]
    assert (await send(http, ticket("eve"))).status == 403
    stop = f"{API}/s/cancel"
    assert (await http.post(stop, {}, key=None, headers=bearer(ticket("eve")))).status == 403
    stopped = await http.post(stop, {"turn_id": turn_id}, key=None, headers=bearer(ticket("ada")))
    assert (stopped.status, stopped.json()["turn_id"]) == (200, turn_id)


async def test_ticket_stops_once(http, agent):
    credential = ticket()
    for status in (200, 401):
        assert (await http.post(f"{API}/s/cancel", {}, key=None, headers=bearer(credential))).status == status


@pytest.mark.parametrize("path", ["messages", "cancel"])
async def test_without_a_credential_of_the_session_nothing_happens(http, agent, path):
    for headers in ({}, bearer(ticket(session_id="other")), bearer("nonsense")):
        answer = await http.post(f"{API}/s/{path}", {"content": "hello"}, key=None, headers=headers)
        assert (answer.status, answer.json()) == (401, {"detail": "unauthorized"})
    assert await (await lifecycle.current()).layer.get("s") is None


@pytest.mark.parametrize("policy", ["session", "ticket"])
@pytest.mark.parametrize("path", ["messages", "cancel"])
async def test_page_of_another_origin_is_refused_before_its_credential(http, configure, policy, path):
    configure(WS_AUTH=policy, ALLOWED_ORIGINS="https://ours.example")
    headers = {"Origin": "https://evil.example", **bearer(ticket())}
    assert (await http.post(f"{API}/s/{path}", {"content": "x"}, key=None, headers=headers)).status == 403


async def test_messages_count_by_address_as_a_sockets_do(http, configure, agent):
    configure(WS_AUTH="ticket", ADDRESS_RATE_LIMIT="1")
    assert (await send(http, ticket(session_id="one"), "one")).status == 202
    credential = ticket(session_id="two")
    refused = await send(http, credential, "two")
    assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
    assert (await http.get(f"{API}/two/turns", key=None, headers=bearer(credential))).status == 200  # it was not used


async def test_session_that_changes_hands_meanwhile_takes_no_message(http, monkeypatch, agent):
    layer = (await lifecycle.current()).layer
    take = layer.limits.take

    async def change_hands(*arguments):
        await layer.enqueue("s", message("hers", subject="eve"))
        return await take(*arguments)

    monkeypatch.setattr(layer.limits, "take", change_hands)
    assert (await send(http, ticket("ada"))).status == 403
    assert len((await layer.get("s")).queued) == 1


async def test_turn_of_a_client_ends_with_its_last_viewer_where_that_is_set(http, configure, agent):
    configure(WS_AUTH="ticket", ON_DISCONNECT="cancel")
    agent.script = [Token("a"), Stall()]
    assert (await send(http, ticket())).status == 202
    layer = (await lifecycle.current()).layer
    assert await layer.cancel_unwatched("s") == 1
