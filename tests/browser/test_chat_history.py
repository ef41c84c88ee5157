"""A conversation that lasts, in Chromium: after a reload, a restart, a trimmed log, and back to its first turn."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import BrowserContext, expect

from tests import processes
from tests.browser.chat_page import ChatPage, open_before, welcome
from tests.browser.test_chat_page import IMPATIENT
from tests.clients import LIMIT_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def lasting(scripted_agent: processes.Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Process]:
    """A gateway with a database and a short log in memory, that may be restarted."""
    database = f"sqlite:///{tmp_path_factory.mktemp('chat')}/db.sqlite3"
    migrated = processes.run(["manage.py", "migrate", "--no-input"], GATEWAY__DATABASE_URL=database)
    assert migrated.returncode == 0, migrated.stdout
    settings = {"CHAT_PAGE": "true", "TRANSCRIPTS": "true", "DATABASE_URL": database, "BUFFER_SIZE": "100"}
    with processes.gateway("serve", scripted_agent.http_url, HEARTBEAT_SECONDS="1", RATE_LIMIT="0", **settings) as site:
        yield site


def ended_turn(number: int, **fields: Any) -> dict[str, Any]:
    turn = {"turn_id": f"t{number}", "subject": None, "message": f"question {number}", "answer": f"answer **{number}**"}
    rest = {"finish_reason": "stop", "error": None, "events": [], "events_left_out": 0}
    times = {"started_at": "2026-11-28T10:00:00Z", "ended_at": "2026-11-28T10:00:05Z"}
    return {**turn, **rest, **times, **fields}


async def scroll_to_the_start(chat: ChatPage, count: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while await chat.turns.count() < count:
            await chat.page.evaluate("scroller.scrollTop = 0")
            await asyncio.sleep(0.05)


def numbers(kind: str) -> str:
    return f"() => [...document.querySelectorAll('#turns .{kind}')].map(element => element.innerText.split(' ')[1])"


async def test_thousand_turns_are_read_by_scrolling(tab: Callable[..., Any], site: processes.Process) -> None:
    chat = await open_before(tab, site.http_url, welcome(), ended=[ended_turn(number) for number in range(1000, 0, -1)])
    await expect(chat.turns).to_have_count(30)
    await expect(chat.messages.last).to_be_in_viewport()
    await scroll_to_the_start(chat, 1000)
    assert await chat.page.evaluate(numbers("message")) == [str(number) for number in range(1, 1001)]
    await expect(chat.page.locator("#earlier")).to_be_hidden()


async def test_what_is_looked_at_stays_where_it_is_while_older_turns_come(
    tab: Callable[..., Any], site: processes.Process
) -> None:
    chat = await open_before(tab, site.http_url, welcome(), ended=[ended_turn(number) for number in range(100, 0, -1)])
    await expect(chat.turns).to_have_count(30)
    await chat.page.evaluate("scroller.scrollTop = 900")
    await chat.page.evaluate("scroller.scrollTop = 700")
    seen = chat.page.get_by_text("question 80", exact=True)
    top = "element => Math.round(element.getBoundingClientRect().top)"
    before = await seen.evaluate(top)
    await expect(chat.turns).to_have_count(60)
    assert abs(await seen.evaluate(top) - before) <= 2


async def test_kept_turn_looks_as_it_did_when_it_was_live(tab: Callable[..., Any], site: processes.Process) -> None:
    call = {"type": "tool_call", "call_id": "c", "tool_name": "search", "arguments": {"q": "é"}}
    events = [
        {"position": 0, "event": {"type": "reasoning", "token": "hm"}},
        {"position": 3, "event": call},
        {"position": 3, "event": {"type": "tool_result", "call_id": "c", "result": 3}},
    ]
    failed = {"finish_reason": "error", "error": {"code": "upstream_eof", "content": "The answer was cut off."}}
    turns = [ended_turn(2, answer="half", **failed), ended_turn(1, answer="a🙂b and more", events=events)]
    chat = await open_before(tab, site.http_url, welcome(), ended=turns)
    first = chat.turns.first
    await expect(first.locator(".text:visible")).to_have_text(["a🙂b", " and more"])
    await expect(first.get_by_role("group", name="Tool: search")).to_contain_text("Done")
    await expect(first.locator("time")).to_have_attribute("datetime", "2026-11-28T10:00:00.000Z")
    await expect(chat.turns.last.locator(".error")).to_contain_text("The answer was cut off.")
    await expect(chat.turns.last.get_by_role("button", name="Try again")).to_be_enabled()
    await expect(chat.page.locator("#announcer p")).to_have_count(0)


async def test_restart_in_memory_and_reload_show_the_whole_conversation(
    tab: Callable[..., Any], context: BrowserContext, lasting: processes.Process
) -> None:
    await context.add_init_script(IMPATIENT)
    chat = await tab(lasting.http_url)
    chat.may_lose_line = True
    await chat.ask("first **words**")
    await chat.ask("script:tool-result")
    await asyncio.to_thread(lasting.stop)
    await asyncio.to_thread(lasting.start)
    await chat.is_connected()
    await chat.ask("third")
    await expect(chat.messages).to_have_text(["first **words**", "script:tool-result", "third"])
    await expect(chat.page.locator(".note.rule")).to_have_count(0)
    await chat.page.reload()
    await expect(chat.messages).to_have_text(["first **words**", "script:tool-result", "third"])
    await expect(chat.turns.nth(0).locator("strong")).to_have_text("words")
    await expect(chat.turns.nth(1).get_by_role("group", name="Tool: clock")).to_contain_text("Done")
    await expect(chat.answers.last).to_have_text("third")


async def test_answer_longer_than_the_log_has_its_head_after_a_reload(
    tab: Callable[..., Any], lasting: processes.Process, scripted_agent: processes.Process
) -> None:
    chat = await tab(lasting.http_url)
    gate = await chat.session()
    question = f"script:tokens 600 gate={gate}"
    await chat.ask("before")
    await chat.say(question)
    await expect(chat.answers.last).to_contain_text("298 299")
    await chat.page.reload()
    await expect(chat.answers.last).to_contain_text("0 1 2 3 4")
    await expect(chat.answers.last).to_contain_text("298 299")
    await expect(chat.messages).to_have_text(["before", question])
    urllib.request.urlopen(f"{scripted_agent.http_url}/open/{gate}").close()
    await expect(chat.answers.last).to_have_text(" ".join(map(str, range(600))))
    await chat.page.reload()
    await expect(chat.answers.last).to_have_text(" ".join(map(str, range(600))))
    await expect(chat.messages).to_have_text(["before", question])


async def test_conversation_of_340_turns_is_read_to_its_start(
    tab: Callable[..., Any], lasting: processes.Process
) -> None:
    session_id = uuid4().hex
    await asyncio.to_thread(say_often, lasting, session_id, 340)
    chat = await tab(lasting.http_url, f"/?session={session_id}")
    await expect(chat.answers.last).to_have_text("number 339")
    await scroll_to_the_start(chat, 340)
    wanted = [str(number) for number in range(340)]
    assert await chat.page.evaluate(numbers("message")) == wanted
    assert await chat.page.evaluate(numbers("answer")) == wanted


def say_often(site: processes.Process, session_id: str, count: int) -> None:
    for number in range(count):
        body = json.dumps({"content": f"number {number}"}).encode()
        headers = {"X-Internal-Auth": processes.KEY, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{site.http_url}/api/v1/sessions/{session_id}/messages", body, headers)
        while True:
            try:
                urllib.request.urlopen(request).close()
                break
            except urllib.error.HTTPError as refusal:
                if refusal.code != 409:
                    raise
    while True:
        request = urllib.request.Request(f"{site.http_url}/api/v1/sessions/{session_id}", headers=headers)
        with urllib.request.urlopen(request) as response:
            state = json.load(response)
        if state["active"] is None and not state["queued"]:
            return


async def test_notice_stays_over_a_reload(tab: Callable[..., Any], site: processes.Process) -> None:
    chat = await tab(site.http_url)
    await chat.ask("first")
    body = json.dumps({"content": "We restart at six.", "session_id": await chat.session()}).encode()
    headers = {"X-Internal-Auth": processes.KEY, "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{site.http_url}/api/v1/notice", body, headers)).close()
    await expect(chat.page.locator(".notice")).to_have_text("NoticeWe restart at six.")
    await chat.ask("second")
    await chat.page.reload()
    items = chat.page.locator("#turns > li")
    await expect(items).to_have_count(3)
    await expect(items.nth(1)).to_have_text("NoticeWe restart at six.")


async def test_question_of_the_agent_waits_over_a_reload_and_is_decided_once(
    tab: Callable[..., Any], scripted_agent: processes.Process
) -> None:
    settings = {"CHAT_PAGE": "true", "FORWARD_TYPES": "hitl_decision"}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        chat = await tab(gateway.http_url)
        await chat.ask("script:ask c1")
        await chat.page.reload()
        other = await tab(gateway.http_url, f"/?session={await chat.session()}")
        for one in (chat, other):
            await expect(one.page.get_by_role("group", name="Tool: pay")).to_contain_text("Waiting for your approval")
        await chat.page.get_by_role("button", name="Approve").click()
        for one in (chat, other):
            await expect(one.page.get_by_role("group", name="Tool: pay")).to_contain_text("Approved")
            await expect(one.page.get_by_role("button", name="Approve")).to_have_count(0)
            await expect(one.page.locator(".decision")).to_have_text("pay: approved")
        await other.page.reload()
        await expect(other.page.get_by_role("group", name="Tool: pay")).to_contain_text("Approved")
        await expect(other.page.locator(".decision")).to_have_text("pay: approved")
