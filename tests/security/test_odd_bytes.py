"""Odd bytes at every entrance: a status below 500, or 101, and no traceback in any log."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.databases import new_database
from tests.security.test_smuggling import KEY, UPGRADE, exchange, request, statuses

CLOSE = b"\x88\x80\x00\x00\x00\x00"  # a client's close frame
EVENTS, MESSAGES = "/api/v1/sessions/s/events", "/api/v1/sessions/s/messages"
ENTRANCES = (
    "/", "/health", "/ready", "/metrics", "/api/v1/sessions", "/api/v1/sessions/s", "/api/v1/sessions/s/frames", EVENTS,
    "/api/v1/openapi.json", "/admin/", "/admin/login/", "/static/relay/chat.css", "/nothing", "/ws/s/",
)  # fmt: skip
POSTS = (
    MESSAGES, "/api/v1/sessions/s/cancel", "/api/v1/tickets", "/api/v1/notice", "/admin/login/",
    "/ws/s/", "/health", "/nothing",
)  # fmt: skip
UVICORN_TARGET_LENGTH = 8_000  # of a socket's; above that uvicorn gives no answer, and logs 414
MANY = "&".join(f"p{number}=" for number in range(1_001))
QUERIES = (
    MANY, "%00", "%ff=%ff", "a=%C3%28", "=&=;", "last_event_id=%00", "epoch=%F0%9F&offset=%D9%A4", "limit=%EF%BC%91",
    "limit=" + "9" * 5_000, "offset=" + "9" * 5_000, "cursor=%ff", "next=%00//evil.example", "ticket=%ff%00", "\xff",
    "[", "ticket=" + "A" * 9_000, "%", "coalesce=%00", "a" * 12_000,
)  # fmt: skip
NAMES = ("%00", "%ff", "a%00b", "%ED%A0%80", "%F0%9F%99%82", "%", "a" * 100_000, "%E2%80%AE", "%0d%0a")
TARGETS = (
    "/%ff", "/%00", "/api/v1/sessions/%ff%00/events", "/ws/%ff/", "/admin/%00/", "/static/%00", "/static/%ff", "/\x7f",
    "/\xff", "/admin/relay/turn/%00/change/", "/x" * 3_000,
)  # fmt: skip
HEADERS = (
    "Cookie: other=\x85\xa0; z=\xc4\x85", 'Cookie: sessionid="\\000\\377"', "Cookie: " + ";" * 900,
    "Cookie: messages=\xff",
    'Cookie: sessionid="aaaaaaaaaaaa\\000"', "Cookie: csrftoken=\xe4", "Accept: \xff", "Accept-Language: \xff;q=\xa0",
    "Accept-Encoding: \x85",
    "Referer: http://[\xff",
    "Origin:", "Origin: \xff", "Origin: http://[", "Authorization: Bearer \xa0\xff", "Authorization: Basic \xff",
    "X-Request-ID: \xff", "traceparent: \xff", "Last-Event-ID: \xff\xa0", "Idempotency-Key: \xff",
    "If-Modified-Since: \xff",
    "If-None-Match: \xff", "Range: bytes=\xff", "Range: bytes=" + "9" * 5_000 + "-", "Content-Type: \xff; charset=\xff",
    "Content-Type: multipart/form-data; boundary=\xff", "Content-Type: text/plain; charset=undefined", "Host: \xff",
    "Content-Length: " + "9" * 5_000, "Expect: \xff", "Upgrade: \xff", "Connection: \xff", "X-Forwarded-For: \xff",
    "X-Forwarded-Proto: \xff", "X-HTTP-Method-Override: \xff", "Access-Control-Request-Method: \xff", "TE: \xff",
    "Sec-WebSocket-Protocol: \xff", "Sec-WebSocket-Protocol: gateway.ticket.\xe4", "Sec-WebSocket-Extensions: \xff;=",
    "Sec-WebSocket-Key: \xff", "Sec-WebSocket-Version: \xff", "Transfer-Encoding: \xff", "\xff: x", ": x", "X\x00: y",
)  # fmt: skip
BODIES = (
    ("Content-Length: 3", b"\xff\x00\xfe"),
    ("Content-Length: 2\r\nContent-Type: application/json; charset=utf-32", b"{}"),
    ("Content-Length: 8\r\nContent-Type: multipart/form-data", b"--\r\n\r\n--"),
    ("Content-Length: 10\r\nContent-Type: multipart/form-data; boundary=x", b"--x\r\n\xff\r\n\r\n"),
    ("Content-Length: 24\r\nContent-Type: application/x-www-form-urlencoded", b"username=%00&password=%ff"[:24]),
    ("Content-Length: 4000\r\nContent-Type: application/x-www-form-urlencoded", b"&a=1" * 1_000),
    ("Content-Length: 8004\r\nContent-Type: application/x-www-form-urlencoded", b"&a=1" * 2_001),
    ("Transfer-Encoding: chunked", b"5\r\nhello\r\nxyz\r\n"),
    ("Transfer-Encoding: chunked", b"5\r\nhelloworld\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", b"\xff\r\n"),
    ("Transfer-Encoding: chunked", b"0\r\n\xff\r\n\r\n"),
    ("Transfer-Encoding: identity\r\nContent-Length: 1", b"x"),
)


@pytest.fixture(scope="module", params=["serve postgresql", "uvicorn sqlite"])
def gateway(request, scripted_agent, tmp_path_factory, django_db_blocker) -> Iterator[processes.Process]:
    server, kind = request.param.split()
    settings = {"ALLOWED_HOSTS": "gateway.example", "CHAT_PAGE": "true", "ADMIN": "true", "METRICS_OPEN": "true"}
    with django_db_blocker.unblock():
        url = new_database(kind, tmp_path_factory.mktemp("database"))
    with processes.gateway(server, scripted_agent.http_url, DATABASE_URL=url, **settings) as gateway:
        yield gateway
        check_log(gateway.output())


def ask(gateway: processes.Process, head: str, body: bytes = b"") -> None:
    """Send a request; the answer blames the client, and the log has no traceback."""
    said_before = gateway.output()
    received = exchange(gateway, head.encode("latin-1") + body)
    check(received, gateway.output().removeprefix(said_before), head)


def ask_for_socket(gateway: processes.Process, head: str) -> list[int]:
    """Ask for a socket, and end the connection when the answer is there; give the answer's status."""
    said_before, received = gateway.output(), b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=LIMIT_SECONDS) as line:
        line.sendall(head.encode("latin-1"))
        with contextlib.suppress(ConnectionResetError):
            while chunk := line.recv(65_536):
                was_answered, received = b"\r\n\r\n" in received, received + chunk
                if not was_answered and b"\r\n\r\n" in received:
                    with contextlib.suppress(OSError):  # the server may have ended the connection first
                        line.sendall(CLOSE)
                        line.shutdown(socket.SHUT_WR)
    assert statuses(received), (head, "no answer")
    check(received, gateway.output().removeprefix(said_before), head)
    return statuses(received)


def check(received: bytes, log: str, head: str) -> None:
    assert all(status < 500 for status in statuses(received)), (head, received[:300])
    check_log(log, head)


def check_log(log: str, head: str = "") -> None:
    assert "Traceback" not in log, (head, log)
    assert not re.search(r'"level": "(error|critical)"', log), (head, log)


def socket_request(path: str, *headers: str) -> str:
    return request(path, *headers, UPGRADE.rstrip()).replace("Connection: close\r\n", "")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: ascii(query[:30]))
def test_odd_query(gateway, query):
    for path in ENTRANCES:
        ask(gateway, request(f"{path}?{query}", KEY, "Accept: text/html", "Last-Event-ID: closed"))
    ask(gateway, request(f"{EVENTS}?{query}", method="HEAD"))
    if len(query) < UVICORN_TARGET_LENGTH or "uvicorn" not in gateway._arguments:
        ask_for_socket(gateway, socket_request(f"/ws/s/?{query}"))


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: ascii(header[:30]))
def test_odd_header(gateway, header):
    for path in ENTRANCES:
        if path != EVENTS:  # which goes on
            ask(gateway, request(path, header, KEY))
    ask(gateway, request(f"{EVENTS}/", header, KEY))
    ask(gateway, request(EVENTS, header, "Origin: http://evil.example", "Last-Event-ID: closed"))
    ask(gateway, request(EVENTS, header, KEY, method="OPTIONS"))
    ask_for_socket(gateway, socket_request("/ws/s/", header))


@pytest.mark.parametrize(("headers", "body"), BODIES)
def test_odd_body(gateway, headers, body):
    for path in POSTS:
        ask(gateway, request(path, headers, KEY, method="POST"), body)
        ask(gateway, request(path, headers, method="PUT"), body)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:30])
def test_odd_login(gateway, name):
    """At the form itself, behind the check of where it comes from."""
    secret = "A" * 32
    for field, other in (("username", "password"), ("password", "username"), ("next", "username")):
        body = f"csrfmiddlewaretoken={secret}&{field}={name}&{other}=x".encode()
        headers = ("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}")
        ask(gateway, request("/admin/login/", f"Cookie: csrftoken={secret}", *headers, method="POST"), body)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: ascii(target[:30]))
@pytest.mark.parametrize("method", ["GET", "POST", "M-SEARCH", "get"])
def test_odd_target(gateway, target, method):
    ask(gateway, request(target, KEY, method=method))
    ask_for_socket(gateway, socket_request(target))


@pytest.mark.parametrize("cookie", ["other=\x85", "other=\xc4\x85; z=\xe5\x85\x83"])
def test_neighbours_cookie_shuts_nobody_out(gateway, cookie):
    """Another application of the same domain may write any byte; browsers send it everywhere."""
    for path, key in (("/", ()), ("/admin/login/", ()), ("/api/v1/sessions", (KEY,)), ("/health", ())):
        assert statuses(exchange(gateway, request(path, f"Cookie: {cookie}", *key))) == [200]
    assert ask_for_socket(gateway, socket_request("/ws/s/", f"Cookie: {cookie}")) == [101]
