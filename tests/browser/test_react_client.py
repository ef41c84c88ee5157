"""The chat of docs/client.md for React in Chromium, with the package from npm's tarball, before a real gateway.

StrictMode mounts it twice. Each test that says so is taken again where no WebSocket can be opened: before a real nginx
that knows nothing of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Locator, Page, Route, expect

from tests import processes
from tests.browser import react_client
from tests.browser.test_use_chat import HALF, HOME, KEY, WHOLE, open_gate, ticket
from tests.clients import SocketClient
from tests.front_ends import node
from tests.front_ends.plain_nginx import PlainNginx

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAYS = pytest.mark.parametrize("way", ["socket", "http"])


class Tab:
    """The chat as a person sees it."""

    def __init__(self, page: Page, way: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.streams: list[str] = []
        self.may_lose_line = way == "http"  # which is tried where no socket can be opened
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("response", lambda answer: self.streams.append(answer.url) if "/events?" in answer.url else None)

    def _hear(self, kind: str, text: str) -> None:
        is_lost_line = self.may_lose_line and text.startswith("WebSocket connection to")
        if kind in ("error", "warning") and not is_lost_line:
            self.complaints.append(text)

    async def say(self, text: str) -> None:
        await self.page.get_by_label("Your message").fill(text)
        await self.press("Send")

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

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
        await expect(self.page.get_by_role("button", name="Stop")).to_be_disabled()
        await expect(self.page.locator("article.streaming")).to_have_count(0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (reason := node.lacks()) is not None:
        pytest.skip(reason)
    return react_client.build(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Process]:
    """It keeps turns in a database, and the log of a hundred frames."""
    database = f"sqlite:///{tmp_path_factory.mktemp('turns')}/db.sqlite3"
    migrated = processes.run(["manage.py", "migrate", "--no-input"], GATEWAY__DATABASE_URL=database)
    assert migrated.returncode == 0, migrated.stdout
    kept = {"TRANSCRIPTS": "true", "DATABASE_URL": database, "BUFFER_SIZE": "100"}
    access = {"WS_AUTH": "ticket", "ALLOWED_ORIGINS": HOME, "FORWARD_TYPES": "hitl_decision"}
    with processes.gateway("serve", scripted_agent.http_url, RATE_LIMIT="0", **kept, **access) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def nginx(gateway: processes.Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainNginx]:
    with PlainNginx(tmp_path_factory.mktemp("nginx"), gateway.port) as nginx:
        yield nginx


@pytest.fixture
def session_id() -> str:
    return uuid4().hex


@pytest_asyncio.fixture(loop_scope="session")
async def tab(
    context: BrowserContext, site: Path, gateway: processes.Process, nginx: PlainNginx, session_id: str
) -> AsyncIterator[Callable[..., Any]]:
    """Open a tab of the chat; at the end none may have said anything on its console."""
    tabs: list[Tab] = []
    base = {"socket": gateway.http_url, "http": nginx.http_url}
    pages: dict[str, str] = {}

    async def serve(route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.path == "/ticket":
            session = parse_qs(address.query)["session"][0]
            await route.fulfill(json=await asyncio.to_thread(ticket, gateway, session))
            return
        path = site / "dist" / address.path[1:]
        source = pages.get(address.path) or path.read_text()
        source = source.replace("https://chat.example", pages["base"])
        await route.fulfill(body=source, content_type="text/javascript" if path.suffix == ".js" else "text/html")

    async def open_tab(way: str = "socket", page: str = "main.html", html: str = "") -> Tab:
        pages["base"] = base[way]
        if html:
            pages[f"/{page}"] = html
        tabs.append(Tab(await context.new_page(), way))
        await tabs[-1].page.goto(f"{HOME}/{page}?chat={session_id}")
        return tabs[-1]

    await context.route(f"{HOME}/**", serve)
    yield open_tab
    assert [complaint for one in tabs for complaint in one.complaints] == []


async def say_before(gateway: processes.Process, session_id: str, *messages: str) -> None:
    """Hold a conversation before the page is opened."""
    credential = (await asyncio.to_thread(ticket, gateway, session_id))["ticket"]
    async with SocketClient(f"{gateway.ws_url}/ws/{session_id}/?ticket={credential}") as client:
        for message in messages:
            await client.ask(message)


@WAYS
async def test_answer_is_streamed_with_its_tools_and_stopped(tab, way, session_id, scripted_agent):
    chat = await tab(way)
    await chat.say(f"script:tokens 8 gate={session_id}")
    await chat.shows(HALF)
    await open_gate(scripted_agent, session_id)
    await chat.shows(WHOLE)
    await chat.say("script:tool-result")
    await chat.shows(WHOLE, 'a clock done {"hour":9}b')
    await chat.say("script:error no quota")
    await expect(chat.page.get_by_role("alert")).to_have_text("no quota")
    await chat.say("script:stall")
    await expect(chat.answers.last).to_have_text("a")
    await chat.press("Stop")
    await chat.is_done()
    await chat.say("zwölf 🙂 words")
    await expect(chat.answers.last).to_have_text("zwölf 🙂 words")
    await expect(chat.page.get_by_role("status")).to_have_text("open")
    assert bool(chat.streams) == (way == "http")


@WAYS
async def test_reload_in_mid_answer_and_a_second_tab_show_it_whole(tab, way, session_id, scripted_agent):
    chat = await tab(way)
    await chat.say(f"script:tokens 8 gate={session_id}")
    await chat.shows(HALF)
    await chat.page.reload()
    await chat.shows(HALF)
    second = await tab(way)
    await second.shows(HALF)
    await open_gate(scripted_agent, session_id)
    for one in (chat, second):
        await one.shows(WHOLE)
        await one.is_done()
    await second.say("from the second")
    for one in (chat, second):
        await one.shows(WHOLE, "from the second")
        await expect(one.questions).to_have_count(2)


async def test_answer_is_made_again_in_its_place_in_every_tab(tab):
    chat, second = await tab(), await tab()
    await chat.say("first")
    await chat.say("script:stall")
    for one in (chat, second):
        await one.shows("first", "a ")
    await chat.press("Stop")
    await chat.is_done()
    await chat.press("Try again")
    for one in (chat, second):
        await one.shows("first", "a ")
        await expect(one.questions).to_have_count(2)
    await chat.press("Stop")
    await chat.is_done()


async def test_question_of_the_agent_is_answered(tab):
    chat, second = await tab(), await tab()
    await chat.say("script:ask c1")
    for one in (chat, second):
        await expect(one.page.get_by_text("pay?")).to_be_visible()
    await second.press("Approve")
    for one in (chat, second):
        await expect(one.page.get_by_text("pay?")).to_be_hidden()
        await expect(one.answers.first).to_have_text("pay running null")


@WAYS
async def test_conversation_longer_than_the_log_is_shown_to_its_start(tab, way, gateway, session_id):
    spoken = [f"script:tokens 4 {number}" for number in range(45)]
    await say_before(gateway, session_id, *spoken)
    chat = await tab(way)
    await expect(chat.questions).to_have_count(30)
    await expect(chat.questions.last).to_have_text(spoken[-1])
    await chat.press("Earlier messages")
    await expect(chat.questions).to_have_text(spoken)
    await chat.shows(*["0 1 2 3 "] * len(spoken))


async def test_connection_that_is_cut_heals(tab, context, session_id, scripted_agent):
    chat = await tab()
    chat.may_lose_line = True
    await chat.say(f"script:tokens 8 gate={session_id}")
    await chat.shows(HALF)
    await context.set_offline(True)
    await open_gate(scripted_agent, session_id)
    await context.set_offline(False)
    await chat.shows(WHOLE)
    await chat.is_done()


async def test_page_of_a_server_is_taken_over_without_a_difference(tab, site, gateway, session_id):
    await say_before(gateway, session_id, "<b>one</b>", "script:tool-result")
    html = await asyncio.to_thread(react_client.rendered, site, session_id, gateway.http_url, KEY["X-Internal-Auth"])
    assert "&lt;b&gt;one&lt;/b&gt;" in html.partition("<script id")[0]
    chat = await tab(page="hydrate.html", html=html)
    await expect(chat.page.get_by_role("status")).to_have_text("open")
    await chat.shows("<b>one</b>", 'a clock done {"hour":9}b')
    await chat.say("more")
    await chat.shows("<b>one</b>", 'a clock done {"hour":9}b', "more")


async def test_token_draws_the_last_message_alone(tab, session_id, scripted_agent):
    chat = await tab(page="renders.html")
    await expect(chat.page.locator("main")).to_have_attribute("data-status", "ready")
    await chat.page.evaluate("send('first', {clientMessageId: 'one'})")
    await expect(chat.answers).to_have_text("first")
    await expect(chat.page.locator("main")).to_have_attribute("data-status", "ready")
    before = await chat.page.evaluate("({...drawn})")
    await chat.page.evaluate(f"send('script:tokens 8 gate={session_id}', {{clientMessageId: 'two'}})")
    await chat.shows("first", HALF)
    half = await chat.page.evaluate("({...drawn})")
    await open_gate(scripted_agent, session_id)
    await chat.shows("first", WHOLE)
    after = await chat.page.evaluate("({...drawn})")
    assert {name: after[name] for name in before} == before
    assert after["two:answer"] > half["two:answer"]
