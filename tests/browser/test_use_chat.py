"""The React pages of docs/front-ends.md in Chromium, before a real gateway that wants tickets.

Each is clicked as a person would: over HTTP, over the AI SDK's WebSocket, and over the gateway's own transport. React's
StrictMode mounts each page twice; what happens at mount is tried without it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Locator, Page, Route, expect

from tests import processes
from tests.browser import react_pages
from tests.clients import LIMIT_SECONDS
from tests.front_ends import node

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOME = "http://page.test"
KEY = {"X-Internal-Auth": processes.KEY}
HALF, WHOLE = "0 1 2 3 ", "0 1 2 3 4 5 6 7 "


class Tab:
    """A page as a person sees it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))

    async def say(self, text: str) -> None:
        await self.page.get_by_label("Your message").fill(text)
        await self.page.get_by_role("button", name="Send").click()

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop")

    @property
    def questions(self) -> Locator:
        return self.page.locator("article.user")

    @property
    def answers(self) -> Locator:
        return self.page.locator("article.assistant")

    async def shows(self, *answers: str) -> None:
        """These answers, whole and once, with white space as it is."""
        await expect(self.answers).to_have_count(len(answers))
        for number, text in enumerate(answers):
            await expect(self.answers.nth(number)).to_have_js_property("textContent", text)

    async def is_done(self) -> None:
        await expect(self.stop).to_be_disabled()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (reason := node.lacks()) is not None:
        pytest.skip(reason)
    return react_pages.build(tmp_path_factory.mktemp("react"))


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    options = {"ADAPTERS": "ai-sdk", "WS_AUTH": "ticket", "ALLOWED_ORIGINS": HOME}
    with processes.gateway("serve", scripted_agent.http_url, **options) as gateway:
        yield gateway


@pytest.fixture(params=react_pages.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def session_id() -> str:
    return uuid4().hex


@pytest_asyncio.fixture(loop_scope="session")
async def tab(
    context: BrowserContext, site: Path, gateway: processes.Process, session_id: str
) -> AsyncIterator[Callable[..., object]]:
    """Open a tab of a page; at the end none may have said anything on its console."""
    tabs: list[Tab] = []

    async def serve(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path == "/ticket":
            session = parse_qs(urlsplit(route.request.url).query)["session"][0]
            await route.fulfill(json=await asyncio.to_thread(ticket, gateway, session))
            return
        source = (site / path[1:]).read_text().replace("https://chat.example", gateway.http_url)
        source = source.replace("wss://chat.example", gateway.ws_url)
        await route.fulfill(body=source, content_type="text/javascript" if path.endswith(".js") else "text/html")

    async def open_tab(name: str) -> Tab:
        tabs.append(Tab(await context.new_page()))
        await tabs[-1].page.goto(f"{HOME}/{name}.html?chat={session_id}")
        return tabs[-1]

    await context.route(f"{HOME}/**", serve)
    yield open_tab
    assert [complaint for one in tabs for complaint in one.complaints] == []


def ticket(gateway: processes.Process, session_id: str) -> object:
    body = {"session_id": session_id, "subject": "ann"}
    return httpx.post(
        f"{gateway.http_url}/api/v1/tickets", json=body, headers=KEY, trust_env=False, timeout=LIMIT_SECONDS
    ).json()


async def open_gate(agent: processes.Process, name: str) -> None:
    url = f"{agent.http_url}/open/{name}"
    await asyncio.to_thread(httpx.get, url, headers=KEY, timeout=LIMIT_SECONDS, trust_env=False)


async def test_answer_is_streamed_and_tools_and_errors_are_shown(tab, name, session_id, scripted_agent):
    page = await tab(name)
    await page.say(f"script:tokens 8 gate={session_id}")
    await page.shows(HALF)
    await open_gate(scripted_agent, session_id)
    await page.shows(WHOLE)
    await page.say("script:tool-result")
    await page.shows(WHOLE, 'a clock({"zone":"UTC"}) → {"hour":9}b')
    await page.say("script:error no quota")
    await expect(page.page.get_by_role("alert")).to_have_text("no quota")
    await page.say("zwölf 🙂 words")
    await expect(page.answers.last).to_have_text("zwölf 🙂 words")


async def test_stop_reaches_the_agent(tab, name):
    page = await tab(name)
    await page.say("script:stall")
    await page.shows("a ")
    await page.stop.click()
    await page.is_done()
    await page.say("next works")  # after the stalled answer, if that did not end
    await page.shows("a ", "next works")


@pytest.mark.parametrize("mode", ["", react_pages.PLAIN], ids=["strict", "plain"])
async def test_reload_in_mid_answer_and_a_second_tab_show_it_whole(tab, name, mode, session_id, scripted_agent):
    name += mode
    page = await tab(name)
    await page.say(f"script:tokens 8 gate={session_id}")
    await page.shows(HALF)
    await page.page.reload()
    await page.shows(HALF)
    second = await tab(name)
    await second.shows(HALF)
    await open_gate(scripted_agent, session_id)
    for one in (page, second):
        await one.shows(WHOLE)
        await one.is_done()


async def test_own_transport_shows_what_other_tabs_say(tab, session_id, scripted_agent):
    one, two = await tab("react-gateway"), await tab("react-gateway")
    words = f"script:tokens 8 gate={session_id}"
    await one.say(words)
    for page in (one, two):
        await page.shows(HALF)
    await open_gate(scripted_agent, session_id)
    for page in (one, two):
        await page.shows(WHOLE)
        await page.is_done()
    await two.say("from two")
    for page in (one, two):
        await page.shows(WHOLE, "from two")
        await expect(page.questions).to_have_text([words, "from two"])
