"""TanStack AI's own client that loads a conversation from a real gateway: a page that is opened again, or elsewhere."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.front_ends.conftest import KEY, get
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.node import Program
from tests.front_ends.tanstack import PATH, SOCKET, WHOLE, answers, has_delta, texts
from tests.front_ends.test_ai_sdk import NEWEST


@pytest.fixture
def page(transport):
    """Opens a page of a thread, which loads it."""

    def open_page(port: int, thread_id: str, **options: object) -> Program:
        loaded = {"url": f"http://127.0.0.1:{port}{PATH}", "headers": KEY, "threadId": thread_id, "load": True}
        return transport.client(port, **{**loaded, **options})

    return open_page


@pytest.fixture
def times_decided(scripted_agent):
    """How often the agent was told a decision in a session."""

    def count(session_id: str) -> int:
        known = [request["json"] for request in json.loads(get(f"{scripted_agent.http_url}/requests"))["requests"]]
        return sum(asked["type"] == "hitl_decision" and asked["session_id"] == session_id for asked in known)

    return count


async def ask(program: Program, words: str) -> None:
    await program.do("send", text=words)
    await program.until_done("send")


def essence(messages: list[dict]) -> list[tuple]:
    """Messages without what only one page knows."""
    return [(message["role"], message["parts"]) for message in messages]


@pytest.mark.parametrize("script", ["words", "script:tool-result", "script:kinds"])
async def test_page_shows_what_the_page_before_it_has_shown(gateway, page, session_id, script, open_gate):
    await asyncio.to_thread(open_gate, session_id)
    script += f" gate={session_id}" if script == "script:kinds" else ""
    async with page(gateway.port, session_id) as program:
        await ask(program, script)
        first = program.last("messages")
    async with page(gateway.port, session_id) as program:
        shown = (await program.until(lambda change: len(change.get("seen", [])) == len(first)))["seen"]
        assert essence(shown) == essence(first)
        assert (shown[-1]["id"], len(shown)) == (first[-1]["id"], 2)
        await ask(program, "next")
        assert answers(program)[-1] == "next"


async def test_older_messages_are_loaded_page_by_page(gateway, page, session_id):
    asked = [f"m{number}" for number in range(5)]
    async with page(gateway.port, session_id) as program:
        for words in asked:
            await ask(program, words)
    async with page(gateway.port, session_id, history={"pageSize": 4}) as program:
        await program.until(lambda change: texts(change.get("seen", []), "user") == asked[3:])
        for first in (1, 0):
            await program.do("older")
            await program.until_done("older")
            assert (texts(program.last("messages"), "user"), program.last("hasOlder")) == (asked[first:], first > 0)
        assert answers(program) == asked


async def test_page_that_is_loaded_in_mid_answer_shows_it_whole(gateway, page, session_id, open_gate, times_asked):
    words = f"script:tokens 8 gate={session_id}"
    async with page(gateway.port, session_id) as program:
        await ask(program, "before")
        await program.do("send", text=words)
        await program.until(has_delta("3 "))
    async with page(gateway.port, session_id) as program:
        await program.until(has_delta("3 "))
        await asyncio.to_thread(open_gate, session_id)
        await program.until(lambda change: change.get("chunk", {}).get("type") == "RUN_FINISHED")
        await program.until(lambda change: change.get("isLoading") is False)
        await program.do("tell")
        await program.until_done("tell")
        assert (program.last("status"), answers(program)) == ("ready", ["before", WHOLE])
        assert texts(program.last("messages"), "user") == ["before", words]
    assert await asyncio.to_thread(times_asked, words) == 1


async def test_run_of_another_front_end_is_followed(gateway, page, session_id, open_gate):
    words = f"script:tokens 8 gate={session_id}"
    async with NEWEST.chat(gateway.port, session_id) as chat:
        await chat.do("send", text=words, messageId="m1")
        await chat.until(lambda change: change.get("text") == "0 1 2 3 ")
        async with page(gateway.port, session_id) as program:
            await program.until(has_delta("3 "))
            await asyncio.to_thread(open_gate, session_id)
            await program.until(lambda change: change.get("isLoading") is False)
            await program.do("tell")
            await program.until_done("tell")
            assert answers(program) == [WHOLE]
            assert program.last("status") == "ready"


async def test_run_that_a_page_has_joined_and_that_is_cut_is_never_shown_as_complete(
    gateway, transport, page, session_id, open_gate
):
    """Over HTTP the client comes back by itself; over WebSocket it says that it could not."""
    async with page(gateway.port, session_id) as program:
        await program.do("send", text=f"script:tokens 8 gate={session_id}")
        await program.until(has_delta("3 "))
        async with (
            CuttingProxy(gateway.port, before=6, mark=b'"delta":"') as proxy,
            page(proxy.port, session_id) as second,
        ):
            await second.until(has_delta("3 "))
            await asyncio.to_thread(open_gate, session_id)
            await second.until(lambda change: change.get("isLoading") is False)
            await second.do("tell")
            await second.until_done("tell")
            assert proxy.has_cut
            if transport is SOCKET:
                assert second.last("status") == "error"
            else:
                assert (second.last("status"), answers(second)) == ("ready", [WHOLE])


async def test_question_is_asked_by_the_page_that_is_loaded_again_and_answered_there(
    gateway, page, session_id, times_decided
):
    async with page(gateway.port, session_id) as program:
        await ask(program, "script:asks")
        assert program.last("interrupts") == ["q"]
    async with page(gateway.port, session_id) as program:
        await program.until(lambda change: change.get("interrupts") == ["q"])
        resume = [{"interruptId": "q", "status": "resolved", "payload": {"approved": True}}]
        await program.do("resume", resume=resume)
        await program.until_done("resume")
        assert (program.last("status"), program.last("interrupts")) == ("ready", [])
        await ask(program, "next")
        assert answers(program)[-1] == "next"
    assert await asyncio.to_thread(times_decided, session_id) == 1
