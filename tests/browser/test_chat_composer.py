"""The message field in Chromium: its keys, its draft, what is said again, and the list of conversations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, WebSocketRoute, expect

from tests import processes
from tests.browser.chat_page import ChatPage, answer_history, welcome
from tests.browser.conftest import new_context

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_enter_of_an_input_method_does_not_send_where_its_composition_has_ended(chat: ChatPage) -> None:
    await chat.field.fill("にほん")
    key = "new KeyboardEvent('keydown', { key: 'Enter', keyCode: 229, bubbles: true, cancelable: true })"
    await chat.field.evaluate(f"field => field.dispatchEvent({key})")
    await expect(chat.field).to_have_value("にほん")
    await expect(chat.messages).to_have_count(0)


async def test_draft_survives_a_reload(chat: ChatPage) -> None:
    await chat.field.fill("half a thou")
    await chat.page.reload()
    await expect(chat.field).to_have_value("half a thou")
    await expect(chat.page.get_by_role("button", name="Send")).to_be_enabled()
    await chat.field.press("Enter")
    await expect(chat.messages).to_have_text(["half a thou"])
    await chat.page.reload()
    await expect(chat.field).to_have_value("")


async def test_arrow_up_recalls_own_messages(chat: ChatPage) -> None:
    await chat.ask("first")
    await chat.ask("second")
    for key, shown in [("ArrowUp", "second"), ("ArrowUp", "first"), ("ArrowUp", "first"), ("ArrowDown", "second")]:
        await chat.field.press(key)
        await expect(chat.field).to_have_value(shown)
    await chat.field.press("ArrowDown")
    await expect(chat.field).to_have_value("")
    await chat.field.fill("a draft")
    await chat.field.press("ArrowUp")
    await expect(chat.field).to_have_value("a draft")


async def test_enter_starts_a_new_line_on_a_touch_screen(browser: Browser, site: processes.Process) -> None:
    phone = {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 700}}
    async with new_context(browser, **phone) as context:
        chat = await ChatPage(await context.new_page(), site.http_url).open()
        await chat.is_connected()
        await chat.field.press_sequentially("one")
        await chat.field.press("Enter")
        await chat.field.press_sequentially("two")
        await expect(chat.field).to_have_value("one\ntwo")
        await chat.page.get_by_role("button", name="Send").click()
        await expect(chat.messages).to_have_text(["one\ntwo"])
        assert chat.complaints == []


# Said again.


async def test_last_answer_is_made_again(chat: ChatPage) -> None:
    await chat.ask("first")
    turn = await chat.ask("second")
    await expect(chat.page.get_by_role("button", name="Regenerate")).to_have_count(1)
    await turn.get_by_role("button", name="Regenerate").click()
    await expect(chat.turns).to_have_count(3)
    await expect(chat.turns.nth(2)).to_have_attribute("data-phase", "ended")
    await expect(visible(chat.messages)).to_have_text(["first", "second"])
    await chat.page.get_by_role("button", name="Show the replaced message").click()
    await expect(visible(chat.messages)).to_have_text(["first", "second", "second"])


def visible(locator: Locator) -> Locator:
    return locator.locator("visible=true")


async def test_edited_message_replaces_its_turn_in_every_tab(chat: ChatPage, tab: Callable[..., Any]) -> None:
    turn = await chat.ask("frist")
    other = await tab(chat.url, f"/?session={await chat.session()}")
    await expect(other.messages).to_have_text(["frist"])
    await turn.hover()
    await turn.get_by_role("button", name="Edit").click()
    await expect(chat.field).to_have_value("frist")
    await expect(chat.page.get_by_text("You are editing a message")).to_be_visible()
    await chat.say("first")
    for one in (chat, other):
        await expect(visible(one.answers)).to_have_text(["first"])
        await expect(visible(one.messages)).to_have_text(["first"])
    await expect(chat.page.get_by_text("You are editing a message")).to_be_hidden()
    await chat.page.reload()
    await expect(visible(chat.messages)).to_have_text(["first"])


async def test_edit_is_left_with_escape(chat: ChatPage) -> None:
    turn = await chat.ask("words")
    await turn.hover()
    await turn.get_by_role("button", name="Edit").click()
    await chat.field.press("Escape")
    await expect(chat.field).to_have_value("")
    await expect(chat.page.get_by_text("You are editing a message")).to_be_hidden()


async def test_time_is_shown_on_hover(chat: ChatPage) -> None:
    turn = await chat.ask("words")
    time = turn.locator("time")
    await expect(time).to_have_css("opacity", "0")
    await turn.hover()
    await expect(time).to_have_css("opacity", "1")
    await expect(time).not_to_be_empty()


@pytest.mark.parametrize("code", ["shutting_down", "store_unavailable"])
async def test_message_that_the_gateway_could_not_take_is_sent_again(
    tab: Callable[..., Any], site: processes.Process, code: str
) -> None:
    sent: list[dict[str, Any]] = []

    def say(line: WebSocketRoute) -> None:
        def answer(text: str | bytes) -> None:
            if answer_history(line, text, []):
                return
            sent.append(json.loads(text))
            named = {"client_message_id": sent[-1]["client_message_id"]}
            if len(sent) == 1:
                refusal = {"type": "error", "code": code, "content": "Not now.", "retry_after_ms": 10}
                line.send(json.dumps({**refusal, **named}))
            else:
                accepted = {"type": "accepted", "turn_id": "t", "position": 0, "status": "queued", "duplicate": False}
                line.send(json.dumps({**accepted, **named}))

        line.on_message(answer)
        line.send(welcome())

    chat = await tab(site.http_url)
    await chat.page.route_web_socket("**/ws/**", say)
    await chat.page.reload()
    await chat.say("hello")
    await expect(chat.waiting).to_contain_text("Queued, next")
    assert [(one["content"], one["client_message_id"]) for one in sent] == [("hello", sent[0]["client_message_id"])] * 2


# The list of conversations.


async def test_conversations_are_listed_found_renamed_and_removed(chat: ChatPage, tab: Callable[..., Any]) -> None:
    await chat.ask("Tell me about lighthouses")
    other = await tab(chat.url)
    await other.ask("And now bridges")
    await expect(other.page).to_have_title("And now bridges")
    await other.page.get_by_role("button", name="Conversations").click()
    dialog = other.page.get_by_role("dialog", name="Conversations")
    await expect(dialog.get_by_role("link")).to_have_text(["And now bridges", "Tell me about lighthouses"])
    await dialog.get_by_label("Search titles").fill("LIGHT")
    await expect(dialog.get_by_role("link")).to_have_text(["Tell me about lighthouses"])
    await dialog.get_by_role("button", name="Rename").click()
    await dialog.get_by_label("Title", exact=True).fill("Lights by the sea")
    await dialog.get_by_label("Title", exact=True).press("Enter")
    await expect(dialog.get_by_role("link")).to_have_text(["Lights by the sea"])
    await dialog.get_by_role("link").click()
    await expect(other.messages).to_have_text(["Tell me about lighthouses"])
    await expect(other.page).to_have_title("Lights by the sea")
    await other.page.get_by_role("button", name="Conversations").click()
    await dialog.get_by_role("button", name="Delete: And now bridges").click()
    await dialog.get_by_role("button", name="Remove").click()
    await expect(dialog.get_by_role("link")).to_have_text(["Lights by the sea"])
    await other.page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
