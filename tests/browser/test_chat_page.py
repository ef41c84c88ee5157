"""The chat page in Chromium, before a real gateway and a scripted agent."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import BrowserContext, WebSocketRoute, expect

from tests import processes
from tests.browser.chat_page import ChatPage, open_before, welcome
from tests.clients import LIMIT_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = "script:tokens 2000 delay=0.03"  # a minute: somebody has to stop it
NUMBERS = " ".join(map(str, range(100)))
IMPATIENT = "Math.random = () => 0.02"  # comes back after a small part of what it might wait
# Where the page stays: a wheel moves it frame by frame.
RESTING_TOP = """new Promise((resolve) => {
    const tops = [];
    const look = () => {
        tops.push(scroller.scrollTop);
        if (tops.length > 5 && new Set(tops.slice(-5)).size === 1) resolve(tops.at(-1));
        else requestAnimationFrame(look);
    };
    look();
})"""
MARKUP = '<img src=x onerror="window.isHacked = true"><script>window.isHacked = true</script>'


# The conversation.


async def test_question_is_answered(chat: ChatPage) -> None:
    await expect(chat.page.get_by_role("heading", name="Ask the agent something")).to_be_visible()
    turn = await chat.ask("Hello there, agent")
    await expect(turn.get_by_role("group", name="Message")).to_have_text("Hello there, agent")
    await expect(turn.get_by_role("group", name="Answer")).to_have_text("Hello there, agent")
    await expect(chat.page.get_by_role("heading", name="Ask the agent something")).to_be_hidden()
    await expect(chat.field).to_have_value("")
    await expect(chat.field).to_be_focused()
    await expect(chat.stop).to_be_hidden()


async def test_suggestion_is_sent(chat: ChatPage) -> None:
    await chat.page.get_by_role("button", name="Help").click()
    await expect(chat.messages).to_have_text(["Help"])
    await expect(chat.turns).to_have_attribute("data-phase", "ended")


async def test_new_conversation_is_kept_in_the_address(chat: ChatPage) -> None:
    first = await chat.session()
    assert re.fullmatch("[0-9a-f]{32}", first)
    await chat.ask("hello")
    await chat.page.reload()
    assert await chat.session() == first
    await expect(chat.answers).to_have_text(["hello"])
    await chat.page.get_by_role("link", name="New conversation").click()
    await expect(chat.page).not_to_have_url(re.compile(first))
    await chat.is_connected()
    assert await chat.session() != first
    await expect(chat.messages).to_have_count(0)


async def test_conversation_named_in_the_fragment_is_opened(tab: Callable[..., Any], site: processes.Process) -> None:
    first = await tab(site.http_url, "/?session=by-fragment")
    await first.ask("hello")
    second = await tab(site.http_url, "/#by-fragment")
    await expect(second.answers).to_have_text(["hello"])


@pytest.mark.parametrize("rest", ["/?session=a%2Fb", "/?session=..", "/#%E0%A4%A"])
async def test_conversation_with_invalid_name_is_explained(
    tab: Callable[..., Any], site: processes.Process, rest: str
) -> None:
    chat = await tab(site.http_url, rest)
    await expect(chat.page.get_by_role("alert")).to_contain_text("This link is not valid")
    await expect(chat.page.get_by_role("alert").get_by_role("link", name="New conversation")).to_be_visible()


async def test_markup_is_shown_as_text(chat: ChatPage) -> None:
    turn = await chat.ask(MARKUP)
    await expect(turn.get_by_role("group", name="Message")).to_have_text(MARKUP)
    await expect(turn.get_by_role("group", name="Answer")).to_have_text(MARKUP)
    assert await chat.page.evaluate("window.isHacked") is None
    assert await turn.locator("img, script").count() == 0


async def test_text_begins_on_the_side_of_its_language(chat: ChatPage) -> None:
    turn = await chat.ask("مرحبا, hello\n\n- واحد\n\nhello, مرحبا\n\n~~~\nشيء\n~~~")
    direction = "elements => elements.map(element => getComputedStyle(element).direction)"
    shown = turn.locator(".message, .answer p, .answer ul, .answer pre")
    assert await shown.evaluate_all(direction) == ["rtl", "rtl", "rtl", "ltr", "ltr"]


async def test_answer_is_copied_as_it_was_written(chat: ChatPage) -> None:
    await chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    turn = await chat.ask("**a** and\n`b`")
    await chat.page.evaluate("window.setTimeout = () => 0")  # or the button is itself again before it is looked at
    await turn.get_by_role("button", name="Copy").click()
    await expect(turn.get_by_role("button", name="Copied")).to_be_visible()
    assert await chat.page.evaluate("navigator.clipboard.readText()") == "**a** and\n`b`"


async def test_events_of_other_types_are_listed(chat: ChatPage) -> None:
    turn = await chat.ask("script:typed")
    await expect(turn.get_by_role("group", name="Tool: clock")).to_contain_text("No result")
    await expect(turn.locator(".text")).to_have_text(["a", "b"])
    await turn.get_by_text("agent switched").click()
    await expect(turn.locator(".event pre")).to_have_text(re.compile(r'^\{\s+"agent": "colleague",'))
    await expect(turn.locator(".event pre")).not_to_contain_text("turn_id")


async def test_notice_is_shown_with_its_turn(chat: ChatPage) -> None:
    turn = await chat.ask("script:garbage")
    await expect(turn.get_by_role("group", name="Answer")).to_have_text("a b")
    await expect(turn.locator(".note").first).not_to_be_empty()


# The keyboard.


async def test_shift_enter_starts_a_new_line(chat: ChatPage) -> None:
    await chat.field.press_sequentially("one")
    await chat.field.press("Shift+Enter")
    await chat.field.press_sequentially("two")
    await expect(chat.field).to_have_value("one\ntwo")
    await chat.field.press("Enter")
    await expect(chat.messages).to_have_text(["one\ntwo"])


async def test_enter_that_ends_a_composition_does_not_send(chat: ChatPage) -> None:
    await chat.field.fill("にほん")
    await chat.field.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    await expect(chat.field).to_have_value("にほん")
    await expect(chat.messages).to_have_count(0)


async def test_blank_message_is_not_sent(chat: ChatPage) -> None:
    await chat.say(" \n ")
    await expect(chat.page.get_by_role("button", name="Send")).to_be_disabled()
    await expect(chat.messages).to_have_count(0)


async def test_everything_is_reached_with_the_tab_key(chat: ChatPage) -> None:
    await chat.page.get_by_role("link", name="Skip to the message field").focus()
    for name in ["Conversations", "New conversation", "Conversation", "Help", "Count to 50", "Tell me", "Your message"]:
        await chat.page.keyboard.press("Tab")
        await expect(chat.page.locator(":focus")).to_have_accessible_name(re.compile(name))
    await chat.page.get_by_role("link", name="Skip to the message field").press("Enter")
    await expect(chat.field).to_be_focused()


# Stopping and waiting.


@pytest.mark.parametrize("how", ["button", "escape"])
async def test_stopped_answer_keeps_what_was_shown(chat: ChatPage, how: str) -> None:
    await chat.say(LONG)
    await expect(chat.answers).to_contain_text("0 1 2 3")
    await (chat.stop.click() if how == "button" else chat.page.keyboard.press("Escape"))
    await expect(chat.turns).to_have_attribute("data-phase", "ended")
    await expect(chat.turns.locator(".note")).to_have_text("Stopped.")
    await expect(chat.answers).to_contain_text("0 1 2 3")
    await expect(chat.stop).to_be_hidden()
    await expect(chat.field).to_be_focused()


async def test_answer_is_stopped_from_another_tab(chat: ChatPage, tab: Callable[..., Any]) -> None:
    await chat.say(LONG)
    await expect(chat.answers).to_contain_text("0 1 2")
    other = await tab(chat.url, f"/?session={await chat.session()}")
    await expect(other.answers).to_contain_text("0 1 2")
    await other.stop.click()
    await expect(chat.turns).to_have_attribute("data-phase", "ended")
    await expect(chat.turns.locator(".note")).to_have_text("Stopped.")


async def test_second_message_waits_for_the_first(chat: ChatPage) -> None:
    await chat.say(LONG)
    await expect(chat.answers).to_contain_text("0 1")
    await chat.say("second")
    await expect(chat.waiting).to_contain_text("Queued, next")
    await chat.say("third")
    await expect(chat.waiting.nth(1)).to_contain_text("Queued, 1 ahead")
    await chat.stop.click()
    await expect(chat.turns.locator(".message")).to_have_text([LONG, "second", "third"])
    await expect(chat.answers.last).to_have_text("third")
    await expect(chat.waiting).to_have_count(0)


async def test_waiting_message_is_skipped(chat: ChatPage) -> None:
    await chat.say(LONG)
    await expect(chat.answers).to_contain_text("0 1")
    await chat.say("second")
    await expect(chat.waiting).to_contain_text("Queued, next")  # the button is a new one now
    await chat.waiting.get_by_role("button", name="Remove").click()
    await expect(chat.waiting).to_contain_text("Removing…")
    await chat.stop.click()
    await expect(chat.turns.nth(1).locator(".note")).to_have_text("Stopped.")
    await expect(chat.answers.nth(1)).to_have_text("")


async def test_waiting_message_stays_over_a_reload(chat: ChatPage, tab: Callable[..., Any]) -> None:
    await chat.say(LONG)
    await expect(chat.answers).to_contain_text("0 1")
    await chat.say("second")
    await expect(chat.waiting).to_contain_text("Queued, next")
    await chat.page.reload()
    await expect(chat.waiting.locator(".message")).to_have_text("second")
    other = await tab(chat.url, f"/?session={await chat.session()}")
    await expect(other.page.get_by_text("One more message is queued.")).to_be_visible()
    await chat.stop.click()
    for one in (chat, other):
        await expect(one.turns.locator(".message")).to_have_text([LONG, "second"])
        await expect(one.answers.last).to_have_text("second")
        await expect(one.waiting).to_have_count(0)
        await expect(one.page.get_by_text("One more message is queued.")).to_be_hidden()


# Coming back.


async def test_reload_in_mid_answer_shows_all_of_it(chat: ChatPage, scripted_agent: processes.Process) -> None:
    gate = await chat.session()
    question = f"script:tokens 100 delay=0.03 gate={gate}"
    await chat.ask("before")
    await chat.say(question)
    await expect(chat.answers.last).to_contain_text("0 1 2 3 4 5")
    await chat.page.reload()
    await expect(chat.stop).to_be_visible()
    urllib.request.urlopen(f"{scripted_agent.http_url}/open/{gate}").close()
    await expect(chat.answers.last).to_have_text(NUMBERS)
    await expect(chat.stop).to_be_hidden()
    await expect(chat.messages).to_have_text(["before", question])


async def test_second_tab_sees_the_same_conversation(chat: ChatPage, tab: Callable[..., Any]) -> None:
    await chat.ask("before")
    other = await tab(chat.url, f"/?session={await chat.session()}")
    await expect(other.answers).to_have_text(["before"])
    await other.say("script:tokens 100 delay=0.01")
    await expect(chat.messages).to_have_text(["before", "script:tokens 100 delay=0.01"])
    await chat.say("after")
    for one in (chat, other):
        await expect(one.answers).to_have_text(["before", NUMBERS, "after"])
        await expect(one.messages).to_have_text(["before", "script:tokens 100 delay=0.01", "after"])


async def test_network_that_goes_and_comes_loses_nothing(chat: ChatPage) -> None:
    chat.may_lose_line = True
    await chat.say("script:tokens 100 delay=0.03")
    await expect(chat.answers).to_contain_text("0 1 2")
    await chat.page.context.set_offline(True)
    await expect(chat.pill).to_have_text("Offline")
    await chat.say("meanwhile")
    await expect(chat.waiting).to_contain_text("Will send when you are back online")
    await chat.page.context.set_offline(False)
    await chat.is_connected()
    await expect(chat.answers).to_have_text([NUMBERS, "meanwhile"])


async def test_line_that_breaks_again_and_again_loses_nothing(tab: Callable[..., Any], site: processes.Process) -> None:
    connections = breaks = 0
    frames_before_break = {1: 3, 2: 2, 3: 2}  # so few that they come before the end, however late a connection is

    def break_soon(line: WebSocketRoute) -> None:
        nonlocal connections
        connections += 1
        last = frames_before_break.get(connections, 7)
        frames = 0

        def pass_on(frame: str | bytes) -> None:
            nonlocal frames
            frames += 1
            line.send(frame)

        async def pass_on_and_break(frame: str | bytes) -> None:
            nonlocal breaks
            pass_on(frame)
            if frames == last:
                breaks += 1
                await line.close(code=4503)

        line.connect_to_server().on_message(pass_on_and_break)

    chat = ChatPage(await (await tab(site.http_url)).page.context.new_page(), site.http_url)
    await chat.page.add_init_script(IMPATIENT)
    await chat.page.route_web_socket(re.compile("/ws/"), break_soon)
    await chat.open()
    await chat.say("script:tokens 100 delay=0.03")
    await expect(chat.answers).to_have_text(NUMBERS)
    await expect(chat.messages).to_have_count(1)
    async with asyncio.timeout(LIMIT_SECONDS):
        while breaks < len(frames_before_break):
            await asyncio.sleep(0.05)


async def test_killed_gateway_in_memory_is_explained_and_goes_on(
    tab: Callable[..., Any], context: BrowserContext, gateway: processes.Process
) -> None:
    await context.add_init_script(IMPATIENT)
    chat = await tab(gateway.http_url)
    chat.may_lose_line = True
    await chat.ask("first")
    await chat.say("count to 1000")
    await expect(chat.answers.last).to_contain_text("1 2 3")
    gateway.kill()
    await expect(chat.pill).not_to_have_text("Connected")
    await chat.say("said while it was down")
    gateway.start()
    await chat.is_connected()
    await expect(chat.page.locator(".note.rule")).to_contain_text("The server restarted")
    await expect(chat.turns.nth(1).locator(".error")).to_contain_text("no longer available")
    await expect(chat.answers.nth(1)).to_contain_text("1 2 3")
    await expect(chat.answers.last).to_contain_text("said while it was down")
    await expect(chat.messages).to_have_text(["first", "count to 1000", "said while it was down"])


async def test_stopped_gateway_is_found_again(
    tab: Callable[..., Any], context: BrowserContext, gateway: processes.Process
) -> None:
    await context.add_init_script(IMPATIENT)
    chat = await tab(gateway.http_url)
    chat.may_lose_line = True
    await chat.is_connected()
    gateway.stop()
    await expect(chat.pill).to_have_text(re.compile("Reconnecting"))
    gateway.start()
    await chat.is_connected()
    await expect(chat.page.locator(".note.rule")).to_have_count(0)  # nothing was said, so nothing was lost
    turn = await chat.ask("still there?")
    await expect(turn).to_contain_text("still there?")


# Trouble, in words.


async def test_failed_answer_says_why(chat: ChatPage) -> None:
    turn = await chat.ask("script:error The model is out of paper.")
    await expect(turn.locator(".error p")).to_have_text("The model is out of paper.")
    await expect(turn.get_by_role("group", name="Answer")).to_have_text("a")


async def test_failed_answer_worth_repeating_is_asked_again(chat: ChatPage) -> None:
    turn = await chat.ask("script:status 503 retry-after=0")
    await turn.get_by_role("button", name="Try again").click()
    await expect(chat.turns).to_have_count(2)
    await expect(chat.turns.last.locator(".error")).to_be_visible()
    await expect(turn.get_by_role("button", name="Try again")).to_have_count(0)
    await expect(chat.field).to_be_focused()


async def test_message_that_is_too_large_can_be_edited(chat: ChatPage) -> None:
    text = "x" * 300_000
    await chat.say(text)
    await expect(chat.page.locator(".error")).to_contain_text("This message is too long (limit 256 KB).")
    await chat.page.get_by_role("button", name="Edit").click()
    await expect(chat.field).to_have_value(text)
    await expect(chat.messages).to_have_count(0)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("unauthorized", "signed out or your access has expired"),
        ("forbidden", "belongs to another user"),
        ("kicked", "An operator disconnected you."),
        ("session_deleted", "was deleted"),
        ("new_code", "Words of the server."),
    ],
)
async def test_leaving_for_good_is_explained(
    tab: Callable[..., Any], site: processes.Process, code: str, words: str
) -> None:
    frame = {"type": "disconnect", "code": code, "content": "Words of the server.", "reconnect": False}
    chat = await open_before(tab, site.http_url, welcome(), json.dumps(frame))
    await expect(chat.page.get_by_role("alert")).to_contain_text(words)
    await expect(chat.pill).to_have_text("Disconnected")
    await expect(chat.field).to_be_disabled()
    await expect(chat.page.get_by_role("button", name="Send")).to_be_disabled()


async def test_delay_of_the_server_is_counted_down(tab: Callable[..., Any], site: processes.Process) -> None:
    frame = {"type": "disconnect", "code": "rate_limited", "content": "Wait.", "reconnect": True, "delay_ms": 60_000}
    chat = await open_before(tab, site.http_url, welcome(), json.dumps(frame))
    await expect(chat.pill).to_have_text(re.compile(r"Reconnecting in ([345]\d|60) s"))
    first = await chat.pill.inner_text()
    await expect(chat.pill).not_to_have_text(first)
    then = await chat.pill.inner_text()
    assert 0 < _seconds(then) < _seconds(first)


def _seconds(words: str) -> int:
    found = re.fullmatch(r"Reconnecting in (\d+) s", words)
    assert found is not None, words
    return int(found[1])


@pytest.mark.parametrize("width", [320, 360, 600])
async def test_bar_of_a_waiting_page_is_one_line_or_two_and_fits(
    tab: Callable[..., Any], site: processes.Process, width: int
) -> None:
    """The longest words that it has: a time to wait, and a button to try now."""
    frame = {"type": "disconnect", "code": "rate_limited", "content": "Wait.", "reconnect": True, "delay_ms": 60_000}
    chat = await open_before(tab, site.http_url, welcome(), json.dumps(frame))
    await chat.page.set_viewport_size({"width": width, "height": 640})
    await expect(chat.pill).to_have_text(re.compile(r"Reconnecting in"))
    bar = chat.page.get_by_role("banner")
    seen = await bar.evaluate("""bar => {
        bar.querySelector('#reconnect').hidden = false; // until the next second is counted
        const heights = [...bar.querySelectorAll('#connection, #reconnect, .new')].map(part => part.offsetHeight);
        return { fits: bar.scrollWidth <= innerWidth, height: bar.offsetHeight, heights };
    }""")
    assert seen["fits"]
    assert seen["height"] <= 100
    assert len(seen["heights"]) == 4
    assert all(0 < height <= 40 for height in seen["heights"]), "its words are broken"
    await expect(bar.get_by_role("heading", name="Conversation")).to_be_attached()


async def test_sleeping_page_wakes_when_a_message_is_written(tab: Callable[..., Any], site: processes.Process) -> None:
    frame = {"type": "disconnect", "code": "idle", "content": "Idle.", "reconnect": True, "delay_ms": 0}
    chat = await open_before(tab, site.http_url, welcome(), json.dumps(frame))
    await expect(chat.pill).to_have_text("Paused")
    await chat.say("good morning")
    await chat.is_connected()
    await expect(chat.waiting.locator(".message")).to_have_text("good morning")


async def test_snapshot_after_a_gap_replaces_the_answer(tab: Callable[..., Any], site: processes.Process) -> None:
    snapshot = {"type": "snapshot", "epoch": "E", "turn_id": "t", "content": "the text so far", "offset": 90}
    rest = {"reason": "trimmed", "finish_reason": None, "error": None, "history": True}
    rest["user_message"] = {"type": "user_message", "content": "the question"}
    token = {"type": "assistant_message", "token": ", and on", "is_final": False, "turn_id": "t", "offset": 91}
    first = welcome(offset=90, after=None, recovered=False, active={"turn_id": "t", "status": "running"})
    chat = await open_before(tab, site.http_url, first, json.dumps({**snapshot, **rest}), json.dumps(token))
    await expect(chat.answers).to_have_text("the text so far, and on")
    await expect(chat.messages).to_have_text("the question")
    await expect(chat.stop).to_be_visible()


# Scrolling and size.


async def test_page_follows_the_answer_until_somebody_scrolls_up(chat: ChatPage) -> None:
    rest_below = "scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight"
    await chat.ask("\n\n".join(f"line {number}" for number in range(60)))
    assert await chat.page.evaluate(rest_below) < 8
    await chat.say(LONG)
    await chat.page.mouse.move(600, 300)
    await chat.page.mouse.wheel(0, -600)
    latest = chat.page.get_by_role("button", name="Latest")
    await expect(latest).to_be_visible()
    top = await chat.page.evaluate(RESTING_TOP)
    await expect(chat.answers.last).to_contain_text("40 41 42")
    assert await chat.page.evaluate("scroller.scrollTop") == top
    await latest.click()
    await expect(latest).to_be_hidden()
    assert await chat.page.evaluate(rest_below) < 8
    await chat.stop.click()


@pytest.mark.parametrize("width", [360, 1280])
async def test_long_words_and_code_fit_the_screen(chat: ChatPage, width: int) -> None:
    await chat.page.set_viewport_size({"width": width, "height": 640})
    await chat.ask("w" * 300 + "\n\n~~~\n" + "c" * 300 + "\n~~~\n")
    wider = """() => [...document.querySelectorAll('body *')].filter(element =>
        element.getClientRects().length && !element.closest("pre") &&
        element.getBoundingClientRect().right > innerWidth + 1)
        .map(element => element.outerHTML.slice(0, 80))"""
    assert await chat.page.evaluate(wider) == []
    assert await chat.page.evaluate("scroller.scrollWidth <= scroller.clientWidth")


# For everybody.


async def test_answer_is_read_aloud_once_and_whole(chat: ChatPage) -> None:
    await chat.ask("hello to all of you")
    announcer = chat.page.locator("#announcer p")
    await expect(announcer).to_have_text(["hello to all of you"])
    await chat.page.reload()
    await expect(chat.answers).to_have_text("hello to all of you")
    await expect(announcer).to_have_count(0)


async def test_answer_is_marked_busy_while_it_is_written(chat: ChatPage) -> None:
    await chat.say(LONG)
    await expect(chat.answers).to_have_attribute("aria-busy", "true")
    await chat.stop.click()
    await expect(chat.answers).not_to_have_attribute("aria-busy", "true")


async def test_page_has_names_landmarks_and_unique_ids(chat: ChatPage) -> None:
    await chat.ask("script:typed")
    await chat.ask("script:error no")
    nameless = """() => [...document.querySelectorAll('a, button, textarea, [tabindex]')].filter(element =>
        element.getClientRects().length && !element.innerText.trim() && !element.ariaLabel && !element.labels?.length)
        .map(element => element.outerHTML)"""
    assert await chat.page.evaluate(nameless) == []
    for landmark in ("banner", "main", "contentinfo"):
        await expect(chat.page.get_by_role(landmark)).to_have_count(1)  # type: ignore[arg-type]
    await expect(chat.page.get_by_role("heading", level=1)).to_have_count(1)
    assert await chat.page.evaluate("document.documentElement.lang") == "en"
    ids = await chat.page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))


CONTRASTS = """() => {
    const channels = color => color.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map(value => value / 255)
        .map(value => value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [.2126, .7152, .0722][index], 0);
    const ground = element => {
        for (; element; element = element.parentElement) {
            const color = channels(getComputedStyle(element).backgroundColor);
            if (color[3] !== 0) return color;
        }
        return [255, 255, 255];
    };
    const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const shown = [...document.querySelectorAll('body *')].filter(element =>
        hasText(element) && element.getClientRects().length &&
        !element.closest(".visually-hidden, [disabled], noscript"));
    return shown.map(element => {
        const pair = [channels(getComputedStyle(element).color), ground(element)].map(luminance).sort((a, b) => b - a);
        return { ratio: (pair[0] + .05) / (pair[1] + .05), element: element.outerHTML.slice(0, 90) };
    }).filter(({ ratio }) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_has_enough_contrast(chat: ChatPage, scheme: Any) -> None:
    await chat.page.emulate_media(color_scheme=scheme)
    assert await chat.page.evaluate(CONTRASTS) == []
    await chat.ask("`code`\n\n~~~\ncode\n~~~")
    await chat.ask("script:typed")
    await chat.ask("script:status 503")
    await chat.say(LONG)
    await expect(chat.answers.last).to_contain_text("0 1")
    await chat.say("waits")
    await expect(chat.waiting).to_contain_text("Queued")
    assert await chat.page.evaluate(CONTRASTS) == []
    await chat.stop.click()


async def test_page_without_motion_has_no_animations(chat: ChatPage) -> None:
    await chat.page.emulate_media(reduced_motion="reduce")
    await chat.say(LONG)
    await expect(chat.answers).to_contain_text("0 1")
    assert await chat.page.evaluate("document.getAnimations().length") == 0
    await chat.stop.click()
