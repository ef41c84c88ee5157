"""HTTP over real servers: health, the internal key, and what is closed without it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from tests import processes
from tests.clients import SocketClient, text_of

UNAUTHORIZED = (401, {"detail": "unauthorized"})
NOT_FOUND = (404, {"detail": "not found"})
KEY = processes.KEY


def ask(process: processes.Process, path: str, method: str = "GET", headers: list[tuple[str, str]] | None = None):
    """Send exactly these headers; give the status and the JSON body."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    headers = headers or []
    connection.putrequest(method, path, skip_host=any(name.lower() == "host" for name, _ in headers))
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, json.loads(body) if is_json and body else body.decode(errors="replace")


def test_health_is_open_with_any_host(service):
    healthy = {"status": "healthy", "service": "gateway", "version": "0.1.0"}
    for headers in ([], [("Host", "evil.example")], [("Host", "a b/c?")], [("X-Internal-Auth", "wrong")]):
        assert ask(service, "/health", headers=headers) == (200, healthy)
    assert ask(service, "/health", "HEAD") == (200, "")
    assert ask(service, "/health", "POST")[0] == 405


@pytest.mark.parametrize(
    "path",
    ["/", "/x", "/admin/", "/admin", "/admin/login/", "/static/relay/chat.css", "/static/", "/health/", "/health/x",
     "/healthz", "/x//health", "/ws/s/", "/api/v1/sessions", "/%2e%2e/health", "/health%2f", "/favicon.ico",
     "/metrics"],
)  # fmt: skip
def test_everything_else_is_closed_without_the_key(service, path):
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
        status, body = ask(service, path, method)
        assert (status, body or UNAUTHORIZED[1]) == UNAUTHORIZED, method


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Internal-Auth", "")],
        [("X-Internal-Auth", "wrong")],
        [("X-Internal-Auth", KEY.upper())],
        [("X-Internal-Auth", KEY + "x")],
        [("X-Internal-Auth", KEY[:-1])],
        [("X-Internal-Auth", f"{KEY},{KEY}")],
        [("X-Internal-Auth", "ü".encode().decode("latin-1"))],
        [("X-Internal-Auth", "None")],
        [("X_Internal_Auth", KEY)],
        [("X-Internal_Auth", KEY)],
        [("HTTP_X_INTERNAL_AUTH", KEY)],
        [("Cookie", f"X-Internal-Auth={KEY}; x-internal-auth={KEY}")],
        [("Authorization", f"Bearer {KEY}")],
        [("X-Internal-Auth", "wrong"), ("X-Internal-Auth", KEY)],
        [("X-Internal-Auth", KEY), ("X-Internal-Auth", "wrong")],
    ],
)
def test_only_the_right_key_in_the_right_header_counts(service, headers):
    assert ask(service, f"/x?X-Internal-Auth={KEY}", headers=headers) == UNAUTHORIZED


@pytest.mark.parametrize("name", ["X-Internal-Auth", "x-internal-auth", "X-INTERNAL-AUTH"])
def test_with_the_key_an_unknown_path_is_not_found(service, name):
    for path in ("/x", "/", "/admin/", "/static/x.css"):
        assert ask(service, path, headers=[(name, KEY)]) == NOT_FOUND


def test_wrong_host_is_a_clean_400_but_for_health(server, scripted_agent):
    with processes.gateway(server, scripted_agent.http_url, ALLOWED_HOSTS="chat.example") as gateway:
        key = ("X-Internal-Auth", KEY)
        for host in ("evil.example", "chat.example.evil", "a b"):
            assert ask(gateway, "/x", headers=[("Host", host), key]) == (400, {"detail": "bad request"})
            assert ask(gateway, "/health", headers=[("Host", host)])[0] == 200
            assert ask(gateway, "/metrics", headers=[("Host", host), key])[0] == 200
        assert ask(gateway, "/x", headers=[("Host", "chat.example"), key]) == NOT_FOUND


@pytest.fixture(scope="module")
def open_pages(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway with the chat page and the admin switched on."""
    with processes.gateway(server, scripted_agent.http_url, CHAT_PAGE="true", ADMIN="true") as gateway:
        yield gateway


def test_pages_that_are_switched_on_are_open_and_nothing_else(open_pages):
    assert ask(open_pages, "/")[0] == 200
    assert ask(open_pages, "/admin/")[0] == 302
    assert ask(open_pages, "/admin/login/")[0] == 200
    for path in ("relay/chat.css", "relay/chat.js", "relay/gateway-client.js", "admin/css/base.css"):
        assert ask(open_pages, f"/static/{path}")[0] == 200, path
    assert ask(open_pages, "/static/nothing.css") == NOT_FOUND
    assert ask(open_pages, "/static/../manage.py")[0] in (401, 404)
    assert ask(open_pages, "/static/%2e%2e/manage.py")[0] in (401, 404)
    assert ask(open_pages, "/x") == UNAUTHORIZED


async def test_wrong_path_or_id_of_a_socket_is_refused_with_403(service):
    from websockets.exceptions import InvalidStatus

    for path in (
        "/ws/../",
        "/ws/%2e%2e/",
        "/ws/a%2fb/",
        "/ws/a%20b/",
        "/ws/%0a/",
        "/ws/a%0a",
        "/ws/%ff/",
        "/x",
        "/",
        "/ws/",
        "/api/v1/ws/",
        "/api/v1/ws/%2e%2e/",
        "/api/v1/ws/a/b/",
        "/v1/ws/a/",
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with SocketClient(service.ws_url + path):
                pass
        assert refused.value.response.status_code == 403, path


async def test_percent_encoded_id_is_decoded_once_and_reaches_the_agent(service, asked):
    async with SocketClient(f"{service.ws_url}/ws/a%3Ab%7e/") as browser:
        await browser.ask("hello")
    assert asked("a:b~")


@pytest.mark.parametrize("path", ["/ws/two-paths", "/ws/two-paths/", "/api/v1/ws/two-paths", "/api/v1/ws/two-paths/"])
async def test_each_path_of_a_socket_leads_to_the_same_session(service, path):
    async with (
        SocketClient(f"{service.ws_url}{path}") as browser,
        SocketClient(f"{service.ws_url}/ws/two-paths/") as other,
    ):
        assert await browser.ask("hello") == text_of(await other.turn())


def test_wrong_setting_stops_the_start_and_is_named(server, scripted_agent):
    with pytest.raises(RuntimeError, match="GATEWAY__REQUEST_TIMEOUT must be a number of seconds"):
        processes.gateway(server, scripted_agent.http_url, REQUEST_TIMEOUT="soon").start()


def test_misspelt_setting_is_pointed_out(scripted_agent):
    with processes.gateway("runserver", scripted_agent.http_url, REQUEST_TIMOUT="5") as gateway:
        assert "The gateway has no setting GATEWAY__REQUEST_TIMOUT" in gateway.output()
