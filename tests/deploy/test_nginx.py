"""The site for nginx, by a real nginx: what passes, what is taken off, and what is not held back."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from relay.access.connection_limits import CONNECTS_BEHIND_PROXY
from relay.conf import Conf
from relay.server import limits
from tests import processes
from tests.clients import V1, SocketClient
from tests.deploy.conftest import Start
from tests.deploy.nginx import SITE, Nginx
from tests.front_end_requests import ADAPTERS
from tests.processes import free_port
from tests.server.conftest import ARGUMENTS

FORGED = {
    "X-Forwarded-For": "192.0.2.1",
    "X_Forwarded_For": "192.0.2.2",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Real-IP": "192.0.2.3",
    "X-Request-ID": "forged",
    "Forwarded": "for=192.0.2.4",
    "X-Internal-Auth": processes.KEY,
    "X_Internal_Auth": processes.KEY,
    "Daphne-Root-Path": "/evil",
}


@pytest.fixture(scope="module")
def nginx(scripted_agent: processes.Process, start_nginx: Start) -> Iterator[Nginx]:
    """nginx before a gateway and a process that is gone."""
    with processes.gateway("serve", scripted_agent.http_url, TRUSTED_PROXIES="1") as gateway:
        yield start_nginx(free_port(), gateway.port)


@pytest.fixture(scope="module")
def before_test_application(start_nginx: Start) -> Iterator[Nginx]:
    with processes.Process([*ARGUMENTS, "--proxies", "1"]) as application:
        yield start_nginx(application.port)


def connection(nginx: Nginx) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(nginx.https_url.removeprefix("https://"), context=nginx.tls, timeout=60)


def get(nginx: Nginx, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    line = connection(nginx)
    try:
        line.request("GET", path, headers=headers or {})
        answer = line.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        line.close()


def test_site_is_accepted_without_a_warning(nginx):
    assert re.findall(r"\[(?:warn|emerg|error|alert|crit)].*", nginx.check()) == []
    assert "test is successful" in nginx.check()


async def test_answer_comes_through_though_one_process_is_gone(nginx):
    for number in range(4):
        async with SocketClient(f"{nginx.wss_url}/ws/s{number}/", [V1], ssl=nginx.tls) as client:
            await client.frame_of("welcome")
            assert await client.ask("hello, world") == "hello, world"
        async with SocketClient(f"{nginx.wss_url}/ws/p{number}/", ssl=nginx.tls) as client:
            assert await client.ask("hello, world") == "hello, world"
        assert get(nginx, "/health")[0] == 200


async def test_close_code_and_reason_come_through(before_test_application):
    url = before_test_application.wss_url
    async with SocketClient(f"{url}/close/4508/slow", ssl=before_test_application.tls) as client:
        assert await client.close_code() == 4508
        assert client.connection.close_reason == "slow"


async def scopes(nginx: Nginx) -> list[dict[str, Any]]:
    """What the application is told of a request and of a socket with forged headers."""
    status, of_request = await asyncio.to_thread(get, nginx, "/scope", FORGED)
    assert status == 200
    async with SocketClient(f"{nginx.wss_url}/scope", ssl=nginx.tls, additional_headers=FORGED) as client:
        return [of_request, json.loads(await client.text())]


async def test_what_a_client_says_of_itself_is_replaced_by_what_nginx_knows(before_test_application):
    for scope, scheme in zip(await scopes(before_test_application), ("https", "wss"), strict=True):
        assert (scope["client"], scope["scheme"]) == (["127.0.0.1", 0], scheme)
        assert (scope["root_path"], scope["path"]) == ("", "/scope")
        headers = dict(scope["headers"])
        assert len(headers) == len(scope["headers"])  # none comes twice
        assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "https")
        assert len(headers["x-request-id"]) == 32
        assert headers["host"] == before_test_application.https_url.removeprefix("https://")
        passed = {name for name in headers if name in {forged.lower() for forged in FORGED}}
        assert passed <= {"x-forwarded-for", "x-forwarded-proto", "x-request-id", "daphne-root-path"}
        assert not any("_" in name for name in headers)


def test_internal_key_does_not_work_from_outside(nginx):
    assert get(nginx, "/api/v1/sessions", {"X-Internal-Auth": processes.KEY})[0] == 401


def test_event_of_a_stream_is_passed_on_before_the_next_one_is_there(before_test_application):
    line = connection(before_test_application)
    line.request("GET", "/drip")
    answer = line.getresponse()
    assert answer.read1() == b"data: first\n\n"
    get(before_test_application, "/release")
    assert answer.read1() == b"data: second\n\n"
    line.close()


def test_body_above_the_gateways_limit_ends_here(nginx):
    line = connection(nginx)
    line.putrequest("POST", "/api/v1/sessions/s/messages")
    line.putheader("Content-Length", str(size("client_max_body_size") + 1))
    line.endheaders()
    assert line.getresponse().status == 413
    line.close()


@pytest.fixture(scope="module")
def strict(scripted_agent: processes.Process, start_nginx: Start) -> Iterator[Start]:
    """Starts an nginx that lets few lines through, in front of a gateway."""
    with processes.gateway("serve", scripted_agent.http_url, TRUSTED_PROXIES="1") as gateway:
        yield lambda **limits: start_nginx(gateway.port, limits=limits)


def handshake(nginx: Nginx, session_id: str) -> SocketClient:
    return SocketClient(f"{nginx.wss_url}/ws/{session_id}/", [V1], ssl=nginx.tls)


async def refusal(nginx: Nginx, session_id: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with handshake(nginx, session_id):
            pass
    return refused.value.response.status_code


async def test_address_that_opens_lines_too_often_is_refused_and_may_ask_for_all_else(strict):
    nginx = strict(**{r"rate=10r/s": "rate=1r/m", r"burst=600": "burst=2"})
    for number in range(2):
        async with handshake(nginx, f"often{number}") as client:
            await client.frame_of("welcome")
    path = "/api/v1/sessions/s/events"
    assert [get(nginx, path)[0], (await asyncio.to_thread(status, nginx, path))] == [401, 429]
    assert await refusal(nginx, "often") == 429
    for _ in range(10):
        assert get(nginx, "/health")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "is_counted"),
    [
        ("POST", "/api/v1/ai-sdk/chat", True),
        ("GET", "/api/v1/ai-sdk/chat/a%2Fb/stream", True),
        ("POST", "/api/v1/ai-sdk/chat/s/stop", False),
        ("POST", "/api/v1/ag-ui", True),
        ("GET", "/api/v1/ag-ui?runId=r", True),
        ("POST", "/v1/chat/completions", True),
        ("GET", "/v1/models", False),
    ],
)
def test_answers_of_other_front_ends_count_as_lines(strict, method, path, is_counted):
    nginx = strict(**{r"rate=10r/s": "rate=1r/m", r"burst=600": "burst=2"})
    statuses = [status(nginx, path, method) for _ in range(4)]
    assert (429 in statuses[:3], statuses[3] == 429) == (False, is_counted)


async def test_address_that_has_too_many_lines_open_is_refused_until_one_ends(strict):
    nginx = strict(**{r"gateway_open 1000": "gateway_open 2"})
    async with handshake(nginx, "many") as one:
        await one.frame_of("welcome")
        async with handshake(nginx, "many") as two:
            await two.frame_of("welcome")
            assert await refusal(nginx, "many") == 429
            assert get(nginx, "/health")[0] == 200
            assert await two.ask("hello, world") == "hello, world"
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(InvalidStatus):  # nginx has not seen the end yet
                async with handshake(nginx, "many") as three:
                    await three.frame_of("welcome")
                    return


def status(nginx: Nginx, path: str, method: str = "GET") -> int:
    line = connection(nginx)
    try:
        line.request(method, path)
        return line.getresponse().status
    finally:
        line.close()


def directive(name: str) -> str:
    (value,) = re.findall(rf"^ *{name} +([^;]+);", SITE.read_text(), re.MULTILINE)
    return value


def seconds(name: str) -> float:
    return float(directive(name).removesuffix("s"))


def size(name: str) -> int:
    return int(directive(name).removesuffix("m")) * 2**20


def test_limits_fit_the_gateways_defaults():
    defaults = Conf(dict)
    for name in ("proxy_read_timeout", "proxy_send_timeout", "send_timeout"):
        assert seconds(name) > 2 * max(defaults.heartbeat_seconds, limits.PING_SECONDS)
        assert seconds(name) > limits.STALLED_SECONDS  # the gateway says 4508 first
    assert f"rate={CONNECTS_BEHIND_PROXY // 60}r/s" in directive("limit_req_zone")
    assert f"burst={CONNECTS_BEHIND_PROXY} " in directive("limit_req")
    with_adapters = Conf(lambda: {"ADAPTERS": ADAPTERS})
    assert size("client_max_body_size") == with_adapters.max_request_bytes + limits.BODY_ROOM_BYTES
    assert f"proxy_read_timeout {defaults.turn_timeout_seconds:.0f}s; }}" in SITE.read_text()
    assert seconds("keepalive_timeout") < 60  # Twisted's, of a connection without a request
