"""The AI SDK's own chat, in three versions, before a real gateway: what a page would show."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests import processes
from tests.front_ends.conftest import KEY, post
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.node import Program

API = "/api/v1/ai-sdk/chat"
BEFORE_THE_GATE = 7  # chunks of `tokens 8 gate=…`: start, start-step, text-start, four deltas
WHOLE = "".join(f"{number} " for number in range(8))


@pytest.fixture(params=["ai", "ai-6", "ai-5"])
def package(request):
    return request.param


def chat(package: str, url: str, session_id: str) -> Program:
    return Program("chat", package, json.dumps({"id": session_id, "api": f"{url}{API}", "headers": KEY}))


async def test_text_is_shown_whole_and_once(gateway, package, session_id):
    async with chat(package, gateway.http_url, session_id) as page:
        await page.do("send", text="zwölf 🙂 words", messageId="m1")
        await page.until_done("send")
        finish = page.last("finish")
        assert (finish["text"], page.last("status")) == ("zwölf 🙂 words", "ready")
        assert finish.get("finishReason", "stop") == "stop"
        await page.do("send", text="again", messageId="m2")
        await page.until_done("send")
        assert page.last("answers") in (["zwölf 🙂 words", "again"], None)


async def test_error_and_refusal_are_shown_in_their_words(gateway, package, session_id):
    async with chat(package, gateway.http_url, session_id) as page:
        await page.do("send", text="script:error no quota", messageId="m1")
        await page.until_done("send")
        assert (page.last("status"), page.last("error")) == ("error", "no quota")
        await page.do("send", text="x" * 5_000, messageId="m2")
        await page.until_done("send")
        assert page.last("error") == "The message is too large: at most 4,096 bytes are allowed. Send a shorter one."


async def test_tool_call_is_shown_with_its_result(gateway, package, session_id):
    async with chat(package, gateway.http_url, session_id) as page:
        await page.do("send", text="script:typed", messageId="m1")
        await page.until_done("send")
        assert page.last("status") == "ready"


async def test_stop_reaches_the_agent_and_ends_the_answer(gateway, package, session_id):
    async with chat(package, gateway.http_url, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        acknowledged = await asyncio.to_thread(post, f"{gateway.http_url}{API}/{session_id}/stop")
        assert acknowledged["status"] == "cancelling"
        await page.until_done("send")
        assert page.last("status") == "ready"
        await page.do("send", text="next works", messageId="m2")
        await page.until_done("send")
        assert page.last("finish")["text"] == "next works"


async def test_page_that_is_loaded_again_shows_the_answer_whole(gateway, package, session_id, open_gate):
    async with chat(package, gateway.http_url, session_id) as page:
        await page.do("send", text=f"script:tokens 8 gate={session_id}", messageId="m1")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
    async with chat(package, gateway.http_url, session_id) as page:
        await page.do("resume")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await asyncio.to_thread(open_gate, session_id)
        await page.until_done("resume")
        assert (page.last("text"), page.last("status")) == (WHOLE, "ready")
        await page.do("resume")  # there is no turn in flight any more
        await page.until_done("resume")
        assert (page.last("text"), page.last("status")) == (WHOLE, "ready")


@pytest.mark.parametrize("before", range(1, BEFORE_THE_GATE + 1))
async def test_answer_that_is_cut_before_any_chunk_is_resumed(gateway, session_id, open_gate, before, times_asked):
    """Of version 5 the same chat object would show twice what it had: a page that is loaded again does not."""
    words = f"script:tokens 8 gate={session_id}"
    async with (
        CuttingProxy(gateway.port, before=before) as proxy,
        chat("ai", proxy.http_url, session_id) as page,
    ):
        await page.do("send", text=words, messageId="m1")
        await page.until_done("send")
        assert page.last("status") == "error"
        await page.do("resume")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await asyncio.to_thread(open_gate, session_id)
        await page.until_done("resume")
        assert (page.last("text"), page.last("status")) == (WHOLE, "ready")
        assert await asyncio.to_thread(times_asked, words) == 1


async def test_same_message_of_two_pages_is_asked_once(gateway, package, session_id, times_asked, open_gate):
    words = f"script:tokens 8 gate={session_id}"
    async with chat(package, gateway.http_url, session_id) as one, chat(package, gateway.http_url, session_id) as two:
        for page in (one, two):
            await page.do("send", text=words, messageId="m1")
        for page in (one, two):
            await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await asyncio.to_thread(open_gate, session_id)
        for page in (one, two):
            await page.until_done("send")
            assert page.last("text") == WHOLE
    assert await asyncio.to_thread(times_asked, words) == 1


async def test_answer_of_a_gateway_that_is_killed_is_never_shown_as_complete(mortal, package, session_id):
    async with chat(package, mortal.http_url, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        await asyncio.to_thread(processes.Process.kill, mortal)
        await page.until_done("send")
        assert page.last("status") == "error"
