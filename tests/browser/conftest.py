"""One Chromium for all browser tests, a fresh context for each; and the chat page before a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Error, Page, async_playwright, expect

from tests import processes
from tests.browser import chromium
from tests.browser.chat_page import ChatPage

LIMIT_MS = 60_000
expect.set_options(timeout=LIMIT_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=chromium.installed(), args=list(chromium.ARGUMENTS)
            )
        except Error as error:
            if "Executable doesn't exist" in error.message:
                pytest.skip("no Chromium: scripts/install-browser.sh installs one")
            raise
        yield browser
        await browser.close()


@asynccontextmanager
async def new_context(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """A context that waits as long as everything does here; Playwright's own limit is half of that."""
    context = await browser.new_context(**options)
    context.set_default_timeout(LIMIT_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    async with new_context(browser, viewport={"width": 1280, "height": 800}) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


@pytest.fixture(scope="module")
def site(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway before the scripted agent, shared: each test has a conversation of its own."""
    with processes.gateway("serve", scripted_agent.http_url, CHAT_PAGE="true", HEARTBEAT_SECONDS="2") as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def tab(context: BrowserContext) -> AsyncIterator[Callable[..., Any]]:
    """Open another tab; at the end none may have said anything on its console, or broken the policy."""
    tabs: list[ChatPage] = []

    async def open_tab(url: str, rest: str = "/") -> ChatPage:
        tabs.append(ChatPage(await context.new_page(), url))
        return await tabs[-1].open(rest)

    yield open_tab
    assert [complaint for one in tabs for complaint in one.complaints] == []


@pytest_asyncio.fixture(loop_scope="session")
async def chat(tab: Callable[..., Any], site: processes.Process) -> ChatPage:
    chat: ChatPage = await tab(site.http_url)
    await chat.is_connected()
    return chat
