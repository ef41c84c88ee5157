"""The AI SDK's own chat, in three versions and over both its transports, before a real gateway: as a page shows it."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

import pytest

from tests import processes
from tests.front_ends.conftest import KEY, post
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.node import Program

API = "/api/v1/ai-sdk/chat"
BEFORE_THE_GATE = 7  # chunks of `tokens 8 gate=…`: start, start-step, text-start, four deltas
WHOLE = "".join(f"{number} " for number in range(8))


class Transport(NamedTuple):
    """A package's chat and its way to the gateway.

    Attributes:
        mark: how each chunk starts on the wire.
    """

    package: str
    is_socket: bool = False

    @property
    def mark(self) -> bytes:
        return b'{"type":"chunk"' if self.is_socket else b"data: {"

    def chat(self, port: int, session_id: str) -> Program:
        options = {"api": f"http://127.0.0.1:{port}{API}", "headers": KEY}
        if self.is_socket:
            options = {"url": f"ws://127.0.0.1:{port}/api/v1/ai-sdk/ws"}
        return Program("chat", self.package, json.dumps({"id": session_id, **options}))


NEWEST, SOCKET = Transport("ai"), Transport("ai", is_socket=True)
TRANSPORTS = {"7": NEWEST, "6": Transport("ai-6"), "5": Transport("ai-5"), "7 over WebSocket": SOCKET}


@pytest.fixture(params=TRANSPORTS.values(), ids=TRANSPORTS)
def chat(request):
    """Opens a chat of a session at a port."""
    return request.param.chat


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


async def test_error_and_refusal_are_shown_in_their_words(gateway, chat, session_id):
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text="script:error no quota", messageId="m1")
        await page.until_done("send")
        assert (page.last("status"), page.last("error")) == ("error", "no quota")
        await page.do("send", text="x" * 5_000, messageId="m2")
        await page.until_done("send")
        assert page.last("error") == "This message is too long (limit 4 KB)."


TOOL_ENDS = {
    "tool-result": {"state": "output-available", "input": {"zone": "UTC"}, "output": {"hour": 9}},
    "tools": {"state": "output-error", "input": {}, "errorText": "no clock"},
}


@pytest.mark.parametrize(("script", "end"), TOOL_ENDS.items(), ids=TOOL_ENDS)
async def test_tool_call_is_shown_with_its_end(gateway, chat, session_id, script, end):
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text=f"script:{script}", messageId="m1")
        await page.until_done("send")
        assert (page.last("status"), page.last("text")) == ("ready", "a b")
        assert page.last("tools") == [{"toolCallId": "c", "toolName": "clock", **end}]


async def test_stop_reaches_the_agent_and_ends_the_answer(gateway, chat, session_id):
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        acknowledged = await asyncio.to_thread(post, f"{gateway.http_url}{API}/{session_id}/stop")
        assert acknowledged["status"] == "cancelling"
        await page.until_done("send")
        assert page.last("status") == "ready"
        await page.do("send", text="next works", messageId="m2")
        await page.until_done("send")
        assert page.last("finish")["text"] == "next works"


async def test_page_that_is_loaded_again_shows_the_answer_whole(gateway, chat, session_id, open_gate):
    async with chat(gateway.port, session_id) as page:
        await page.do("send", text=f"script:tokens 8 gate={session_id}", messageId="m1")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
    async with chat(gateway.port, session_id) as page:
        await page.do("resume")
        await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await asyncio.to_thread(open_gate, session_id)
        await page.until_done("resume")
        assert (page.last("text"), page.last("status")) == (WHOLE, "ready")
        await page.do("resume")  # there is no turn in flight any more
        await page.until_done("resume")
        assert (page.last("text"), page.last("status")) == (WHOLE, "ready")


@pytest.mark.parametrize("transport", [NEWEST, SOCKET], ids=["HTTP", "WebSocket"])
@pytest.mark.parametrize("before", range(1, BEFORE_THE_GATE + 1))
async def test_answer_that_is_cut_before_any_chunk_is_resumed(
    gateway, transport, session_id, open_gate, before, times_asked
):
    """Of version 5 the same chat object would show twice what it had: a page that is loaded again does not."""
    words = f"script:tokens 8 gate={session_id}"
    async with (
        CuttingProxy(gateway.port, before=before, mark=transport.mark) as proxy,
        transport.chat(proxy.port, session_id) as page,
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


async def test_same_message_of_two_pages_is_asked_once(gateway, chat, session_id, times_asked, open_gate):
    words = f"script:tokens 8 gate={session_id}"
    async with chat(gateway.port, session_id) as one, chat(gateway.port, session_id) as two:
        for page in (one, two):
            await page.do("send", text=words, messageId="m1")
        for page in (one, two):
            await page.until(lambda change: change.get("text") == "0 1 2 3 ")
        await asyncio.to_thread(open_gate, session_id)
        for page in (one, two):
            await page.until_done("send")
            assert page.last("text") == WHOLE
    assert await asyncio.to_thread(times_asked, words) == 1


async def test_answer_of_a_gateway_that_is_killed_is_never_shown_as_complete(mortal, chat, session_id):
    async with chat(mortal.port, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        await asyncio.to_thread(processes.Process.kill, mortal)
        await page.until_done("send")
        assert page.last("status") == "error"
