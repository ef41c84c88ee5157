"""The gateway's own project below a path of its host, in Chromium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import expect

from tests import processes

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_page_files_socket_admin_and_cookies_are_below_the_root_path(
    scripted_agent: processes.Process, tab: Callable[..., Any]
) -> None:
    settings = {"ROOT_PATH": "/assistant", "CHAT_PAGE": "true", "ADMIN": "true"}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        chat = await tab(gateway.http_url, "/assistant/")
        paths: list[str] = []
        chat.page.on("request", lambda request: paths.append(request.url.removeprefix(gateway.http_url)))
        chat.page.on("websocket", lambda socket: paths.append(socket.url.removeprefix(gateway.ws_url)))
        await chat.page.reload()
        await chat.is_connected()
        await chat.ask("hello")
        await chat.page.goto(f"{gateway.http_url}/assistant/admin/")
        await expect(chat.page).to_have_url(f"{gateway.http_url}/assistant/admin/login/?next=/assistant/admin/")
        assert [cookie["path"] for cookie in await chat.page.context.cookies()] == ["/assistant/"]
        assert [path for path in paths if not path.startswith(("/assistant/", "data:"))] == []
        assert any(path.startswith("/assistant/ws/") for path in paths)
