"""Requests that are meant to be read two ways: no entrance opens by them, and no server stumbles."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import time
from collections.abc import Iterator

import pytest

from relay.policies import ticket_signing
from tests import processes
from tests.clients import LIMIT_SECONDS

KEY = f"X-Internal-Auth: {processes.KEY}"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
QUIET_SECONDS = 0.35  # twice
TOLD = re.compile(rb'"(welcome|disconnect)".*}', re.DOTALL)  # to a socket that was accepted
SECRET_PATH = "/api/v1/sessions"


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def gateway(request: pytest.FixtureRequest, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {
        "WS_AUTH": "ticket",
        "SECRET_KEY": "only-for-tests",
        "ALLOWED_HOSTS": "gateway.example",
        "CHAT_PAGE": "true",
        "ADMIN": "true",
    }
    with processes.gateway(request.param, scripted_agent.http_url, **settings) as gateway:
        yield gateway
        log = gateway.output()
        assert "Traceback" not in log, log[log.index("Traceback") :][:2_000]


def exchange(gateway: processes.Process, data: str | bytes, *, is_whole: bool = True) -> bytes:
    """Send bytes and give what comes back until the server ends the connection, or waits for more.

    It waits for more, and does not merely stand still, if it is quiet although it has answered somebody since; and, if
    what was sent is a whole request, although it has begun to answer that.
    """
    received, has_answered_others = b"", False
    give_up_at = time.monotonic() + LIMIT_SECONDS
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=LIMIT_SECONDS) as line:
        line.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        line.settimeout(QUIET_SECONDS)
        with contextlib.suppress(ConnectionResetError):
            while not TOLD.search(received):
                try:
                    chunk = line.recv(65_536)
                except TimeoutError:
                    if has_answered_others and (received or not is_whole):
                        break
                    assert time.monotonic() < give_up_at, "no answer"
                    ask_for_a_page(gateway)
                    has_answered_others = True
                else:
                    if not chunk:
                        break
                    received, has_answered_others = received + chunk, False
    return received


def ask_for_a_page(gateway: processes.Process) -> None:
    """Ask for what takes the server as long as anything does that is asked here."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=LIMIT_SECONDS)) as other:
        other.request("GET", "/admin/login/", headers={"Host": "gateway.example"})
        assert other.getresponse().status == 200


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]


def request(path: str, *headers: str, method: str = "GET", host: str = "gateway.example", body: str = "") -> str:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "Connection: close", "", body]
    return "\r\n".join(lines)


# Paths.


@pytest.mark.parametrize(
    "path",
    [
        "/health/../api/v1/sessions", "/health/..%2fapi/v1/sessions", "/health%2f..%2fapi%2fv1%2fsessions",
        "/health%00", "/health;/../api/v1/sessions", "/healthz", "/HEALTH", "//health", "/./health", "/health/",
        "/static/../api/v1/sessions", "/static/..%2f..%2fmanage.py", "/static/%2e%2e/manage.py",
        "/static/....//manage.py",
        "/static/relay/..%5c..%5cmanage.py", "/static/%2e%2e%2f%2e%2e%2f.env", "/static//etc/passwd", "/static",
        "/admin/../api/v1/sessions", "/administrator", "/admin%2f..%2fapi", "//api/v1/sessions", "/api//v1/sessions",
        "/api/v1/sessions/", "/api/v1/sessions/s%2fevents", "/api/v1/sessions/s/events/", "/api/v1/sessions/s/eventsx",
        "/api/v1/sessions/s/events%0a", "/api/v1/sessions/../sessions/s/events", "/api/v1/sessions/s%00/events",
        "/api/v1/sessions/s/events", "/api/v1/sessions?x=/health", "/api/v1/sessions#/health", "/%61pi/v1/sessions",
        "http://gateway.example/api/v1/sessions", "http://evil.example/health/../api/v1/sessions", "*", "/\xff", "/%",
    ],
)  # fmt: skip
def test_no_path_opens_what_is_closed(gateway, path):
    for headers in ((), ("X-Original-URL: /health", "X-Rewrite-URL: /health"), ("X-Forwarded-Prefix: /health",)):
        received = exchange(gateway, request(path, *headers))
        (status,) = statuses(received)
        if status == 302:  # the admin has a login page for whatever is below it
            assert b"Location: /admin/login/?next=/admin/" in received
        else:
            assert status in (400, 401, 404), received[:300]
        assert b"DJANGO_SETTINGS_MODULE" not in received
        assert b'sessions":' not in received


@pytest.mark.parametrize(
    "host", ["evil.example", "gateway.example@evil.example", "gateway.example.evil", "a b", "", "["]
)
def test_a_hostile_host_gets_nothing_of_ours(gateway, host):
    for target in (SECRET_PATH, f"http://evil.example{SECRET_PATH}"):
        (status,) = statuses(exchange(gateway, request(target, KEY, host=host)))
        assert status in (400, 404), target
    (status,) = statuses(exchange(gateway, request("/ws/s/", KEY, UPGRADE.rstrip(), host=host)))
    assert status in (400, 403)


def test_the_host_of_the_target_counts_where_there_are_two(gateway):
    """RFC 9112 §3.2.2."""
    if "uvicorn" in gateway._arguments:
        return  # it looks at the field: SECURITY.md tells
    for target, host, expected in (("gateway.example", "evil.example", 200), ("evil.example", "gateway.example", 400)):
        received = exchange(gateway, request(f"http://{target}{SECRET_PATH}", KEY, host=host))
        assert statuses(received) == [expected]
        whole = request(f"http://{target}/ws/s/", KEY, UPGRADE.rstrip(), host=host).replace("Connection: close\r\n", "")
        assert statuses(exchange(gateway, whole)) == [101 if expected == 200 else 403]


def test_two_hosts_are_none(gateway):
    (status,) = statuses(exchange(gateway, request(SECRET_PATH, KEY, "Host: evil.example")))
    assert status == 400
    received = exchange(gateway, request("/ws/s/", KEY, "Host: evil.example", UPGRADE.rstrip()))
    assert statuses(received)[0] in (400, 403)


# Headers.


@pytest.mark.parametrize(
    "headers",
    [
        (f"X_Internal_Auth: {processes.KEY}",),
        (f"X-Internal_Auth: {processes.KEY}",),
        (f"X-Internal-Auth : {processes.KEY}",),
        (f"X-Internal-Auth: wrong\r\n {processes.KEY}",),
        (f"X-Internal-Auth: {processes.KEY}, wrong",),
        (f"X-Internal-Auth: {processes.KEY}\xa0",),
        (f"X-Internal-Auth: \x85{processes.KEY}",),
        (KEY, "X-Internal-Auth: wrong"),
        ("X-Internal-Auth: wrong", KEY),
        (KEY, KEY),
        (f"Connection: X-Internal-Auth\r\nX-Internal-Auth:\x0b{processes.KEY}",),
        (f"X-Other: a\nX-Internal-Auth: wrong{processes.KEY}",),
        (f"Daphne-Root-Path: /health\r\nX-Internal-Auth: {processes.KEY}x",),
    ],
)
def test_no_spelling_of_a_wrong_key_is_the_right_one(gateway, headers):
    received = exchange(gateway, request(SECRET_PATH, *headers))
    assert set(statuses(received)) <= {400, 401}, received[:300]
    upgraded = request("/ws/s/", *headers, UPGRADE.rstrip()).replace("Connection: close\r\n", "")
    assert set(statuses(exchange(gateway, upgraded))) <= {400, 403}


# Where one request ends and the next begins.

INNER = f"GET {SECRET_PATH} HTTP/1.1\r\nHost: gateway.example\r\n{KEY}\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: 4, 5",),
        ("Content-Length: +4",),
        ("Content-Length: -4",),
        ("Content-Length: 0x4",),
        ("Content-Length: 4_0",),
        ("Content-Length: ٤",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: identity, chunked",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding:\x0bchunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: x"),
        (" Transfer-Encoding: chunked",),
    ],
    ids=lambda framing: " + ".join(framing).encode("unicode_escape").decode(),
)
def test_a_body_that_ends_in_two_places_is_never_a_second_request(gateway, framing):
    """What is in the body is not answered as a request that a proxy has never seen: with its key it would get 200."""
    head = "\r\n".join(["POST /health HTTP/1.1", "Host: gateway.example", *framing, "", ""]).encode()
    for body in (f"0\r\n\r\n{INNER}", f"{len(INNER):x}\r\n{INNER}\r\n0\r\n\r\n"):
        received = exchange(gateway, head + body.encode(), is_whole=False)
        if "uvicorn" in gateway._arguments and set(framing) == {"Content-Length: 4", "Transfer-Encoding: chunked"}:
            continue  # uvicorn reads it by the transfer coding (RFC 9112 §6.3): SECURITY.md tells
        assert 200 not in statuses(received), received[:500]
        assert all(status < 500 for status in statuses(received))


@pytest.mark.parametrize("size", ["-1", "+5", "0x5", "5 5", "g", "", "5;\n", "ffffffffffffffffffff", " 5"])
def test_a_broken_chunk_size_ends_the_connection(gateway, size):
    head = request("/health", "Transfer-Encoding: chunked", method="POST").replace("Connection: close\r\n", "")
    received = exchange(gateway, f"{head}{size}\r\nhello\r\n0\r\n\r\n{INNER}", is_whole=False)
    assert 200 not in statuses(received), received[:300]
    assert all(status < 500 for status in statuses(received))


# Upgrades.


@pytest.mark.parametrize(
    "path", ["/", "/health", "/admin/", SECRET_PATH, "/api/v1/sessions/s/events", "/static/x", "/ws", "/wss/s/"]
)
def test_there_are_sockets_at_their_own_path_only(gateway, path):
    for key in ((), (KEY,)):
        received = exchange(gateway, request(path, *key, UPGRADE.rstrip()).replace("Connection: close\r\n", ""))
        assert statuses(received) == [403], received[:200]


@pytest.mark.parametrize(
    "change",
    [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: short"),
        ("GET ", "POST "),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: keep-alive"),
    ],
    ids=str,
)
def test_half_a_handshake_is_none(gateway, change):
    whole = request("/ws/s/", UPGRADE.rstrip()).replace("Connection: close\r\n", "")
    received = exchange(gateway, whole.replace(*change))
    assert statuses(received), "an answer"
    assert all(400 <= status < 500 for status in statuses(received)), received[:200]


@pytest.mark.parametrize(
    "offered",
    ["", ",", "gateway.v1,gateway.v1", "GATEWAY.V1", "gateway.v1 ", "gateway.v1\tx", "gateway.v2", "gateway.v1;x",
     "gateway.ticket.", "x" * 4_000, ",".join(f"p{number}" for number in range(400)), "gateway.ticket." + "A" * 4_000,
     'gateway.v1"', "gateway.v1, gateway.ticket.AAAA"],
    ids=lambda offered: offered[:30],
)  # fmt: skip
def test_subprotocol_tricks_open_nothing(gateway, offered):
    """What is offered twice or strangely is refused in some way; without a ticket nothing opens."""
    whole = request("/ws/s/", UPGRADE + f"Sec-WebSocket-Protocol: {offered}").replace("Connection: close\r\n", "")
    received = exchange(gateway, whole)
    (status,) = statuses(received)
    assert status in (101, 400, 403), received[:200]
    if status == 101:  # to be told that it may not
        assert b'"unauthorized"' in received
        assert b"welcome" not in received


def test_a_ticket_is_never_the_subprotocol_that_is_chosen(gateway):
    import base64

    encoded = base64.urlsafe_b64encode(ticket_signing.issue("s", None, 60).encode()).decode().rstrip("=")
    offered = f"gateway.ticket.{encoded}, gateway.v1"
    whole = request("/ws/s/", UPGRADE + f"Sec-WebSocket-Protocol: {offered}").replace("Connection: close\r\n", "")
    received = exchange(gateway, whole)
    assert re.findall(rb"(?i)sec-websocket-protocol: ([^\r]+)", received) == [b"gateway.v1"]
    assert b'"welcome"' in received
