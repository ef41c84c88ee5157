"""The admin in a real browser, on one gateway, while the sockets are on another: who may do what, and what it does."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import ExitStack, closing

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from playwright.async_api import expect

from tests import processes
from tests.clients import V1, SocketClient
from tests.databases import default_database, new_database
from tests.faults.valkey import Valkey

pytestmark = pytest.mark.asyncio(loop_scope="session")
LIMIT_SECONDS = 60
LIVE = "/admin/relay/livesession/"
ACTS = ("stop", "clear", "disconnect", "delete")
PEOPLE = {
    "nobody": (),
    "reader": ("view_turn",),
    "watcher": ("view_livesession",),
    "actor": ("view_livesession", "act_on_livesession"),
    "blind": ("act_on_livesession",),
}


class Site:
    """A gateway that shows the admin, one that has the sockets, and their database."""

    def __init__(self, admin, sockets, database, cookies):
        self.url = admin.http_url
        self._cookies = cookies
        self._sockets = sockets
        self._database = database

    def open(self, session_id):
        return SocketClient(f"{self._sockets.ws_url}/ws/{session_id}/", [V1])

    def open_plain(self, session_id):
        return SocketClient(f"{self._sockets.ws_url}/ws/{session_id}/")

    def written_down(self, session_id):
        """Who did what to a session."""
        with closing(sqlite3.connect(self._database.removeprefix("sqlite:///"))) as connection:
            query = """
                SELECT username, change_message FROM django_admin_log JOIN auth_user ON auth_user.id = user_id
                WHERE object_id = ? ORDER BY action_time
            """
            return connection.execute(query, [session_id]).fetchall()

    async def log_in(self, page, name):
        """Open the admin as somebody who has logged in before: the form counts attempts."""
        await page.context.add_cookies([{"name": "sessionid", "value": self._cookies[name], "url": self.url}])
        await page.goto(f"{self.url}/admin/password_change/")  # a page with a form, which brings the CSRF cookie
        await expect(page.locator("#user-tools")).to_contain_text(name)


def logged_in(name, permissions):
    """Make a member of the staff, and give the cookie of their login."""
    user = User.objects.create_user(name, password="secret", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    session = SessionStore()
    session.update(
        {SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
         HASH_SESSION_KEY: user.get_session_auth_hash()}
    )  # fmt: skip
    session.create()
    return session.session_key


@pytest.fixture(scope="module")
def site(scripted_agent, tmp_path_factory, django_db_blocker):
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey())
        with django_db_blocker.unblock():
            database = new_database("sqlite", tmp_path_factory.mktemp("database"))
            with default_database(database):
                cookies = {name: logged_in(name, permissions) for name, permissions in PEOPLE.items()}
                User.objects.create_user("customer", password="secret").user_permissions.set(Permission.objects.all())
        given = {
            "REDIS_URL": valkey.url, "DATABASE_URL": database, "TRANSCRIPTS": "true", "ADMIN": "true",
            "SECRET_KEY": settings.SECRET_KEY, "DRAIN_SECONDS": "0",
        }  # fmt: skip
        gateways = [processes.gateway("serve", scripted_agent.http_url, **given) for _ in range(2)]
        stack.enter_context(processes.running(*gateways))
        admin, sockets = gateways
        yield Site(admin, sockets, database, cookies)
        for gateway in gateways:
            lines = [line for line in gateway.output().splitlines() if '"level": "error"' in line]
            assert not lines, "\n".join(lines)


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
    async with site.open("list:s_1") as browser, site.open("list-2") as other, site.open("list-3"):
        await browser.ask("x")  # one that is only watched is not listed
        await other.ask("x")
        await page.click("#relay-fold")  # idle sessions are folded away
        await expect(row).to_contain_text("idle")
        await expect(page.locator("#relay-sessions tr", has_text="list-2")).to_be_visible()
        await expect(page.locator("#relay-sessions tr", has_text="list-3")).to_have_count(0)
        await browser.say("script:tokens 2000 delay=0.03")
        await expect(row).to_contain_text("running")
        await expect(row.locator("td").nth(6)).to_have_text(re.compile(r"^\d+$"))
        await browser.say("next")
        await expect(row.locator("td").nth(3)).to_have_text("1")
        await page.fill("#relay-filter", "s_1")
        await expect(page.locator("#relay-sessions tr")).to_have_count(1)
        await browser.cancel()
        await browser.frame_of("cancel_ack")
    await page.route("**/livesession/data", lambda route: route.fulfill(status=503, json={"code": "store_unavailable"}))
    await expect(page.get_by_role("alert")).to_contain_text("The store does not answer")
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
        await expect(page.locator(".relay-end").last).to_be_in_viewport()  # the page follows
    assert [who for who, _ in site.written_down("watched")] == ["actor"]
    await page.reload()
    await page.click("text=Operator log")
    await expect(page.locator(".relay-history")).to_contain_text("actor: Stopped turn")


async def test_queue_is_cleared_and_viewers_are_disconnected(site, page):
    async with site.open("acts") as browser, site.open_plain("acts") as plain:
        await browser.say("script:stall")
        await browser.frame_of("user_message")
        await browser.say("never")
        await browser.frame_of("accepted")
        await site.log_in(page, "actor")
        await page.goto(f"{site.url}{LIVE}session/acts/")
        page.on("dialog", lambda dialog: dialog.accept())
        await page.click("text=Clear the queue")
        await expect(page.locator(".relay-said")).to_contain_text("Removed 1 queued message.")
        await page.click("text=Disconnect viewers")
        assert (await browser.frame_of("disconnect"))["code"] == "kicked"
        assert [await browser.close_code(), await plain.close_code()] == [4403, 4403]
    # It is written down once it is done: the viewers may know of it before the page says so.
    await expect(page.locator(".relay-said")).to_contain_text("Disconnected the viewers.")
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


async def test_notice_reaches_everybody(site, page):
    async with site.open("told-1") as first, site.open("told-2") as second:
        await site.log_in(page, "actor")
        await page.goto(f"{site.url}{LIVE}")
        await page.fill("#relay-words", "We restart at six.")
        page.on("dialog", lambda dialog: dialog.accept())
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
