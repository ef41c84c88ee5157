"""The ways into the chat page in Chromium, one for each access policy, and what it says where it is not let in."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Route, expect

from tests import processes
from tests.browser.chat_page import ChatPage, open_before, welcome
from tests.front_ends.plain_nginx import PlainNginx

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADD_USERS = """
from django.contrib.auth.models import User
for name in ("ada", "bob"):
    User.objects.create_user(name, password="correct horse")
"""


@pytest.fixture(scope="module")
def with_logins(
    scripted_agent: processes.Process, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[processes.Process]:
    database = f"sqlite:///{tmp_path_factory.mktemp('logins')}/db.sqlite3"
    for arguments in (["migrate", "--no-input"], ["shell", "-c", ADD_USERS]):
        done = processes.run(["manage.py", *arguments], GATEWAY__DATABASE_URL=database)
        assert done.returncode == 0, done.stdout
    settings = {"CHAT_PAGE": "true", "WS_AUTH": "session", "DATABASE_URL": database, "TRANSCRIPTS": "true"}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        yield gateway


async def log_in(chat: ChatPage, name: str) -> None:
    await chat.page.get_by_label("Username").fill(name)
    await chat.page.get_by_label("Password").fill("correct horse")
    await chat.page.get_by_role("button", name="Log in").click()


async def test_reader_logs_in_comes_back_and_logs_out(tab: Callable[..., Any], with_logins: processes.Process) -> None:
    chat = await tab(with_logins.http_url, "/?session=of-ada")
    alert = chat.page.get_by_role("alert")
    await expect(alert).to_contain_text("You are signed out or your access has expired.")
    await expect(chat.field).to_be_disabled()
    await alert.get_by_role("link", name="Log in").click()
    await log_in(chat, "ada")
    await expect(chat.page).to_have_url(f"{with_logins.http_url}/?session=of-ada")
    await chat.is_connected()
    await expect(chat.page.get_by_text("ada", exact=True)).to_be_visible()
    await chat.ask("hello")
    await chat.page.get_by_role("button", name="Log out").click()
    await expect(chat.page.get_by_role("link", name="Log in").first).to_be_visible()
    await expect(chat.page.get_by_role("alert")).to_contain_text("You are signed out")


async def test_conversations_of_a_user_are_the_gateways_list(
    tab: Callable[..., Any], with_logins: processes.Process
) -> None:
    chat = await tab(with_logins.http_url, "/login/?next=/%3Fsession%3Dlisted")
    await log_in(chat, "bob")
    await chat.is_connected()
    await chat.ask("Tell me about lighthouses")
    await chat.page.evaluate("localStorage.clear()")
    await chat.page.get_by_role("button", name="Conversations").click()
    dialog = chat.page.get_by_role("dialog")
    await expect(dialog.get_by_role("link")).to_have_text(["Tell me about lighthouses"])
    await dialog.get_by_role("button", name="Rename").click()
    await dialog.get_by_label("Title", exact=True).fill("Lights")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("link")).to_have_text(["Lights"])
    await dialog.get_by_role("button", name="Delete: Lights").click()
    await dialog.get_by_role("button", name="Delete", exact=True).click()
    await expect(dialog.get_by_role("link")).to_have_count(0)
    await expect(chat.page.locator("#banner")).to_contain_text("This conversation was deleted.")
    await expect(chat.page.locator("#banner").get_by_role("link", name="New conversation")).to_be_attached()


async def test_reader_logs_in_and_talks_where_no_websocket_can_be_opened(
    context: BrowserContext, with_logins: processes.Process, tmp_path: Path
) -> None:
    with PlainNginx(tmp_path, with_logins.port) as nginx:
        chat = ChatPage(await context.new_page(), nginx.http_url)
        chat.may_lose_line = True
        await chat.open("/?session=over-http")
        await chat.page.get_by_role("alert").get_by_role("link", name="Log in").click()
        await log_in(chat, "ada")
        await chat.is_connected()
        await expect((await chat.ask("hello")).get_by_text("hello")).to_have_count(2)
        await chat.say("script:stall")
        await expect(chat.turns.last).to_contain_text("a")
        await chat.page.get_by_role("button", name="Stop").click()
        await expect(chat.turns.last).to_have_attribute("data-phase", "ended")
        assert chat.complaints == []


async def test_login_goes_nowhere_else(tab: Callable[..., Any], with_logins: processes.Process) -> None:
    chat = await tab(with_logins.http_url, "/login/?next=https://example.com/")
    await log_in(chat, "ada")
    await expect(chat.page).to_have_url(f"{with_logins.http_url}/?session={await chat.session()}")


async def test_wrong_password_is_told(tab: Callable[..., Any], with_logins: processes.Process) -> None:
    chat = await tab(with_logins.http_url, "/login/")
    await chat.page.get_by_label("Username").fill("ada")
    await chat.page.get_by_label("Password").fill("wrong")
    await chat.page.get_by_role("button", name="Log in").click()
    await expect(chat.page.get_by_role("alert")).to_contain_text("correct username and password")


# Tickets, from an address of the host's.


@pytest.fixture(scope="module")
def with_tickets(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"CHAT_PAGE": "true", "WS_AUTH": "ticket", "CHAT_CREDENTIAL_URL": "/host/ticket"}
    with processes.gateway("serve", scripted_agent.http_url, CHAT_LOGIN_URL="/host/login", **settings) as gateway:
        yield gateway


async def test_ticket_comes_from_the_hosts_address(
    context: BrowserContext, tab: Callable[..., Any], with_tickets: processes.Process
) -> None:
    asked: list[dict[str, Any]] = []

    async def give_ticket(route: Route) -> None:
        asked.append(route.request.post_data_json)
        body = json.dumps({**asked[-1], "subject": "ada"}).encode()
        address = f"{with_tickets.http_url}/api/v1/tickets"
        request = urllib.request.Request(address, body, {"X-Internal-Auth": processes.KEY})
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(request).read())
        await route.fulfill(body=answer, content_type="application/json")

    await context.route("**/host/ticket", give_ticket)
    chat = await tab(with_tickets.http_url)
    await chat.is_connected()
    await chat.ask("hello")
    assert asked == [{"session_id": await chat.session()}]


async def test_reader_whom_the_host_does_not_know_is_sent_to_its_login(
    context: BrowserContext, tab: Callable[..., Any], with_tickets: processes.Process
) -> None:
    await context.route("**/host/ticket", lambda route: route.fulfill(status=401, body="{}"))
    chat = await tab(with_tickets.http_url, "/?session=s")
    chat.may_lose_line = True
    link = chat.page.get_by_role("alert").get_by_role("link", name="Log in")
    await expect(link).to_have_attribute("href", f"{with_tickets.http_url}/host/login?next=%2F%3Fsession%3Ds")


async def test_page_without_a_way_in_says_what_its_operator_has_to_set(
    tab: Callable[..., Any], scripted_agent: processes.Process
) -> None:
    with processes.gateway("serve", scripted_agent.http_url, CHAT_PAGE="true", WS_AUTH="ticket") as gateway:
        chat = await tab(gateway.http_url)
        await expect(chat.page.get_by_role("alert")).to_contain_text("GATEWAY__CHAT_CREDENTIAL_URL")


# Sent away.


@pytest.mark.parametrize(
    ("code", "offers"),
    [
        ("kicked", ["Reconnect", "New conversation"]),
        ("session_deleted", ["New conversation"]),
        ("forbidden", ["New conversation"]),
        ("unauthorized", ["Reconnect"]),
        ("new_code", ["Reconnect", "New conversation"]),
    ],
)
async def test_closed_page_offers_what_can_be_done_and_takes_no_text(
    tab: Callable[..., Any], site: processes.Process, code: str, offers: list[str]
) -> None:
    frame = {"type": "disconnect", "code": code, "content": "Words of the server.", "reconnect": False}
    chat = await open_before(tab, site.http_url, welcome(), json.dumps(frame))
    await expect(chat.page.locator("#banner .ways > *")).to_have_text(offers)
    await expect(chat.field).to_be_disabled()


async def test_kicked_reader_reconnects(tab: Callable[..., Any], site: processes.Process) -> None:
    frame = {"type": "disconnect", "code": "kicked", "content": "Kicked.", "reconnect": False}
    chat = await open_before(tab, site.http_url, welcome(), json.dumps(frame))
    await chat.page.get_by_role("button", name="Reconnect").click()
    await chat.is_connected()
    await expect(chat.field).to_be_enabled()


async def test_invalid_link_says_so_and_takes_no_text(tab: Callable[..., Any], site: processes.Process) -> None:
    chat = await tab(site.http_url, "/?session=a%2Fb")
    await expect(chat.pill).to_have_text("Not connected")
    await expect(chat.page.get_by_role("heading", name="Ask the agent something")).to_be_visible()
    await expect(chat.field).to_be_disabled()
    await chat.page.get_by_role("alert").get_by_role("link", name="New conversation").click()
    await chat.is_connected()


# A word in the background.

NOTIFICATIONS = """
    window.shown_ = [];
    window.Notification = class {
        static permission = 'default';
        static requestPermission = async () => (Notification.permission = 'granted');
        constructor(title, options) { shown_.push(options.body); }
        close() {}
    };
    Object.defineProperty(document, 'hidden', { get: () => window.isHidden_ ?? false });
"""


async def test_notification_is_off_until_it_is_asked_for(
    context: BrowserContext, tab: Callable[..., Any], site: processes.Process
) -> None:
    await context.add_init_script(NOTIFICATIONS)
    chat = await tab(site.http_url)
    await chat.page.evaluate("window.isHidden_ = true")
    await chat.ask("one")
    assert await chat.page.evaluate("shown_") == []
    await chat.page.get_by_role("button", name="Conversations").click()
    await chat.page.get_by_label("Notify me").check()
    await chat.page.keyboard.press("Escape")
    await chat.ask("two")
    await chat.page.evaluate("window.isHidden_ = false")
    await chat.ask("three")
    assert await chat.page.evaluate("shown_") == ["The answer is ready."]
