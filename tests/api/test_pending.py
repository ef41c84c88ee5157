"""An agent's questions to a person: kept over reloads, answered once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from relay.policies import ticket_signing
from tests.api.conftest import Open
from tests.clients import V1, CommunicatorClient
from tests.http_clients import API, HttpClient
from tests.scripted_agent import Event, Final, ScriptedAgent, Status, Token

CALL = {"type": "tool_call", "call_id": "c1", "tool_name": "pay", "arguments": {"euros": 5}, "requires_approval": True}
APPROVE = {"type": "hitl_decision", "call_id": "c1", "decision": "approve"}


@pytest.fixture(autouse=True)
def forwarding(configure: Callable[..., None]) -> None:
    configure(FORWARD_TYPES="tool_result,hitl_decision,switch_agent")


async def ask(browser: CommunicatorClient, agent: ScriptedAgent, *events: dict[str, Any]) -> str:
    """Let the agent ask. Returns the turn's id."""
    agent.script = [*map(Event, events or (CALL,)), Final("interrupt")]
    await browser.say("Pay.")
    turn_id: str = (await browser.turn())[-1]["turn_id"]
    agent.script = [Token("Done."), Final()]
    return turn_id


async def test_question_is_told_to_every_connection_that_comes_later(v1: Open, http: HttpClient, agent: ScriptedAgent):
    async with v1() as browser:
        turn_id = await ask(browser, agent)
    async with v1() as reloaded, http.events() as stream:
        (asked,) = (await reloaded.frame())["pending"]
        expires_at = datetime.fromisoformat(asked.pop("expires_at"))
        assert asked == {"call_id": "c1", "turn_id": turn_id, "tool_name": "pay", "arguments": {"euros": 5}}
        assert 3_000 < (expires_at - datetime.now(UTC)).total_seconds() <= 3_600
        assert (await stream.frame())["pending"][0]["call_id"] == "c1"
    for path in (f"{API}/s/pending", f"{API}/s"):
        assert [item["turn_id"] for item in (await http.get(path)).json()["pending"]] == [turn_id]
    assert (await http.get(API)).json()["sessions"][0]["pending"] == 1


async def test_answer_of_one_device_resolves_the_question_on_the_other(v1: Open, agent: ScriptedAgent):
    async with v1() as one, v1() as two:
        await ask(one, agent)
        await two.turn()
        await two.send({**APPROVE, "client_message_id": "m"})
        for browser in (one, two):
            resolved = await browser.frame_of("pending_resolved")
            assert resolved["call_id"] == "c1"
            assert await browser.answer() == "Done."
        await one.send({**APPROVE, "client_message_id": "n"})
        refusal = await one.frame_of("error")
        assert (refusal["code"], refusal["client_message_id"]) == ("already_decided", "n")
        await two.send({**APPROVE, "client_message_id": "m"})
        assert (await two.frame_of("accepted"))["duplicate"] is True
    assert len(agent.requests) == 2
    async with v1() as later:
        assert (await later.frame())["pending"] == []


@pytest.mark.parametrize(
    "message",
    [
        APPROVE,
        {"type": "hitl_decision", "content": {"call_id": "c1", "decision": "reject", "reason": "no"}},
        {"type": "hitl_decision", "decisions": [{"call_id": "c1", "decision": "approve"}]},
        {"type": "tool_result", "call_id": "c1", "result": {"paid": True}},
        {"type": "tool_result", "tool_call_id": "c1", "content": "yes"},
        {"type": "tool_result", "resume": [{"interruptId": "c1", "status": "cancelled"}]},
    ],
)
@pytest.mark.parametrize("shape", ["flat", "nested"])
async def test_agent_gets_the_answer_as_it_was_sent(
    v1: Open, agent: ScriptedAgent, configure: Callable[..., None], message: dict[str, Any], shape: str
):
    configure(AGENT_MESSAGE=shape)
    async with v1() as browser:
        await ask(browser, agent)
        await browser.send(message)
        await browser.frame_of("pending_resolved")
        await browser.turn()
    expected = {"session_id": "s", "message": message} if shape == "nested" else {**message, "session_id": "s"}
    assert agent.requests[-1].json == expected


async def test_plain_client_answers_and_sees_only_its_own_frames(plain: Open, v1: Open, agent: ScriptedAgent):
    async with plain() as old:
        agent.script = [Event(CALL), Final("interrupt")]
        await old.say("Pay.")
        assert [frame["type"] for frame in await old.turn()] == ["tool_call", "assistant_message"]
        agent.script = [Token("Done."), Final()]
        await old.send(APPROVE)
        assert [frame["type"] for frame in await old.turn()] == ["assistant_message", "assistant_message"]
        await old.send(APPROVE)
        refusal = {"type": "error", "content": "This request was already answered, or it has expired."}
        assert await old.frame() == refusal


async def test_other_messages_of_such_front_ends_go_to_the_agent_whole(v1: Open, agent: ScriptedAgent):
    async with v1() as browser:
        await ask(browser, agent)
        await browser.send({"type": "switch_agent", "agent": "billing"})
        await browser.answer()
    assert agent.requests[-1].json == {"type": "switch_agent", "agent": "billing", "session_id": "s"}
    async with v1() as later:
        assert len((await later.frame())["pending"]) == 1


async def test_answer_over_rest_is_refused_the_second_time(v1: Open, http: HttpClient, agent: ScriptedAgent):
    async with v1() as browser:
        await ask(browser, agent)
        path = f"{API}/s/messages"
        assert (await http.post(path, APPROVE)).status == 202
        second = await http.post(path, APPROVE)
        assert (second.status, second.json()["code"]) == (409, "already_decided")
        await browser.answer()


async def test_answer_that_reached_no_agent_may_be_sent_again(v1: Open, agent: ScriptedAgent):
    async with v1() as browser:
        await ask(browser, agent)
        agent.script = [Status(503)]
        await browser.send(APPROVE)
        assert (await browser.turn())[-1]["code"] == "upstream_unavailable"
        agent.script = [Token("Done."), Final()]
        await browser.send(APPROVE)
        assert await browser.answer() == "Done."


async def test_question_about_another_call_is_told_with_that_call(v1: Open, agent: ScriptedAgent):
    call = {"call_id": "c1", "tool_name": "pay", "arguments": {"euros": 5}}
    asked = {**CALL, "call_id": "int-c1", "tool_name": "tool_call", "arguments": {"message": "?"}, "tool_call": call}
    async with v1() as browser:
        await ask(browser, agent, {"type": "tool_call", **call}, asked)
    async with v1() as later:
        (pending,) = (await later.frame())["pending"]
    assert (pending["call_id"], pending["tool_name"], pending["arguments"]) == ("int-c1", "pay", {"euros": 5})


async def test_agent_cannot_resolve_a_question_in_the_gateways_name(v1: Open, agent: ScriptedAgent):
    async with v1() as browser:
        await ask(browser, agent, CALL, {"type": "pending_resolved", "call_id": "c1"})
    async with v1() as later:
        assert len((await later.frame())["pending"]) == 1


# Access.


async def test_questions_are_for_clients_that_may_watch_the_session(
    application: Any, http: HttpClient, agent: ScriptedAgent, configure: Callable[..., None]
):
    configure(WS_AUTH="ticket")
    agent.script = [Event(CALL), Final("interrupt")]

    def path(subject: str, session_id: str = "s") -> str:
        return f"{API}/s/pending?ticket={ticket_signing.issue(session_id, subject, 60)}"

    socket = f"/ws/s/?ticket={ticket_signing.issue('s', 'ada', 60)}"
    async with CommunicatorClient(application, socket, [V1]) as browser:
        await browser.say("Pay.")
        await browser.turn()
    assert len((await http.get(path("ada"), key=None)).json()["pending"]) == 1
    assert len((await http.get(f"{API}/s/pending")).json()["pending"]) == 1
    assert (await http.get(path("eve"), key=None)).status == 403
    assert (await http.get(path("ada", "other"), key=None)).status == 401
    assert (await http.get(f"{API}/s/pending", key=None)).status == 401


async def test_unknown_session_has_no_questions(http: HttpClient):
    assert (await http.get(f"{API}/s/pending")).status == 404
