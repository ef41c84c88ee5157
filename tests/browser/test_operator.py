"""The questions of an operator at night, each answered in at most three steps from the start page."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.admin_site import LIVE, admin_site
from tests.seeded_turns import OWN_WORDS, UNLUCKY, seeded_turns

pytestmark = pytest.mark.asyncio(loop_scope="session")
TURNS = "/admin/relay/turn/"
PEOPLE = {
    "operator": ("view_turn", "view_conversation", "view_livesession", "act_on_livesession"),
}
CUT_OFF = """
[...document.querySelectorAll('html, #content :is(.results, td, th, p, a, h1, h2, li, article, button)')]
  .filter((each) => each.scrollWidth > each.clientWidth + 1 && !each.closest('.visually-hidden'))
  .filter((each) => getComputedStyle(each).display !== 'inline')
  .map((each) => each.outerHTML.slice(0, 200))
"""
# In the dark theme.
LIGHT_SPOTS = """
[...document.querySelectorAll('.relay-end, .relay-message')]
  .filter((each) => getComputedStyle(each).backgroundColor.match(/\\d+/g).slice(0, 3).every((part) => part > 127))
  .map((each) => each.outerHTML.slice(0, 200))
"""
AXE = Path(__file__).resolve().parents[1] / "javascript" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def site(scripted_agent, tmp_path_factory, django_db_blocker):
    folder = tmp_path_factory.mktemp("database")
    with django_db_blocker.unblock(), admin_site(scripted_agent.http_url, folder, PEOPLE, seeded_turns) as site:
        yield site


class Steps:
    """Follows links from the start page, counts them, and looks at each page on the way."""

    def __init__(self, page):
        self.page = page
        self.number = 0
        self.faults = []

    async def start(self, site):
        await site.log_in(self.page, "operator")
        await self.page.goto(f"{site.url}/admin/")
        await expect(self.page.locator("#relay-processes tr")).to_have_count(2)

    async def click(self, locator):
        await locator.click()
        self.number += 1
        assert self.number <= 3

    async def look(self, name):
        """Note what is cut off, and what axe finds, in light and in dark colours."""
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=scheme)
            await self.page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
            if folder := os.environ.get("PICTURES"):
                await self.page.screenshot(path=f"{folder}/{name}-{scheme}.png")
            self.faults += [(name, scheme, fault) for fault in await self._faults()]
        self.faults += [(name, scheme, "light", html) for html in await self.page.evaluate(LIGHT_SPOTS)]

    async def _faults(self):
        await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        nodes = [(each["id"], node["html"][:200]) for each in found["violations"] for node in each["nodes"]]
        return nodes + [("cut off", html) for html in await self.page.evaluate(CUT_OFF)]


@pytest_asyncio.fixture(loop_scope="session")
async def steps(site, page):
    steps = Steps(page)
    await steps.start(site)
    yield steps
    assert not steps.faults, "\n".join(map(str, steps.faults))


async def test_do_answers_flow(site, steps):
    """The start page says so: which processes there are, what they do, and how many turns failed."""
    page = steps.page
    await expect(page.locator("#relay-summary")).to_contain_text("2 processes, ")
    await expect(page.locator("#relay-checks")).to_contain_text("agent ok")
    await expect(page.locator(".relay-start")).to_contain_text(re.compile(r"3\d\d turns ended, 4\d failed"))
    async with site.open("flowing") as browser:
        await browser.say("script:stall")
        await browser.frame_of("user_message")
        await expect(page.locator("#relay-summary")).to_contain_text("1 running turn, ")
        await steps.look("start")
        await browser.cancel()
        await browser.frame_of("cancel_ack")


async def test_whose_answers_fail(steps):
    page = steps.page
    await steps.click(page.locator(".relay-start a", has_text="failed"))
    counts = page.locator(".relay-counts")
    await expect(counts).to_contain_text(re.compile(r"4\d turns in this list"))
    await expect(counts.locator("tr", has_text=UNLUCKY)).to_contain_text("15")
    await steps.look("failed")
    await steps.click(counts.locator("a", has_text=UNLUCKY))
    await expect(page.locator(".paginator")).to_contain_text("15 turns")
    await steps.look("user")


async def test_why_they_fail(steps):
    """The start page says it: the code in words, the agent's status, and its words."""
    page = steps.page
    rows = page.locator(".relay-failures tbody tr")
    for words in ("(HTTP 401)", "Invalid API key"), ("(HTTP 500)", "KeyError"), ("error", OWN_WORDS):
        await expect(rows.filter(has_text=words[1])).to_contain_text(words[0])
    await steps.click(rows.filter(has_text="HTTP 500").locator("a"))
    await expect(page.locator("#result_list")).to_contain_text("HTTP 500")
    await expect(page.locator(".paginator")).to_contain_text("15 turns")  # as the start page counts them


async def test_what_was_said(site, steps):
    page = steps.page
    await steps.click(page.locator(".relay-start a", has_text="failed"))
    await steps.click(page.locator("#result_list tbody tr", has_text="Question").locator("th a").first)
    await expect(page.locator(".relay-this .relay-message")).to_contain_text("how do I change the address")
    await expect(page.locator(".relay-this .relay-why")).to_be_visible()
    await steps.look("turn")
    await steps.click(page.locator("text=Watch the session live"))
    await expect(page.locator("#relay-state")).to_have_text("This session is not live.")
    await steps.look("not-live")


async def test_what_was_said_in_a_conversation(steps):
    page = steps.page
    await steps.click(page.locator(".model-conversation th a"))
    await page.fill("#searchbar", "Address of an order 17")
    await page.press("#searchbar", "Enter")
    await expect(page.locator("#result_list tbody tr")).to_have_count(1)
    await steps.look("conversations")
    await steps.click(page.locator("#result_list a", has_text="Address of an order 17"))
    await expect(page.locator("#result_list")).to_contain_text("Question 297")


async def test_this_one_is_stopped(site, steps):
    page = steps.page
    session_id = str(uuid.uuid4())
    async with site.open(session_id) as browser, site.open("idle") as idle:
        await idle.ask("x")
        await browser.say("script:status 403")  # not one of the seeded failures
        await browser.turn()
        await browser.say("script:tokens 2000 delay=0.03")
        await browser.frame_of("user_message")
        await steps.click(page.locator("#relay-summary + a"))
        row = page.locator("#relay-sessions tr", has_text=session_id)
        await expect(row).to_contain_text("running")
        await expect(row).to_contain_text("HTTP 403")
        await expect(page.locator("#relay-sessions tr:visible")).to_have_count(1)
        await steps.look("live")
        await steps.click(row.locator("a"))
        await expect(page.locator(".relay-answer")).to_contain_text("3 4 5")
        await steps.look("session")
        await steps.click(page.locator("text=Stop the turn"))
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        await page.locator("a", has_text="Open turn").first.click()
        await expect(page.locator(".relay-this")).to_contain_text("HTTP 403")


async def test_all_are_sent_away(site, steps):
    page = steps.page
    async with site.open("away") as browser, site.open("away") as other:
        await browser.say("script:stall")
        await browser.frame_of("user_message")
        await steps.click(page.locator("#relay-summary + a"))
        await steps.click(page.locator("#relay-sessions a", has_text="away"))
        page.once("dialog", lambda dialog: dialog.accept())
        await steps.click(page.locator("text=Disconnect viewers"))
        for each in (browser, other):
            assert (await each.frame_of("disconnect"))["code"] == "kicked"
        await expect(page.locator("#relay-ended")).to_be_visible()
        await steps.look("kicked")
        await page.click("text=Stop the turn")
        await expect(page.locator(".relay-said")).to_contain_text("Stopped turn")


async def test_a_long_name_is_not_cut_off(site, steps):
    name = "s" * 128
    async with site.open(name) as browser:
        await browser.ask("x" * 300)
        for path in (LIVE, f"{LIVE}session/{name}/", f"{TURNS}?session_id={name}"):
            await steps.page.goto(site.url + path)
            await expect(steps.page.locator("#content")).to_contain_text(name)
            await steps.look(f"long-{len(path)}")
