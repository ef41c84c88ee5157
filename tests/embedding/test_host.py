"""The gateway in a project as ``startproject`` makes it: what the host keeps, and what a customer sees."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import BrowserContext, expect

from tests import processes
from tests.api.test_embedded import BODY, RULES
from tests.clients import SocketClient
from tests.embedding.conftest import ENTRANCES, HOST, Host

KEY = "of-the-shop"


def status(url: str, method: str = "GET", **headers: str) -> int:
    data = json.dumps(BODY).encode() if method == "POST" else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def inspected(host: Host, **env: str) -> dict[str, Any]:
    return json.loads(host.run(str(HOST.parent / "inspect_host.py"), **env).stdout.splitlines()[-1])


def test_a_host_keeps_its_event_loop_logs_admin_and_commands(host, installed):
    assert inspected(host, DJANGO_SETTINGS_MODULE="shop.settings") == {
        "gateway": str(installed.packages / "relay" / "__init__.py"),  # of the wheel
        "finds the checkout": False,
        "is unchanged": True,
        "servers": [],
        "filters of loggers": 0,
        "admin": ["ShopAdminSite"],
        "login of the admin": "None",
        "sidebar": True,
        "models in the admin": ["auth.Group"],
        "templates": [f"django/contrib/admin/templates/admin/{name}.html" for name in ("base_site", "index", "login")],
        "migrate": "django.core",
    }


def test_the_pages_of_the_admin_are_there_for_a_host_that_asks_for_them(host):
    found = inspected(host, DJANGO_SETTINGS_MODULE="shop.settings", GATEWAY__ADMIN="true")
    assert found["models in the admin"] == ["auth.Group", "relay.Conversation", "relay.LiveSession", "relay.Turn"]
    assert (found["sidebar"], found["login of the admin"]) == (True, "None")


def test_a_host_needs_no_migrations_of_its_own_and_passes_the_checks(host):
    said = host.manage("makemigrations", "--check", "--dry-run").stdout
    assert said.splitlines()[-1:] == ["No changes detected"]
    assert "System check identified" not in said, said


# What a stranger gets where, below the gateway's prefix and in a gateway of its own.
STRANGERS = [
    ("GET /health", 200),
    ("GET /ready", 200),
    ("GET /metrics", 401),
    ("GET /", 200),
    ("GET /s", 401),
    ("POST /v1/chat/completions", 401),
    ("GET /v1/models", 401),
    ("GET /v1/s", 404),
    ("POST /api/v1/ag-ui", 401),
    ("POST /api/v1/ai-sdk/chat", 401),
    ("POST /api/v1/ai-sdk/chat/s/stop", 401),
    ("GET /api/v1/ai-sdk/chat/s/stream", 401),
    ("GET /api/v1/frame", 200),
    ("GET /api/v1/", 401),
    ("GET /api/v1/openapi.json", 401),
    ("POST /api/v1/drain", 401),
    ("GET /api/v1/me/sessions", 401),
    ("POST /api/v1/notice", 401),
    ("GET /api/v1/sessions", 401),
    ("POST /api/v1/adapters/s", 404),
    ("DELETE /api/v1/sessions/s", 401),
    ("POST /api/v1/sessions/s/cancel", 401),
    ("GET /api/v1/sessions/s/events", 401),
    ("GET /api/v1/sessions/s/frames", 401),
    ("POST /api/v1/sessions/s/messages", 401),
    ("GET /api/v1/sessions/s/pending", 401),
    ("DELETE /api/v1/sessions/s/queue", 401),
    ("GET /api/v1/sessions/s/turns", 401),
    ("DELETE /api/v1/sessions/s/viewers", 401),
    ("POST /api/v1/tickets", 401),
]
OWN = {"POST /api/v1/adapters/s": 401}  # where it differs: there the key is asked for before such an adapter is


def test_the_table_has_every_path_of_the_gateway():
    assert [request.partition(" ")[2] for request, _ in STRANGERS] == list(RULES)


@pytest.fixture(scope="module")
def own(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway of its own, with the host's settings."""
    settings = {"WS_AUTH": "session", "CHAT_PAGE": "true", "INTERNAL_API_KEY": KEY}
    with processes.gateway("serve", scripted_agent.http_url, **settings, **ENTRANCES) as gateway:
        yield gateway


@pytest.mark.parametrize(("request_line", "expected"), STRANGERS, ids=[request for request, _ in STRANGERS])
def test_a_path_is_as_open_to_a_stranger_as_in_a_gateway_of_its_own(shop, own, request_line, expected):
    method, _, path = request_line.partition(" ")
    for headers in ({}, {"X-Internal-Auth": "wrong"}):
        assert status(f"{shop.http_url}/assistant{path}", method, **headers) == expected
        assert status(f"{own.http_url}{path}", method, **headers) == OWN.get(request_line, expected)


@pytest.mark.parametrize("path", [path for path in RULES if path != "/"])
def test_no_path_of_the_gateway_is_outside_its_prefix(shop, path):
    assert status(f"{shop.http_url}{path}", **{"X-Internal-Auth": KEY}) == 404


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/openapi.json", "/api/v1/sessions"])
def test_the_key_opens_a_path_below_the_prefix(shop, path):
    assert status(f"{shop.http_url}/assistant{path}", **{"X-Internal-Auth": KEY}) == 200


@pytest.mark.parametrize("path", ["/", "/staff/login/", "/files/relay/chat.css"])
def test_what_the_host_serves_is_open(shop, path):
    assert status(f"{shop.http_url}{path}") == 200


async def test_the_hosts_own_socket_is_open_to_all_and_the_gateways_to_customers(shop):
    async with SocketClient(f"{shop.ws_url}/ws/prices/") as prices:
        await prices.send_text("apples")
        assert await prices.text() == "apples"
    async with SocketClient(f"{shop.ws_url}/assistant/ws/s/", ["gateway.v1"]) as stranger:
        assert (await stranger.frame())["code"] == "unauthorized"


@pytest.mark.asyncio(loop_scope="session")
async def test_a_customer_talks_about_an_order_in_the_hosts_own_page(shop, context: BrowserContext):
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{shop.http_url}/orders/7/")
    await page.get_by_label("Username").fill("ada")
    await page.get_by_label("Password").fill("correct horse")
    await page.get_by_role("button", name="Enter the shop").click()
    await expect(page.get_by_role("heading", name="Order 7")).to_be_visible()
    chat = page.frame_locator("iframe.gateway-chat")
    await expect(chat.locator("#connection")).to_have_text("Connected")
    await expect(chat.get_by_role("link", name="New")).to_be_hidden()
    await chat.get_by_label("Your message").fill("Where is it?")
    await chat.get_by_label("Your message").press("Enter")
    await expect(chat.locator("[data-phase=ended]")).to_be_visible()
    await page.reload()
    await expect(chat.get_by_role("group", name="Message")).to_have_text("Where is it?")
    assert complaints == []


@pytest.mark.asyncio(loop_scope="session")
async def test_a_page_gets_tickets_from_the_host_that_keeps_its_csrf_token_in_the_session(
    host, scripted_agent, database, context: BrowserContext
):
    settings = {"WS_AUTH": "ticket", "CHAT_CREDENTIAL_URL": "/chat-ticket/", "CHAT_LOGIN_URL": "/accounts/login/"}
    with host.serve(scripted_agent, database, **settings) as shop:
        page = await context.new_page()
        await page.goto(f"{shop.http_url}/accounts/login/?next=/assistant/")
        await page.get_by_label("Username").fill("ada")
        await page.get_by_label("Password").fill("correct horse")
        await page.get_by_role("button", name="Enter the shop").click()
        await expect(page.locator("#connection")).to_have_text("Connected")
        assert [cookie["name"] for cookie in await context.cookies()] == ["sessionid"]


async def test_sigterm_drains_the_host(host, scripted_agent, database):
    with host.serve(scripted_agent, database) as shop:
        url, headers = f"{shop.ws_url}/assistant/ws/s/", {"X-Internal-Auth": KEY}
        async with SocketClient(url, ["gateway.v1"], additional_headers=headers) as viewer:
            await viewer.ask("Hi")
            shop.signal(signal.SIGTERM)
            assert (await viewer.frame_of("disconnect"))["code"] == "server_restart"
        assert shop.wait() == 0
