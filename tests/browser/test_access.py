"""Tickets and the pages' policy in Chromium, before a real gateway."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.async_api import BrowserContext, Page

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.http_clients import API

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT = """
    const { connect } = await import('/static/relay/gateway-client.js');
    window.client = connect({ sessionId, ticket: () => window.issueTicket(sessionId) });
"""


@pytest.fixture(scope="module")
def site(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"CHAT_PAGE": "true", "WS_AUTH": "ticket", "SECRET_KEY": "the same after a restart"}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        yield gateway


class TicketOffice:
    """The operator's own backend: it holds the key, and remembers what it handed out."""

    def __init__(self, gateway: processes.Process) -> None:
        self._url = f"{gateway.http_url}/api/v1/tickets"
        self.issued: list[str] = []
        self.is_open = True

    async def issue(self, session_id: str) -> str:
        if not self.is_open:
            return "no ticket at all"
        self.issued.append(await asyncio.to_thread(self._ask, session_id))
        return self.issued[-1]

    def _ask(self, session_id: str) -> str:
        body = json.dumps({"session_id": session_id, "subject": "ada"}).encode()
        request = urllib.request.Request(self._url, body, {"X-Internal-Auth": processes.KEY})
        with urllib.request.urlopen(request) as response:
            return json.load(response)["ticket"]


def restart(site: processes.Process) -> None:
    """Break every line; the signing key stays."""
    site.stop()
    site.start()


async def until(page: Page, condition: str) -> None:
    """Await a condition in the page. (Playwright's own way evaluates text, which the pages' policy forbids.)"""
    async with asyncio.timeout(LIMIT_SECONDS):
        await page.evaluate(
            f"""() => new Promise((resolve) => {{
                const timer = setInterval(() => {{
                    if ({condition}) {{ clearInterval(timer); resolve(null); }}
                }}, 20);
            }})"""
        )


async def a_page(context: BrowserContext, site: processes.Process, office: TicketOffice) -> Page:
    page = await context.new_page()
    await page.expose_function("issueTicket", office.issue)
    await page.goto(f"{site.http_url}/health")  # any page of the gateway's own origin
    return page


async def test_the_client_shows_a_new_ticket_for_every_connection(context, site, scripted_agent):
    office = TicketOffice(site)
    page = await a_page(context, site, office)
    await page.evaluate("async (sessionId) => {" + CLIENT + "}", "tickets-1")
    assert await page.evaluate("client.send('one').done") == "one"
    await asyncio.to_thread(restart, site)
    assert await page.evaluate("client.send('two').done") == "two"
    assert len(set(office.issued)) == len(office.issued) >= 2
    with urllib.request.urlopen(f"{scripted_agent.http_url}/requests") as response:
        requests = json.load(response)["requests"]
    assert {
        request["headers"]["x-subject"] for request in requests if request["json"]["session_id"] == "tickets-1"
    } == {"ada"}


async def test_who_has_no_ticket_is_told_and_stays_away(context, site):
    office = TicketOffice(site)
    office.is_open = False
    page = await a_page(context, site, office)
    await page.evaluate("async (sessionId) => {" + CLIENT + "}", "tickets-2")
    await until(page, "client.state.state === 'closed'")
    assert await page.evaluate("client.state.code") == "unauthorized"


async def test_an_event_source_opens_with_a_ticket_and_comes_back_with_the_same(context, site):
    office = TicketOffice(site)
    page = await a_page(context, site, office)
    await page.evaluate(
        f"""async (sessionId) => {{
            window.frames_ = []; window.opened = 0;
            const ticket = encodeURIComponent(await issueTicket(sessionId));
            window.source = new EventSource(`{API}/${{sessionId}}/events?ticket=${{ticket}}`);
            source.onopen = () => opened++;
            source.onmessage = ({{ data }}) => frames_.push(JSON.parse(data));
        }}""",
        "tickets-3",
    )
    await until(page, "frames_.some(({ type }) => type === 'welcome')")
    await asyncio.to_thread(restart, site)
    await until(page, "opened === 2")
    await page.evaluate("source.close()")
    assert len(office.issued) == 1


async def test_the_chat_page_and_the_login_page_keep_their_own_policy(context, scripted_agent):
    """Nothing on the console: no style, script or connection that the policy of the pages forbids."""
    said: list[str] = []
    with processes.gateway("serve", scripted_agent.http_url, CHAT_PAGE="true", ADMIN="true") as site:
        page = await context.new_page()
        page.on("console", lambda message: said.append(message.text))
        response = await page.goto(site.http_url)
        assert response is not None
        assert "default-src 'self'" in response.headers["content-security-policy"]
        await page.fill("#input", "hello there")
        await page.press("#input", "Enter")
        await page.get_by_text("hello there").nth(1).wait_for()
        await page.goto(f"{site.http_url}/admin/login/")
        await page.get_by_label("Username").wait_for()
        assert (
            await page.evaluate("getComputedStyle(document.querySelector('#header')).backgroundColor")
            != "rgba(0, 0, 0, 0)"
        )
        await page.close()
    assert [text for text in said if not text.startswith("Failed to load resource")] == []  # /favicon.ico
