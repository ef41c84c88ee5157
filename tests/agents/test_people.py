"""A real agent's reasoning and tool calls, as people see them: on the chat page, and in ``manage.py chat``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from tests import processes
from tests.agents.conftest import StartAgent
from tests.agents.kinds import KINDS, START_SECONDS
from tests.browser.conftest import browser, context, page  # noqa: F401 - fixtures
from tests.browser.test_chat_page import ChatPage
from tests.e2e.test_chat_command import Terminal

pytestmark = pytest.mark.timeout(START_SECONDS + 120)  # an agent may have to start


@pytest.fixture(scope="module", params=["pydantic-ai-agui", "langgraph"])
def site(request: pytest.FixtureRequest, start_agent: StartAgent) -> Iterator[processes.Process]:
    kind = KINDS[request.param]
    with processes.gateway("serve", start_agent(kind).http_url, CHAT_PAGE="true", **kind.settings) as gateway:
        yield gateway


@pytest.mark.asyncio(loop_scope="session")
async def test_page_shows_reasoning_and_tools_in_order(page: Page, site: processes.Process):  # noqa: F811
    chat = await ChatPage(page, site.http_url).open()
    await chat.is_connected()
    turn = await chat.ask("think and tool")
    await expect(turn.locator("summary")).to_have_text(["Reasoning", "look_upDone"])
    await expect(turn.get_by_role("paragraph").filter(has_text="degrees.")).to_have_text("It is 21 degrees.")
    for summary in await turn.locator("summary").all():
        await summary.click()
    await expect(turn.locator(".reasoning")).to_contain_text("Let me see.")
    await expect(turn.locator("pre").first).to_contain_text('"city": "Paris"')
    await expect(turn.locator("pre").last).to_contain_text("21 degrees")
    assert chat.complaints == []


def test_terminal_shows_reasoning_and_tools_in_order(site: processes.Process):
    with Terminal("chat", "--url", site.ws_url) as terminal:
        terminal.wait_for("Connected.")
        terminal.type("think and tool\n")
        terminal.wait_for("think and tool\r\n")
        terminal.wait_for('[Let me see.]\r\n[calls look_up {"city": "Paris"}]\r\n[')
        terminal.wait_for(": 21 degrees]\r\nIt is 21 degrees.\r\n> ")
