"""Real agents that wait for a person, answered by ``gateway.v1``, by the AI SDK's chat and by AG-UI's client."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.agents.conftest import Service
from tests.agents.kinds import KINDS, START_SECONDS
from tests.clients import V1, SocketClient, text_of
from tests.front_ends import node
from tests.front_ends.conftest import KEY
from tests.front_ends.node import Program

pytestmark = pytest.mark.timeout(START_SECONDS + 120)  # an agent may have to start

SETTINGS = {"FORWARD_TYPES": "tool_result,hitl_decision", "ADAPTERS": "ai-sdk,ag-ui"}
PYDANTIC = {name: KINDS[name].having(**SETTINGS) for name in ("pydantic-ai-agui", "pydantic-ai-aisdk")}
ALL = {**PYDANTIC, "langgraph": KINDS["langgraph"].having(**SETTINGS)}
PAID, DENIED = "5 euros are paid", "denied"

before_all = pytest.mark.parametrize("service", ALL.values(), ids=ALL, indirect=True)
before_pydantic = pytest.mark.parametrize("service", PYDANTIC.values(), ids=PYDANTIC, indirect=True)
decisions = pytest.mark.parametrize("is_approved", [True, False], ids=["approve", "reject"])


@pytest.fixture
def session_id() -> str:
    return uuid4().hex


@pytest.fixture
def front_end() -> None:
    if (reason := node.lacks()) is not None:
        pytest.skip(reason)


def socket(service: Service, session_id: str) -> SocketClient:
    return SocketClient(f"{service.gateway.ws_url}/ws/{session_id}/", [V1])


def outcome(service: Service, *, is_approved: bool) -> str:
    """A part of the answer by which an agent shows that it has heard the decision."""
    if "langgraph" in service.kind.program:
        return f"So {is_approved}."
    return PAID if is_approved else DENIED


@before_all
@decisions
async def test_decision_on_another_connection_reaches_the_agent(
    service: Service, session_id: str, *, is_approved: bool
):
    async with socket(service, session_id) as browser:
        await browser.say("ask")
        assert (await browser.turn())[-1]["finish_reason"] == "interrupt"
    async with socket(service, session_id) as other:
        (asked,) = (await other.frame())["pending"]
        assert asked["turn_id"]
        if "pydantic" in service.kind.program:
            assert (asked["tool_name"], asked["arguments"]) == ("pay", {"euros": 5})
        decision = {"call_id": asked["call_id"], "decision": "approve" if is_approved else "reject"}
        await other.send({"type": "hitl_decision", **decision})
        frames = await other.turn()
        assert "pending_resolved" in [frame["type"] for frame in frames]
        assert outcome(service, is_approved=is_approved) in text_of(frames)
        assert frames[-1]["finish_reason"] == "stop"


@before_pydantic
async def test_edit_replaces_the_arguments(service: Service, session_id: str):
    async with socket(service, session_id) as browser:
        await browser.say("ask")
        await browser.turn()
    async with socket(service, session_id) as browser:
        (asked,) = (await browser.frame())["pending"]
        await browser.send(
            {"type": "hitl_decision", "call_id": asked["call_id"], "decision": "edit", "arguments": {"euros": 4}}
        )
        assert "4 euros are paid" in text_of(await browser.turn())


def chat(service: Service, session_id: str) -> Program:
    options = {"api": f"{service.gateway.http_url}/api/v1/ai-sdk/chat", "headers": KEY, "body": {"approvals": True}}
    return Program("chat", "ai", json.dumps({"id": session_id, **options}))


def is_finished(change: dict[str, Any]) -> bool:
    return "finish" in change


@before_all
@decisions
async def test_approval_in_the_ai_sdks_chat_reaches_the_agent(
    service: Service, session_id: str, front_end: None, *, is_approved: bool
):
    async with chat(service, session_id) as page:
        await page.do("send", text="ask", messageId="m1")
        await page.until_done("send")
        (waiting,) = [tool for tool in page.last("tools") if tool["state"] == "approval-requested"]
        await page.do("approve", approvalId=waiting["approval"]["id"], approved=is_approved, reason="because")
        end = await page.until(is_finished)
        assert end["finish"]["isError"] is False
        expected = "because" if "pydantic" in service.kind.program and not is_approved else None
        assert (expected or outcome(service, is_approved=is_approved)) in end["finish"]["text"]
        assert len(end["answers"]) == 1  # the same message goes on
        if "pydantic" in service.kind.program:
            (tool,) = page.last("tools")
            assert tool["toolName"] == "pay"
            assert tool["state"] == ("output-available" if is_approved else tool["state"])


@before_all
@decisions
async def test_resume_of_ag_uis_client_reaches_the_agent(
    service: Service, session_id: str, front_end: None, *, is_approved: bool
):
    options = {"url": f"{service.gateway.http_url}/api/v1/ag-ui", "headers": KEY, "threadId": session_id}
    payload = {"approved": is_approved}
    async with Program("run", json.dumps({**options, "runId": "r1", "words": "ask", "payload": payload})) as program:
        changes = await program.end()
    assert changes[-1]["end"] == "finished", changes
    said = [message.get("content", "") for message in program.last("messages") if message["role"] == "assistant"]
    assert outcome(service, is_approved=is_approved) in said[-1]
