"""What docs/client.md offers to copy into a page works as it stands, before a real gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests import processes

pytestmark = pytest.mark.asyncio(loop_scope="session")

GUIDE = (processes.ROOT / "docs" / "client.md").read_text()
MODULE = processes.ROOT / "relay" / "static" / "relay" / "gateway-client.js"
QUESTION = "What is the capital of France?"
HOME = "http://page.test"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """Its agent repeats what was said; pages from anywhere may open its sockets."""
    with processes.gateway("serve", scripted_agent.http_url, ALLOWED_ORIGINS=HOME) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def site(page: Page, gateway: processes.Process) -> Any:
    """Open a page of another origin, with this HTML in it; give the page."""
    source: list[str] = []

    async def serve(route: Route) -> None:
        if route.request.url.endswith("/gateway-client.js"):
            await route.fulfill(path=MODULE, content_type="text/javascript")
        elif route.request.url.endswith("/my/ticket"):
            await route.fulfill(json={"ticket": "a ticket"})
        else:
            await route.fulfill(body=source[0], content_type="text/html; charset=utf-8")

    async def open_page(html: str) -> Page:
        source[:] = [html]
        await page.goto(f"{HOME}/")
        return page

    await page.route(f"{HOME}/**", serve)
    return open_page


def script(code: str, gateway: processes.Process, session_id: str) -> str:
    """A page that runs an example's code; its gateway is elsewhere, so it says where."""
    code = code.replace("sessionId: 'demo'", f"base: '{gateway.http_url}', sessionId: '{session_id}'")
    return (
        f"<script type=module>import {{ connect }} from './gateway-client.js';\n{code}\nwindow.isDone = true;</script>"
    )


async def test_page_shows_the_answer(site: Any, gateway: processes.Process) -> None:
    (html,) = examples("html")
    page = await site(html.replace("https://chat.example.com", gateway.http_url))
    await expect(page.locator("#answer")).to_have_text(QUESTION)


async def test_answer_or_what_went_wrong_is_said(site: Any, gateway: processes.Process) -> None:
    hello = examples("js")[0]
    client = "const client = connect({ sessionId: 'demo' });\n"
    for question, words in (("Hello", "Hello"), ("script:status 503 retry-after=2", r"upstream_unavailable .* 2000")):
        page = await site(script(client + hello.replace("Hello", question), gateway, "said"))
        async with page.expect_console_message(lambda message, words=words: re.fullmatch(words, message.text)):
            await page.reload()


async def test_page_shows_what_other_tabs_said_and_stops(site: Any, gateway: processes.Process) -> None:
    watch = examples("js")[1]
    page_of_a_reader = """
        const stopButton = {}, seen = window.seen = {};
        const addQuestion = (id, content) => { seen[id] = { question: content }; };
        const showAnswer = (id, text) => { seen[id].answer = text; };
        const endAnswer = (id, reason) => { seen[id].end = reason; };
        const failAnswer = (id, words) => { seen[id].end = words; };
        const showConnection = (state) => { window.connection = state; };
    """
    others = "connect({ sessionId: 'demo' }).send('from another tab');"
    page = await site(script(page_of_a_reader + watch + "window.stopButton = stopButton;" + others, gateway, "shared"))
    await page.wait_for_function("Object.values(window.seen).some(turn => turn.end === 'stop')")
    assert await page.evaluate("Object.values(seen)") == [
        {"question": "from another tab", "answer": "from another tab", "end": "stop"}
    ]
    assert await page.evaluate("window.connection") == "open"
    await page.evaluate("stopButton.onclick()")


async def test_page_shows_a_ticket(site: Any, gateway: processes.Process) -> None:
    ticket = examples("js")[2].replace("connect({", "const client = connect({")
    page = await site(script(ticket + "client.on('welcome', () => { window.isWelcome = true; });", gateway, "ticket"))
    await page.wait_for_function("window.isWelcome")


async def test_page_shows_earlier_turns(site: Any, gateway: processes.Process) -> None:
    read = examples("js")[4]
    say = "connect({ sessionId: 'demo' }).send('from another day').done.then(() => { window.isSaid = true; });"
    page = await site(script(say, gateway, "earlier"))
    await page.wait_for_function("window.isSaid")
    page_of_a_reader = """
        const added = window.added = [];
        const addAbove = (turn) => added.push([turn.message, turn.answer]);
    """
    others = read.replace("cursor: { offset: 0 }", "cursor: null")
    page = await site(script(page_of_a_reader + others + "window.showEarlier = showEarlier;", gateway, "earlier"))
    await page.wait_for_function("window.isDone")
    await page.evaluate("showEarlier()")
    assert await page.evaluate("window.added") == [["from another day", "from another day"]]
