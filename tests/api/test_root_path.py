"""The gateway below a path of its host, whether the proxy leaves that path on or takes it off."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.clients import CommunicatorClient
from tests.http_clients import HttpClient


@pytest.fixture
def http(application: Any, settings: Any) -> HttpClient:
    settings.FORCE_SCRIPT_NAME = "/assistant"  # as gateway_project/settings.py has it from GATEWAY__ROOT_PATH
    settings.STATIC_URL = "/assistant/static/"
    settings.LOGIN_URL = "/assistant/login/"
    return HttpClient(application)


@pytest.fixture(params=["/assistant", ""], ids=["left on", "taken off"])
def before(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_paths_answer_below_the_root_path(http, before):
    for path in ("/health", "/metrics", "/api/v1/sessions"):
        assert (await http.get(f"{before}{path}")).status == 200
        assert (await http.get(f"{before}{path}", key=None)).status == (200 if path == "/health" else 401)


async def test_sockets_open_below_the_root_path(http, application, before):
    for path in ("/ws/s/", "/api/v1/ws/s"):
        async with CommunicatorClient(application, f"{before}{path}") as browser:
            assert await browser.ask("Hi")
    async with CommunicatorClient(application, f"{before}/elsewhere") as browser:
        assert not browser.is_accepted


async def test_the_page_names_everything_with_the_root_path(http, configure, before):
    configure(CHAT_PAGE="true", WS_AUTH="session")
    page = (await http.get(f"{before}/?session=s", key=None)).body.decode()
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert len(links) > 4
    assert [link for link in links if not link.startswith("/assistant/")] == []
    assert 'data-base="/assistant"' in page


@pytest.mark.parametrize(
    ("address", "is_own"),
    [
        ("/assistant/health?for=page", True),
        ("/host/ticket", False),
        ("https://host.example/health", False),
        ("", False),
    ],
)
async def test_the_page_has_a_csrf_token_for_an_address_of_this_project_only(http, configure, before, address, is_own):
    configure(CHAT_PAGE="true", WS_AUTH="ticket", CHAT_CREDENTIAL_URL=address)
    answer = await http.get(f"{before}/", key=None)
    assert bool(re.search(r' data-csrf="\w{64}"', answer.body.decode())) is is_own
    assert ("set-cookie" in answer.headers) is is_own, "the host's cookie may have the same name"


async def test_files_of_pages_are_below_the_root_path(http, configure, before):
    assert (await http.get(f"{before}/static/relay/chat.css", key=None)).status == 401
    configure(CHAT_PAGE="true")
    assert (await http.get(f"{before}/static/relay/chat.css", key=None)).status == 200


async def test_the_description_names_paths_with_the_root_path(http, before):
    described = (await http.get(f"{before}/api/v1/openapi.json")).json()
    assert "/assistant/api/v1/sessions/{session_id}/messages" in described["paths"]


async def test_other_front_ends_talk_below_the_root_path(http, configure, before):
    configure(ADAPTERS="openai,ag-ui,ai-sdk")
    question = {"model": "agent", "messages": [{"role": "user", "content": "Hi"}]}
    assert (await http.post(f"{before}/v1/chat/completions", question)).status == 200
    run = {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "Hi"}], "state": {}}
    assert (
        await http.post(f"{before}/api/v1/ag-ui", {**run, "tools": [], "context": [], "forwardedProps": {}})
    ).status == 200
    chat = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}
    assert (await http.post(f"{before}/api/v1/ai-sdk/chat", chat)).status == 200
