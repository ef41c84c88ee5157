"""Chats of the AI SDK that share a WebSocket: what is so over this transport alone. See ``test_ai_sdk``."""

from __future__ import annotations

import asyncio

from tests import processes
from tests.faults.proxy import Proxy
from tests.front_ends.conftest import ADAPTERS
from tests.front_ends.test_ai_sdk import SOCKET, WHOLE


class CountingProxy(Proxy):
    """Counts connections."""

    count = 0

    def new_line(self) -> None:
        self.count += 1


async def test_two_chats_on_one_socket(gateway, session_id, open_gate):
    other_id = f"{session_id}-2"
    async with CountingProxy(gateway.port) as proxy, SOCKET.chat(proxy.port, session_id) as page:
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
    async with SOCKET.chat(gateway.port, session_id) as page:
        await page.do("send", text="script:stall", messageId="m1")
        await page.until(lambda change: change.get("text") == "a ")
        await page.do("stop")
        await page.until_done("send")
        assert page.last("status") == "ready"
        await page.do("send", text="next works", messageId="m2")  # so the stalled turn is over
        await page.until_done("send")
        assert page.last("finish")["text"] == "next works"


async def test_answer_of_a_gateway_that_stops_is_never_shown_as_complete(scripted_agent, session_id):
    with processes.gateway("serve", scripted_agent.http_url, **ADAPTERS, DRAIN_SECONDS="0") as mortal:
        async with SOCKET.chat(mortal.port, session_id) as page:
            await page.do("send", text="script:stall", messageId="m1")
            await page.until(lambda change: change.get("text") == "a ")
            await asyncio.to_thread(mortal.stop)
            await page.until_done("send")
            assert page.last("status") == "error"
