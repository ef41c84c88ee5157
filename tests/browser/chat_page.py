"""The chat page as a person sees it: where its parts are, and what a person does with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Locator, Page, WebSocketRoute, expect


class ChatPage:
    """The page as a person sees it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.may_lose_line = False
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))

    def _hear(self, kind: str, text: str) -> None:
        is_lost_line = self.may_lose_line and text.startswith(("WebSocket connection to", "Failed to load resource"))
        if kind in ("error", "warning") and not is_lost_line:
            self.complaints.append(text)

    async def open(self, rest: str = "/") -> ChatPage:
        await self.page.goto(self.url + rest)
        return self

    async def is_connected(self) -> None:
        await expect(self.pill).to_have_text("Connected")

    async def say(self, text: str) -> None:
        await self.field.fill(text)
        await self.field.press("Enter")

    async def ask(self, text: str) -> Locator:
        """Say something and wait for the end of the answer to it."""
        count = await self.turns.count()
        await self.say(text)
        turn = self.turns.nth(count)
        await expect(turn).to_have_attribute("data-phase", "ended")
        return turn

    async def session(self) -> str:
        await self.page.wait_for_url(re.compile(r"[?&]session="), wait_until="commit")
        return parse_qs(urlsplit(self.page.url).query)["session"][0]

    @property
    def field(self) -> Locator:
        return self.page.get_by_label("Your message")

    @property
    def pill(self) -> Locator:
        return self.page.locator("#connection")

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop")

    @property
    def turns(self) -> Locator:
        return self.page.get_by_role("list", name="Messages", exact=True).locator(".turn[data-phase]")

    @property
    def waiting(self) -> Locator:
        return self.page.locator("#waiting .turn")

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("group", name="Answer")

    @property
    def messages(self) -> Locator:
        return self.page.get_by_role("group", name="Message")


def welcome(**fields: Any) -> str:
    frame = {"type": "welcome", "session_id": "s", "epoch": "E", "offset": 0, "after": 0, "recovered": True}
    rest = {"heartbeat_seconds": 20, "retention_seconds": 60, "max_message_bytes": 65_536, "active": None, "queued": []}
    return json.dumps({**frame, **rest, "pending": [], "history": True, **fields})


def answer_history(line: WebSocketRoute, text: str | bytes, turns: list[dict[str, Any]]) -> bool:
    """Answer a client that asks for ended turns, the newest first; is it that?"""
    frame = json.loads(text)
    if frame["type"] != "history":
        return False
    start = int(frame["before"] or 0)
    page = turns[start : start + frame["limit"]]
    following = str(start + len(page)) if start + len(page) < len(turns) else None
    answer = {"client_message_id": frame["client_message_id"], "turns": page, "next": following, "incomplete": False}
    line.send(json.dumps({"type": "history", **answer}))
    return True


async def open_before(
    tab: Callable[..., Any], url: str, *frames: str, ended: list[dict[str, Any]] | None = None
) -> ChatPage:
    """Open the page before a server that says these frames to the first connection, and welcomes the next ones.

    Args:
        ended: the turns of its history, the newest first.
    """
    connections: list[WebSocketRoute] = []

    def say(line: WebSocketRoute) -> None:
        connections.append(line)
        line.on_message(lambda frame: answer_history(line, frame, ended or []))
        for frame in frames if len(connections) == 1 else [welcome()]:
            line.send(frame)

    first: ChatPage = await tab(url)
    await first.page.route_web_socket(re.compile("/ws/"), say)
    await first.page.reload()
    return first
