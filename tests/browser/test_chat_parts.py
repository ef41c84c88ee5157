"""The parts of an answer in Chromium: reasoning, tool calls, approval, other events; and the words of the queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import WebSocketRoute, expect

from tests import processes
from tests.browser.chat_page import ChatPage, answer_history, open_before, welcome

pytestmark = pytest.mark.asyncio(loop_scope="session")

FINAL = {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": "stop"}
CALL = {"type": "tool_call", "call_id": "c1", "tool_name": "search", "arguments": {"q": "Paris"}}


def message(content: str) -> dict[str, Any]:
    return {"type": "user_message", "content": content}


def token(text: str) -> dict[str, Any]:
    return {"type": "assistant_message", "token": text, "is_final": False}


def log(*frames: dict[str, Any], turn: str = "t1", start: int = 0) -> list[str]:
    """Frames of a log, numbered."""
    return [json.dumps({"turn_id": turn, "offset": start + index, **frame}) for index, frame in enumerate(frames, 1)]


async def test_parts_stand_in_the_order_in_which_they_came(tab: Callable[..., Any], site: processes.Process) -> None:
    frames = log(
        message("where?"),
        {"type": "reasoning", "token": "I **should** "},
        {"type": "reasoning", "token": "search."},
        token("Let me "),
        token("look."),
        CALL,
        {"type": "reasoning", "token": "Found."},
        {"type": "tool_result", "call_id": "c1", "result": {"found": 3}},
        {"type": "message_start", "message_id": "m2"},
        token("Here."),
        {"type": "usage", "total_tokens": 1280},
        FINAL,
    )
    chat = await open_before(tab, site.http_url, welcome(), *frames)
    parts = chat.answers.locator("> *")
    await expect(chat.turns).to_have_attribute("data-phase", "ended")
    assert await parts.evaluate_all("parts => parts.map(({ className }) => className)") == [
        *("reasoning", "text", "tool", "reasoning", "text", "events"),
    ]
    await expect(chat.answers.locator(".text:visible")).to_have_text(["Let me look.", "Here."])
    first = chat.answers.locator("details.reasoning").first
    await expect(first).not_to_have_attribute("open", "")
    await first.locator("summary").click()
    await expect(first).to_have_text("ReasoningI should search.")
    card = chat.page.get_by_role("group", name="Tool: search")
    await expect(card).to_contain_text("Done")
    await card.locator("summary").click()
    await expect(card.get_by_role("group", name="Arguments")).to_contain_text('"q": "Paris"')
    await expect(card.get_by_role("group", name="Result")).to_contain_text('"found": 3')
    await expect(chat.page.get_by_text("1,280 tokens used")).to_be_visible()


async def test_tool_call_shows_its_state(tab: Callable[..., Any], site: processes.Process) -> None:
    error = {"type": "tool_result", "call_id": "c1", "error": "No such city."}
    lines: list[WebSocketRoute] = []

    def say(line: WebSocketRoute) -> None:
        lines.append(line)
        line.on_message(lambda frame: None)
        for frame in [welcome(), *log(message("where?"), CALL)]:
            line.send(frame)

    chat = await tab(site.http_url)
    await chat.page.route_web_socket("**/ws/**", say)
    await chat.page.reload()
    card = chat.page.get_by_role("group", name="Tool: search")
    await expect(card.locator(".tool-state")).to_have_text("Running…")
    lines[-1].send(log(error, start=2)[0])
    await expect(card.locator(".tool-state")).to_have_text("Failed")
    await card.locator("summary").click()
    await expect(card.get_by_role("group", name="Error")).to_have_text("No such city.")


@pytest.mark.parametrize(
    ("button", "decision", "state"), [("Approve", "approve", "Approved"), ("Reject", "reject", "Rejected")]
)
async def test_call_that_waits_is_decided(
    tab: Callable[..., Any], site: processes.Process, button: str, decision: str, state: str
) -> None:
    sent: list[dict[str, Any]] = []
    frames = log(message("book it"), {**CALL, "requires_approval": True}, {**FINAL, "finish_reason": "interrupt"})

    def say(line: WebSocketRoute) -> None:
        line.on_message(lambda frame: answer_history(line, frame, []) or sent.append(json.loads(frame)))
        for frame in [welcome(), *frames]:
            line.send(frame)

    chat = await tab(site.http_url)
    await chat.page.route_web_socket("**/ws/**", say)
    await chat.page.reload()
    card = chat.page.get_by_role("group", name="Tool: search")
    await expect(card.locator(".tool-state")).to_have_text("Waiting for your approval")
    await expect(card.get_by_role("group", name="Arguments")).to_be_visible()
    await card.get_by_role("button", name=button).click()
    await expect(card.locator(".tool-state")).to_have_text(state)
    await expect(card.get_by_role("button")).to_have_count(0)
    assert [(one["type"], one["call_id"], one["decision"]) for one in sent] == [("hitl_decision", "c1", decision)]


async def test_decision_that_is_refused_can_be_made_again(tab: Callable[..., Any], site: processes.Process) -> None:
    frames = log(message("book it"), {**CALL, "requires_approval": True}, {**FINAL, "finish_reason": "interrupt"})

    def say(line: WebSocketRoute) -> None:
        def refuse(frame: str | bytes) -> None:
            if answer_history(line, frame, []):
                return
            refused = {"type": "error", "code": "bad_request", "content": "Not now."}
            line.send(json.dumps({**refused, "client_message_id": json.loads(frame)["client_message_id"]}))

        line.on_message(refuse)
        for frame in [welcome(), *frames]:
            line.send(frame)

    chat = await tab(site.http_url)
    await chat.page.route_web_socket("**/ws/**", say)
    await chat.page.reload()
    await chat.page.get_by_role("button", name="Approve").click()
    await expect(chat.page.get_by_text("Not now.", exact=True).first).to_be_visible()
    await expect(chat.page.get_by_role("button", name="Approve")).to_be_visible()


# What an operator says, and what a reader opens.


async def test_notice_in_mid_answer_stays_in_its_place(tab: Callable[..., Any], site: processes.Process) -> None:
    notice = json.dumps({"type": "notice", "code": "operator", "content": "We restart at six."})
    frames = log(message("hello"), token("a"), token("b"), FINAL)
    chat = await open_before(tab, site.http_url, welcome(), *frames[:2], notice, *frames[2:])
    await expect(chat.turns).to_have_attribute("data-phase", "ended")
    items = chat.page.locator("#turns > li")
    await expect(items.last).to_have_text("NoticeWe restart at six.")
    await expect(items.first).to_contain_text("hello")


async def test_opened_details_do_not_hide_the_end(tab: Callable[..., Any], site: processes.Process) -> None:
    event = {"type": "debug", "lines": list(range(200))}
    frames = log(message("hello"), event, token("word " * 60), FINAL)
    chat = await open_before(tab, site.http_url, welcome(), *frames)
    await chat.page.set_viewport_size({"width": 900, "height": 500})
    await chat.page.get_by_text("debug", exact=True).click()
    await chat.page.get_by_role("button", name="Latest").click()
    await expect(chat.page.get_by_role("button", name="Latest")).to_be_hidden()
    await expect(chat.answers.locator(".text")).to_be_in_viewport()


async def test_long_paste_is_folded(chat: ChatPage) -> None:
    await chat.say("line\n" * 40 + "end")
    await expect(chat.turns).to_have_attribute("data-phase", "ended")
    height = "element => element.getBoundingClientRect().height"
    message = chat.messages.first
    assert await message.evaluate(height) < 250
    await chat.page.get_by_role("button", name="Show all").click()
    assert await message.evaluate(height) > 500
    await chat.page.get_by_role("button", name="Show less").click()
    assert await message.evaluate(height) < 250


# The queue.


async def test_words_of_the_queue_follow_what_happens(chat: ChatPage) -> None:
    await chat.say("script:tokens 2000 delay=0.03")
    await expect(chat.answers).to_contain_text("0 1")
    for number, words in enumerate(["next", "1 ahead", "2 ahead"]):
        await chat.say(f"message {number}")
        await expect(chat.waiting.nth(number)).to_contain_text(f"Queued, {words}")
    await chat.waiting.nth(1).get_by_role("button", name="Remove").click()
    await expect(chat.waiting.nth(2)).to_contain_text("Queued, 1 ahead")
    await chat.stop.click()
    await expect(chat.waiting).to_have_count(0)


async def test_count_of_a_queue_with_messages_of_other_tabs(chat: ChatPage) -> None:
    counted = await chat.page.evaluate(
        """async () => {
            const { Queue } = await import('/static/relay/chat-queue.js');
            const queue = new Queue();
            const seen = [];
            const look = () => seen.push([queue.ahead('mine'), queue.countOthers(id => id === 'mine')]);
            queue.add('mine', 2);
            look();
            queue.begin('another');
            look();
            queue.begin('one more');
            look();
            queue.begin('mine');
            look();
            return seen;
        }"""
    )
    assert counted == [[2, 2], [1, 1], [0, 0], [0, 0]]
