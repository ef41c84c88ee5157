"""The chat page and the admin before axe-core: no rule of it may be broken, in light and dark."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests import processes
from tests.browser.chat_page import ChatPage, open_before, welcome
from tests.browser.markdown_samples import EVERY_FORM
from tests.browser.test_chat_history import ended_turn
from tests.browser.test_chat_parts import CALL, FINAL, log, message, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = Path(__file__).resolve().parents[1] / "javascript/node_modules/axe-core/axe.min.js"
# Only colours differ in the dark: what else a rule may find was found in the light.
SCHEMES = {"light": "{}", "dark": "{runOnly: ['color-contrast']}"}
ADD_ADMIN = """
from django.contrib.auth.models import User
User.objects.create_superuser("ada", password="correct horse")
"""


async def faults(page: Page) -> list[tuple[str, str, str]]:
    """What axe-core says against a page in light and dark, each with the first elements that break the rule."""
    if not AXE.exists():
        pytest.skip("npm's packages are not installed: `make check` installs them")
    await page.evaluate(AXE.read_text())
    said = []
    for scheme, options in SCHEMES.items():
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.evaluate(
            "document.getAnimations().forEach(animation => animation.finish())"
        )  # from the other scheme
        found = await page.evaluate(f"axe.run({options})")
        said += [(scheme, rule["id"], node["html"][:200]) for rule in found["violations"] for node in rule["nodes"][:3]]
    return said


async def everything(tab: Callable[..., Any], site: processes.Process) -> ChatPage:
    """A conversation with every part that an answer can have."""
    asked = {**CALL, "call_id": "c2", "tool_name": "book", "requires_approval": True}
    frames = log(
        message("where?"),
        {"type": "reasoning", "token": "I should search."},
        CALL,
        {"type": "tool_result", "call_id": "c1", "result": {"found": 3}},
        token(EVERY_FORM),
        {"type": "usage", "total_tokens": 1280},
        asked,
        {**FINAL, "finish_reason": "interrupt"},
    )
    failed = {"finish_reason": "error", "error": {"code": "upstream_eof", "content": "The answer was cut off."}}
    ended = [ended_turn(8, **failed), ended_turn(7, message="long\n" * 30)]
    notice = json.dumps({"type": "notice", "code": "operator", "content": "We restart at six."})
    chat = await open_before(tab, site.http_url, welcome(), *frames, notice, ended=ended)
    await expect(chat.turns).to_have_count(3)
    await expect(chat.page.locator("math").first).to_be_attached()
    await expect(chat.page.locator(".hljs-keyword").first).to_be_attached()
    for details in await chat.page.locator("details").all():
        await details.evaluate("details => details.open = true")
    return chat


async def test_conversation_with_every_part(tab: Callable[..., Any], site: processes.Process) -> None:
    chat = await everything(tab, site)
    assert await faults(chat.page) == []


async def test_empty_page_list_and_running_answer(chat: ChatPage) -> None:
    assert await faults(chat.page) == []
    await chat.say("script:tokens 2000 delay=0.03")
    await expect(chat.answers).to_contain_text("0 1")
    await chat.say("waits")
    await expect(chat.waiting).to_contain_text("Queued")
    assert await faults(chat.page) == []
    await chat.page.get_by_role("button", name="Conversations").click()
    await expect(chat.page.get_by_role("dialog").get_by_role("link")).to_have_count(1)
    assert await faults(chat.page) == []
    await chat.page.keyboard.press("Escape")
    await chat.stop.click()


async def test_closed_page(tab: Callable[..., Any], site: processes.Process) -> None:
    frame = {"type": "disconnect", "code": "kicked", "content": "Kicked.", "reconnect": False}
    chat = await open_before(tab, site.http_url, welcome(), json.dumps(frame))
    await expect(chat.page.get_by_role("alert")).to_be_visible()
    assert await faults(chat.page) == []


@pytest.mark.parametrize("width", [320, 640])
async def test_everything_fits_a_phone_and_twice_the_zoom(
    tab: Callable[..., Any], site: processes.Process, width: int
) -> None:
    """A window of 1,280 pixels at 200 % is 640 wide (WCAG 2.2, 1.4.10: at 400 % 320)."""
    chat = await everything(tab, site)
    await chat.page.set_viewport_size({"width": width, "height": 500})
    assert await chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await chat.page.evaluate("scroller.scrollWidth <= scroller.clientWidth")


# The admin.


@pytest.fixture(scope="module")
def with_admin(
    scripted_agent: processes.Process, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[processes.Process]:
    database = f"sqlite:///{tmp_path_factory.mktemp('admin')}/db.sqlite3"
    for arguments in (["migrate", "--no-input"], ["shell", "-c", ADD_ADMIN]):
        done = processes.run(["manage.py", *arguments], GATEWAY__DATABASE_URL=database)
        assert done.returncode == 0, done.stdout
    settings = {"CHAT_PAGE": "true", "ADMIN": "true", "DATABASE_URL": database, "TRANSCRIPTS": "true"}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        yield gateway


async def test_admin(page: Page, with_admin: processes.Process) -> None:
    chat = await ChatPage(page, with_admin.http_url).open("/?session=seen")
    await chat.ask("hello **there**")
    await chat.ask("script:tool-result")
    await chat.ask("script:error no")
    await page.goto(f"{with_admin.http_url}/admin/login/")
    found = {"login": await faults(page)}
    await page.get_by_label("Username").fill("ada")
    await page.get_by_label("Password").fill("correct horse")
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/admin/")
    found["index"] = await faults(page)
    turns = f"{with_admin.http_url}/admin/relay/turn/"
    async with asyncio.timeout(60):
        while await page.goto(turns) and await page.locator("#result_list tbody tr").count() < 3:
            await asyncio.sleep(0.1)
    found["turns"] = await faults(page)
    await page.locator("#result_list tbody a").first.click()
    await page.locator(".relay-conversation").wait_for()
    found["turn"] = await faults(page)
    await page.goto(f"{with_admin.http_url}/admin/relay/livesession/")
    await page.click("#relay-fold")  # idle sessions are folded away
    await page.locator("#result_list tbody tr").first.wait_for()
    found["live sessions"] = await faults(page)
    await page.goto(f"{with_admin.http_url}/admin/relay/livesession/session/seen/")
    await page.locator(".relay-message").first.wait_for()
    found["live session"] = await faults(page)
    assert {name: said for name, said in found.items() if said} == {}
