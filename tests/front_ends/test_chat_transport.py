"""The AI SDK's own chat, in three versions, over the gateway's transport for it, before a real gateway."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests import processes
from tests.front_ends.conftest import get
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.node import Program
from tests.front_ends.test_ai_sdk import TOOL_ENDS, WHOLE

DECISION = {"type": "hitl_decision", "call_id": "c1", "decision": "approve"}
FEWEST_FRAMES = 5  # of an answer, with its welcome, accepted and user_message; tokens may come merged


@pytest.fixture(params=["ai", "ai-6", "ai-5"])
def chat(request):
    """Opens a chat of a session at a port."""
    return lambda port, session_id: page_of(port, session_id, request.param)


def page_of(port: int, session_id: str, package: str = "ai") -> Program:
    return Program("chat", package, json.dumps({"id": session_id, "base": f"http://127.0.0.1:{port}"}))


async def test_text_is_shown_whole_and_once(gateway, chat, session_id):
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text="zwölf 🙂 words", messageId="m1")
        await page.until_done("send")
        finish = page.last("finish")
        assert (finish["text"], page.last("status")) == ("zwölf 🙂 words", "ready")
        assert finish.get("finishReason", "stop") == "stop"
        await page.do("send", text="again", messageId="m2")
        await page.until_done("send")
        assert page.last("answers") in (["zwölf 🙂 words", "again"], None)


async def test_error_and_refusal_are_shown_in_their_words(gateway, session_id):
    async with page_of(gateway.port, session_id) as page:
        await page.do("send", text="script:error no quota", messageId="m1")
        await page.until_done("send")
        assert (page.last("status"), page.last("error")) == ("error", "no quota")
        await page.do("send", text="x" * 5_000, messageId="m2")
        await page.until_done("send")
        assert page.last("error").startswith("This message is too long (limit 4 KB).")


@pytest.mark.parametrize(("script", "end"), TOOL_ENDS.items(), ids=TOOL_ENDS)
async def test_tool_call_is_shown_with_its_end(gateway, chat, session_id, script, end):
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text=f"script:{script}", messageId="m1")
        await page.until_done("send")
        assert (page.last("status"), page.last("text")) == ("ready", "a b")
        assert page.last("tools") == [{"toolCallId": "c", "toolName": "clock", **end}]


async def test_stop_ends_the_answer_at_once_and_reaches_the_agent(gateway, chat, session_id):
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        await page.do("stop")
        await page.until_done("send")
        assert page.last("status") == "ready"
        await page.do("send", text="next works", messageId="m2")  # after the stalled answer, if that did not end
        await page.until_done("send")
        assert page.last("finish")["text"] == "next works"


async def test_page_that_is_loaded_again_shows_question_and_answer_whole(gateway, chat, session_id, open_gate):
    words = f"script:tokens 8 gate={session_id}"
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text=words, messageId="m1")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
    async with chat(gateway.port, session_id) as page:
        await page.do("follow")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await page.do("questions")
        await page.until_done("questions")
        assert page.last("questions") == [words]
        await asyncio.to_thread(open_gate, session_id)
        await page.until(lambda change: change.get("text") == WHOLE)


async def test_answer_in_flight_is_resumed_and_stopped(gateway, chat, session_id):
    async with chat(gateway.port, session_id) as page:
        await page.do("resume")  # there is none yet
        await page.until_done("resume")
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
    async with chat(gateway.port, session_id) as page:
        await page.do("resume")
        await page.until(lambda change: change.get("text") == "a ")
        await page.do("stop")
        await page.until_done("resume")
        await page.do("send", text="next works", messageId="m2")
        await page.until_done("send")
        assert page.last("finish")["text"] == "next works"


async def test_a_second_resume_takes_the_answer_over_and_does_not_stop_it(gateway, session_id, open_gate):
    async with page_of(gateway.port, session_id) as page:
        await page.do("send", text=f"script:tokens 8 gate={session_id}", messageId="m1")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
    async with page_of(gateway.port, session_id) as page:
        for _ in range(2):
            await page.do("resume")
            await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await asyncio.to_thread(open_gate, session_id)
        await page.until(lambda change: change.get("text") == WHOLE)


async def test_turns_of_another_page_are_followed_one_after_the_other(gateway, chat, session_id):
    async with chat(gateway.port, session_id) as other, chat(gateway.port, session_id) as page:
        await page.do("follow")
        await page.do("send", text="mine", messageId="p1")
        await page.until_done("send")
        for number, words in enumerate(["first words", "script:tool-result", "last words"]):
            await other.do("send", text=words, messageId=f"o{number}")
            await other.until_done("send")
        for text in ("first words", "a b", "last words"):
            await page.until(lambda change, text=text: change.get("text") == text)
        await page.until(lambda change: "answers" in change or "finish" in change)
        await page.do("questions")
        await page.until_done("questions")
        assert page.last("questions") == ["mine", "first words", "script:tool-result", "last words"]


@pytest.mark.parametrize("package", ["ai", "ai-6"])
async def test_decision_reaches_the_agent_and_the_answer_another_page_too(gateway, session_id, scripted_agent, package):
    async with page_of(gateway.port, session_id, package) as page, page_of(gateway.port, session_id, package) as other:
        await other.do("follow")
        await other.do("send", text="here", messageId="o1")  # so it is connected
        await other.until(lambda change: "finish" in change)
        await page.do("send", text="script:ask c1", messageId="m1")
        for one in (page, other):
            await one.until(
                lambda change: [tool["state"] for tool in change.get("tools", [])] == ["approval-requested"]
            )
            await one.until(lambda change: "finish" in change)
        await page.do("approve", approvalId="c1", approved=True)
        for one in (page, other):
            await one.until(lambda change: "finish" in change)
            assert not any("error" in change for change in one.changes)
        known = json.loads(await asyncio.to_thread(get, f"{scripted_agent.http_url}/requests"))["requests"]
        (asked,) = [one["json"] for one in known if one["json"].get("type") == DECISION["type"]][-1:]
        assert asked["session_id"] == session_id
        assert asked.items() >= DECISION.items()


@pytest.mark.parametrize("before", range(1, FEWEST_FRAMES + 1))
async def test_cut_before_any_frame_is_healed_while_the_page_is_looked_at(gateway, session_id, before, times_asked):
    words = f"script:tokens 8 delay=0.01 finish={session_id}"
    async with (
        CuttingProxy(gateway.port, before=before, mark=b'{"type":') as proxy,
        page_of(proxy.port, session_id) as page,
    ):
        await page.do("send", text=words, messageId="m1")
        await page.until_done("send")
        assert proxy.has_cut
        assert (page.last("text"), page.last("status")) == (WHOLE, "ready")
        assert await asyncio.to_thread(times_asked, words) == 1


async def test_answer_of_a_gateway_that_is_killed_is_never_shown_as_complete(mortal, session_id):
    async with page_of(mortal.port, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        await asyncio.to_thread(processes.Process.kill, mortal)
        await page.do("questions")
        await page.until_done("questions")
        assert page.last("status") == "streaming"  # it comes back when a gateway does


async def test_page_that_is_sent_away_is_told_why(gateway, session_id):
    async with Program("chat", "ai", json.dumps({"id": "../x" * 40, "base": gateway.http_url})) as page:
        await page.do("send", text="hi", messageId="m1")
        await page.until_done("send")
        assert page.last("status") == "error"
        assert "sessionId" in page.last("error")
