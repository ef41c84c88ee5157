"""The admin in a real browser, on one gateway, while the sockets are on another: who may do what, and what it does."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing

import pytest
from django.contrib.auth.models import Permission, User
from playwright.async_api import expect

from tests.browser.admin_site import LIVE, admin_site

pytestmark = pytest.mark.asyncio(loop_scope="session")
LIMIT_SECONDS = 60
ACTS = ("stop", "clear", "disconnect", "delete")
PEOPLE = {
    "nobody": (),
    "reader": ("view_turn",),
    "watcher": ("view_livesession",),
    "actor": ("view_livesession", "act_on_livesession"),
    "blind": ("act_on_livesession",),
}


@pytest.fixture(scope="module")
def site(scripted_agent, tmp_path_factory, django_db_blocker):
    def add_customer():
        User.objects.create_user("customer", password="secret").user_permissions.set(Permission.objects.all())

    folder = tmp_path_factory.mktemp("database")
    with django_db_blocker.unblock(), admin_site(scripted_agent.http_url, folder, PEOPLE, add_customer) as site:
        yield site


async def until(condition):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


async def ask(page, method, path, **options):
    """Ask from the page, with its cookies; a POST with its CSRF token, unless told otherwise."""
    cookies = {cookie["name"]: cookie["value"] for cookie in await page.context.cookies()}
    headers = {"X-CSRFToken": cookies.get("csrftoken", "")} if options.pop("is_csrf", True) else {}
    return await page.request.fetch(page.url.split("/admin")[0] + path, method=method, headers=headers, **options)


@pytest.mark.parametrize(
    ("name", "may_see", "may_act"),
    [
        ("nobody", False, False),
        ("reader", False, False),
        ("blind", False, False),
        ("watcher", True, False),
        ("actor", True, True),
    ],
)
async def test_to_see_and_to_act_are_separate_permissions(site, page, name, may_see, may_act):
    session_id = f"table-{name}"
    async with site.open(session_id) as browser:
        await browser.ask("x")
        await site.log_in(page, name)
        seen = 200 if may_see else 403
        for path in (LIVE, f"{LIVE}data", f"{LIVE}session/{session_id}/", f"{LIVE}session/{session_id}/data"):
            assert (await ask(page, "GET", path)).status == seen, path
        acted = 200 if may_act else 403
        for act in ACTS:
            assert (await ask(page, "POST", f"{LIVE}session/{session_id}/act/{act}")).status == acted, act
        assert (await ask(page, "POST", f"{LIVE}notice", form={"content": "x"})).status == acted
    written = site.written_down(session_id)
    assert {who for who, _ in written} == ({name} if may_act else set())
    assert len(written) == (len(ACTS) if may_act else 0)


async def test_who_is_not_logged_in_or_not_on_the_staff_gets_nothing(site, page):
    await page.goto(f"{site.url}/admin/login/")
    assert (await ask(page, "GET", f"{LIVE}data")).status == 403
    assert (await ask(page, "GET", f"{LIVE}session/s/events")).status == 403
    assert (await ask(page, "POST", f"{LIVE}session/s/act/stop")).status == 403
    await page.goto(f"{site.url}{LIVE}")
    assert "/admin/login/" in page.url
    await page.fill("#id_username", "customer")
    await page.fill("#id_password", "secret")
    await page.click("[type=submit]")
    assert (await ask(page, "GET", f"{LIVE}data")).status == 403


async def test_nothing_is_done_without_the_csrf_token_or_by_a_get(site, page):
    await site.log_in(page, "actor")
    for path in (*(f"{LIVE}session/csrf/act/{act}" for act in ACTS), f"{LIVE}notice"):
        assert (await ask(page, "POST", path, is_csrf=False)).status == 403
        assert (await ask(page, "GET", path)).status == 405
    assert (await ask(page, "POST", f"{LIVE}session/csrf/act/dance")).status == 404
    assert (await ask(page, "GET", f"{LIVE}session/..%2F/data")).status == 404
    assert (await ask(page, "POST", f"{LIVE}notice", form={"content": " "})).status == 400
    assert site.written_down("csrf") == []


async def test_list_updates_itself_across_gateways(site, page):
    await site.log_in(page, "watcher")
    await page.goto(f"{site.url}{LIVE}")
    assert await page.locator("#relay-notice").count() == 0
    row = page.locator("#relay-sessions tr", has_text="list:s_1")
    idle = page.locator("#relay-fold")
    async with site.open("list:s_1") as browser, site.open("list-2") as other, site.open("list-3"):
        await browser.ask("x")  # one that is only watched is not listed
        await other.ask("x")
        await expect(row).to_contain_text("idle")
        await expect(row).to_be_hidden()
        await idle.click()
        await expect(page.locator("#relay-sessions tr", has_text="list-2")).to_be_visible()
        await expect(page.locator("#relay-sessions tr", has_text="list-3")).to_have_count(0)
        await idle.click()
        await expect(row).to_be_hidden()
        await browser.say("script:tokens 2000 delay=0.03")
        await expect(row).to_contain_text("running")
        await expect(row).to_be_visible()
        await expect(row.locator("td").nth(5)).to_have_text(re.compile(r"^\d+$"))
        await browser.say("next")
        await expect(row.locator("td").nth(3)).to_have_text("1")
        await page.fill("#relay-filter", "s_1")
        await expect(page.locator("#relay-sessions tr")).to_have_count(1)
        await browser.cancel()
        await browser.frame_of("cancel_ack")
    await page.route("**/livesession/data", lambda route: route.fulfill(status=503, json={"code": "store_unavailable"}))
    await expect(page.get_by_role("alert")).to_contain_text("The store is not responding")
    await expect(row).to_be_visible()
    await page.unroute("**/livesession/data")
    await expect(page.get_by_role("alert")).to_be_hidden()
    words = "1 of 3 nodes of the store did not answer"

    async def warn(route):
        found = await (await route.fetch()).json()
        await route.fulfill(json={**found, "warning": words, "is_all": False})

    await page.route("**/livesession/data", warn)
    await expect(page.get_by_role("alert")).to_have_text(words)
    await expect(page.locator("#relay-more")).to_contain_text("running ones, then those with queued messages")
    await expect(row).to_be_visible()
    await page.unroute("**/livesession/data")
    await expect(page.get_by_role("alert")).to_be_hidden()
    await row.locator("a").click()
    await expect(page.locator("h1")).to_have_text("list:s_1")


async def test_session_is_watched_and_stopped(site, page):
    async with site.open("watched") as browser:
        await browser.ask("before <b>")
        await site.log_in(page, "actor")
        await page.goto(f"{site.url}{LIVE}session/watched/")
        await expect(page.locator(".relay-message")).to_have_text("Userbefore <b>")
        await browser.say("script:tokens 2000 delay=0.03")
        await expect(page.locator(".relay-answer").nth(1)).to_contain_text("3 4 5")
        await page.click("text=Stop the turn")
        await expect(page.locator(".relay-end", has_text="cancelled")).to_be_visible()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        await expect(page.locator(".relay-said")).to_contain_text("Stopped turn")
        await browser.ask("long " * 2000)
        await browser.ask("next")
        await expect(page.locator(".relay-answer").last).to_have_text("Agentnext")
        await browser.ask("script:tools")
        parts = [
            "Userscript:tools",
            "Agenta ",
            "ReasoningLet me see.",
            "Agentb",
            re.compile("call"),
            re.compile("result"),
        ]
        await expect(page.locator("#relay-frames > li").last.locator("> *")).to_have_text(
            [*parts, re.compile("Answered")]
        )
        await expect(page.locator(".relay-end").last).to_be_in_viewport()  # the page follows
    assert [who for who, _ in site.written_down("watched")] == ["actor"]
    await page.reload()
    await page.click("text=Operator log")
    await expect(page.locator(".relay-history")).to_contain_text("actor: Stopped turn")


async def test_queue_is_cleared_and_viewers_are_disconnected_once_the_operator_is_sure(site, page):
    questions, is_sure = [], []

    async def answers(dialog):
        questions.append(dialog.message)
        await (dialog.accept() if is_sure else dialog.dismiss())

    async with site.open("acts") as browser, site.open_plain("acts") as plain:
        await browser.say("script:stall")
        await browser.frame_of("user_message")
        await browser.say("never")
        await browser.frame_of("accepted")
        await site.log_in(page, "actor")
        await page.goto(f"{site.url}{LIVE}session/acts/")
        page.on("dialog", answers)
        await page.click("text=Clear the queue")
        await page.click("text=Disconnect viewers")
        await until(lambda: len(questions) == 2)
        assert site.written_down("acts") == [], "the operator has said no"
        is_sure.append(True)
        await page.click("text=Clear the queue")
        await expect(page.locator(".relay-said")).to_contain_text("Removed 1 queued message.")
        await page.click("text=Disconnect viewers")
        assert (await browser.frame_of("disconnect"))["code"] == "kicked"
        assert [await browser.close_code(), await plain.close_code()] == [4403, 4403]
    # It is written down once it is done: the viewers may know of it before the page says so.
    await expect(page.locator(".relay-said")).to_contain_text("Disconnected the viewers.")
    await expect(page.locator("#relay-ended")).to_contain_text("All viewers were disconnected, including this page.")
    await expect(page.locator("#relay-frames")).not_to_contain_text("kicked")
    await expect(page.locator("#relay-state")).to_contain_text("0 viewers ·")
    await page.click("text=Watch again")
    await expect(page.locator("#relay-ended")).to_be_hidden()
    await expect(page.locator("#relay-state")).to_contain_text("1 viewer (with you)")
    assert [words.partition(":")[0] for _, words in site.written_down("acts")] == [
        "Removed 1 queued message.",
        "Disconnected the viewers.",
    ]


async def test_deletion_asks_first_and_takes_transcripts_along(site, page):
    async with site.open("gone") as browser:
        await browser.ask("x")
        await site.log_in(page, "actor")
        await page.goto(f"{site.url}{LIVE}session/gone/")
        page.once("dialog", lambda dialog: dialog.dismiss())
        await page.click("text=Delete the session")
        await page.wait_for_timeout(0)
        assert await browser.ask("still here") == "still here"
        page.once("dialog", lambda dialog: dialog.accept())
        await page.click("text=Delete the session")
        assert (await browser.frame_of("disconnect"))["code"] == "session_deleted"
    await expect(page.locator(".relay-said")).to_contain_text("Deleted")
    assert [words for _, words in site.written_down("gone")] == ["Deleted the session and its transcripts."]


async def test_nothing_can_be_done_before_the_script_that_asks_first_runs(site, page):
    await site.log_in(page, "actor")
    await page.route("**/admin-*.js", lambda route: route.abort())
    for path, acts in (("", 1), ("session/unasked/", len(ACTS))):
        await page.goto(f"{site.url}{LIVE}{path}")
        buttons = page.locator("#relay-acts button, #relay-notice button")
        await expect(buttons).to_have_count(acts)
        for button in await buttons.all():
            await expect(button).to_be_disabled()


async def test_notice_reaches_everybody(site, page):
    async with site.open("told-1") as first, site.open("told-2") as second:
        await site.log_in(page, "actor")
        await page.goto(f"{site.url}{LIVE}")
        await page.fill("#relay-words", "We restart at six.")
        page.once("dialog", lambda dialog: dialog.accept())
        await page.click("#relay-notice button")
        for browser in (first, second):
            assert (await browser.frame_of("notice"))["content"] == "We restart at six."
        await expect(page.locator(".relay-said")).to_contain_text("Sent")
    assert ("actor", "Notice: We restart at six.") in site.written_down("everybody")


async def test_turns_are_read_in_the_browser(site, page):
    async with site.open("read") as browser:
        await browser.ask("What is kept?")
    await until(lambda: _has_turn(site, "read"))
    await site.log_in(page, "reader")
    await page.goto(f"{site.url}/admin/relay/turn/?q=read")
    await expect(page.locator(".relay-chart")).to_be_visible()
    await page.click("#result_list tbody th a")
    await expect(page.locator(".relay-this .relay-message")).to_contain_text("What is kept?")


def _has_turn(site, session_id):
    with closing(sqlite3.connect(site._database.removeprefix("sqlite:///"))) as connection:
        return connection.execute("SELECT 1 FROM relay_turn WHERE session_id = ?", [session_id]).fetchone() is not None
