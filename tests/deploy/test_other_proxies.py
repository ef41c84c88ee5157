"""The files for Caddy and HAProxy, by the real programs: what passes, what is taken off, and what is not held back."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import processes
from tests.clients import V1, SocketClient
from tests.deploy.proxies import PROXIES, Proxy
from tests.processes import free_port
from tests.server.conftest import ARGUMENTS

FORGED = {
    "X-Forwarded-For": "192.0.2.1",
    "X_Forwarded_For": "192.0.2.2",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "1",
    "X-Real-IP": "192.0.2.3",
    "X-Request-ID": "forged",
    "Forwarded": "for=192.0.2.4",
    "X-Internal-Auth": processes.KEY,
    "X_Internal_Auth": processes.KEY,
}
# Its certificate is not from an authority, and Caddy must not ask one for another.
CAUSED_BY_THE_TEST = "no OCSP stapling|automatic HTTPS is completely disabled"


@pytest.fixture(scope="module", params=PROXIES)
def kind(request: pytest.FixtureRequest) -> type[Proxy]:
    proxy = PROXIES[request.param]
    if proxy.installed() is None:
        pytest.skip(f"There is no {proxy.program}; scripts/install-deploy-tools.sh installs one.")
    return proxy


@pytest.fixture(scope="module")
def proxy(kind: type[Proxy], scripted_agent: processes.Process, tmp_path_factory: Any) -> Iterator[Proxy]:
    """A proxy before a gateway and a process that is gone."""
    with (
        processes.gateway("serve", scripted_agent.http_url, TRUSTED_PROXIES="1") as gateway,
        kind(tmp_path_factory.mktemp("proxy"), [free_port(), gateway.port]) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module")
def before_test_application(kind: type[Proxy], tmp_path_factory: Any) -> Iterator[Proxy]:
    with (
        processes.Process([*ARGUMENTS, "--proxies", "1"]) as application,
        kind(tmp_path_factory.mktemp("proxy"), [application.port]) as proxy,
    ):
        yield proxy


def connection(proxy: Proxy) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", proxy.port, context=proxy.tls, timeout=60)


def get(proxy: Proxy, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    line = connection(proxy)
    try:
        line.request("GET", path, headers=headers or {})
        answer = line.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        line.close()


def test_file_is_accepted_without_a_warning(proxy):
    checked = proxy.check()
    assert checked.returncode == 0, checked.stderr
    warnings = [line for line in (checked.stdout + checked.stderr).splitlines() if "warn" in line.lower()]
    assert [line for line in warnings if not re.search(CAUSED_BY_THE_TEST, line)] == []


async def test_answer_comes_through_though_one_process_is_gone(proxy):
    for number in range(4):
        async with SocketClient(f"{proxy.wss_url}/ws/s{number}/", [V1], ssl=proxy.tls) as client:
            await client.frame_of("welcome")
            assert await client.ask("hello, world") == "hello, world"
        async with SocketClient(f"{proxy.wss_url}/ws/p{number}/", ssl=proxy.tls) as client:
            assert await client.ask("hello, world") == "hello, world"
        assert (await asyncio.to_thread(get, proxy, "/health"))[0] == 200


async def test_close_code_and_reason_come_through(before_test_application):
    url = before_test_application.wss_url
    async with SocketClient(f"{url}/close/4508/slow", ssl=before_test_application.tls) as client:
        assert await client.close_code() == 4508
        assert client.connection.close_reason == "slow"


async def test_what_a_client_says_of_itself_is_replaced_by_what_the_proxy_knows(before_test_application):
    proxy = before_test_application
    status, of_request = await asyncio.to_thread(get, proxy, "/scope", FORGED)
    assert status == 200
    async with SocketClient(f"{proxy.wss_url}/scope", ssl=proxy.tls, additional_headers=FORGED) as client:
        of_socket = json.loads(await client.text())
    for scope, scheme in ((of_request, "https"), (of_socket, "wss")):
        assert (scope["client"], scope["scheme"]) == (["127.0.0.1", 0], scheme)
        headers = dict(scope["headers"])
        assert len(headers) == len(scope["headers"])  # none comes twice
        assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "https")
        assert len(headers["x-request-id"]) == 36
        assert headers["host"] == f"localhost:{proxy.port}"
        passed = {name for name in headers if name in {forged.lower() for forged in FORGED}}
        assert passed <= {"x-forwarded-for", "x-forwarded-proto", "x-request-id"}
        assert not any("_" in name for name in headers)


def test_internal_key_does_not_work_from_outside(proxy):
    assert get(proxy, "/api/v1/sessions", {"X-Internal-Auth": processes.KEY})[0] == 401


def test_event_of_a_stream_is_passed_on_before_the_next_one_is_there(before_test_application):
    line = connection(before_test_application)
    line.request("GET", "/drip")
    answer = line.getresponse()
    assert answer.read1() == b"data: first\n\n"
    line_of_release = connection(before_test_application)
    line_of_release.request("GET", "/release")
    line_of_release.getresponse().read()
    line_of_release.close()
    assert answer.read1() == b"data: second\n\n"
    answer.close()
    line.close()


@pytest.mark.parametrize("kind", ["haproxy"], indirect=True)  # Caddy reads the body first
def test_body_above_the_gateways_limit_ends_here(proxy):
    line = connection(proxy)
    line.putrequest("POST", "/api/v1/sessions/s/messages")
    line.putheader("Content-Length", str(10 * 1024 * 1024))
    line.endheaders()
    with line.getresponse() as answer:
        assert answer.status == 413
    line.close()
