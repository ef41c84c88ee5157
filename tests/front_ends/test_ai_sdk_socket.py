"""The AI SDK's own chats on one WebSocket before a real gateway: what a page would show."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests import processes
from tests.faults.proxy import Proxy
from tests.front_ends.conftest import ADAPTERS
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.node import Program
from tests.front_ends.test_ai_sdk import BEFORE_THE_GATE, WHOLE


def chats(port: int, session_id: str) -> Program:
    url = f"ws://127.0.0.1:{port}/api/v1/ai-sdk/ws"
    return Program("chat", "ai", json.dumps({"id": session_id, "url": url}))


class CuttingSocketProxy(CuttingProxy):
    event_mark = b'{"type":"chunk"'


class CountingProxy(Proxy):
    """Counts connections."""

    count = 0

    def new_line(self) -> None:
        self.count += 1


async def test_text_is_shown_whole_and_once(gateway, session_id):
    async with chats(gateway.port, session_id) as page:
        await page.do("send", text="zwölf 🙂 words", messageId="m1")
        await page.until_done("send")
        finish = page.last("finish")
        assert (finish["text"], finish["finishReason"], page.last("status")) == ("zwölf 🙂 words", "stop", "ready")
        await page.do("send", text="again", messageId="m2")
        await page.until_done("send")
        assert page.last("answers") == ["zwölf 🙂 words", "again"]


async def test_two_chats_on_one_socket(gateway, session_id, open_gate):
    other_id = f"{session_id}-2"
    async with CountingProxy(gateway.port) as proxy, chats(proxy.port, session_id) as page:
        await page.do("send", text=f"script:tokens 8 gate={session_id}", messageId="m1")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await page.do("send", id=other_id, text="of another chat", messageId="m1")
        await page.until(lambda change: change.get("done") == "send" and change["id"] == other_id)
        assert page.last("finish")["text"] == "of another chat"
        await asyncio.to_thread(open_gate, session_id)
        await page.until(lambda change: change.get("done") == "send" and change["id"] == session_id)
        assert page.last("finish")["text"] == WHOLE
        assert proxy.count == 1


async def test_stop_reaches_the_agent(gateway, session_id):
    async with chats(gateway.port, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        await page.do("stop")
        await page.until_done("send")
        assert page.last("status") == "ready"
        await page.do("send", text="next works", messageId="m2")  # so the stalled turn is over
        await page.until_done("send")
        assert page.last("finish")["text"] == "next works"


async def test_error_and_refusal_are_shown_in_their_words(gateway, session_id):
    async with chats(gateway.port, session_id) as page:
        await page.do("send", text="script:error no quota", messageId="m1")
        await page.until_done("send")
        assert (page.last("status"), page.last("error")) == ("error", "no quota")
        await page.do("send", text="x" * 5_000, messageId="m2")
        await page.until_done("send")
        assert page.last("error") == "The message is too large: at most 4,096 bytes are allowed. Send a shorter one."


async def test_page_that_is_loaded_again_shows_the_answer_whole(gateway, session_id, open_gate):
    async with chats(gateway.port, session_id) as page:
        await page.do("send", text=f"script:tokens 8 gate={session_id}", messageId="m1")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
    async with chats(gateway.port, session_id) as page:
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
    words = f"script:tokens 8 gate={session_id}"
    async with CuttingSocketProxy(gateway.port, before=before) as proxy, chats(proxy.port, session_id) as page:
        await page.do("send", text=words, messageId="m1")
        await page.until_done("send")
        assert page.last("status") == "error"
        await page.do("resume")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await asyncio.to_thread(open_gate, session_id)
        await page.until_done("resume")
        assert (page.last("text"), page.last("status")) == (WHOLE, "ready")
        assert await asyncio.to_thread(times_asked, words) == 1


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_answer_of_a_gateway_that_ends_is_never_shown_as_complete(scripted_agent, session_id, end):
    with processes.gateway("serve", scripted_agent.http_url, **ADAPTERS, DRAIN_SECONDS="0") as mortal:
        await _watch_the_end(mortal, session_id, end)


async def _watch_the_end(mortal: processes.Process, session_id: str, end: str) -> None:
    async with chats(mortal.port, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        await asyncio.to_thread(getattr(processes.Process, end), mortal)
        await page.until_done("send")
        assert page.last("status") == "error"
