"""What an operator forbids in nginx is forbidden: the gateway's path is the one that nginx has looked at."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from tests import processes
from tests.deploy.conftest import Start
from tests.deploy.nginx import Nginx
from tests.server.raw import LIMIT_SECONDS, handshake

GUARDS = "location /ws/ { return 403; } location /api/ { return 403; }"
FORBIDDEN = "merge_slashes off; " + GUARDS
OPEN_PATH = "/health"

# What leads to a guarded place for whoever reads it another way than nginx does.
TARGETS = [
    "{path}", "/{path}", "//x{path}", "///x{path}", "/x/{path}", "/./{path}", "/.{path}", "/x/..{path}",
    "/x/%2e%2e{path}",
    "http://localhost{path}", "http://localhost/{path}", "http://x{path}", "https://x//y{path}", "ws://localhost{path}",
    "http:{path}", "{path}#/x", "/x#{path}", "/x?{path}", "/?/..{path}", "/%2f{path}", "/%2e{path}", "/\\{path}",
    "/;{path}", "/x;{path}", "/x%00{path}", "/x%0a{path}", "/x%23{path}", "/x%3f{path}", "/%5c..{path}", "x{path}",
    "@x{path}",
]  # fmt: skip
GUARDED = [
    *(target.format(path="/ws/a/") for target in TARGETS),
    *("/%77s/a/", "/ws%2fa/", "/ws%2Fa", "/w%73/a", "/ws//a/", "/ws/./a/", "/ws/x/../a/", "//ws/a/", "/WS/a/"),
]
GUARDED_API = [target.format(path="/api/v1/sessions/a/events") for target in TARGETS]


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def nginx(request, scripted_agent: processes.Process, start_nginx: Start) -> Iterator[list[Nginx]]:
    """nginx that forbids sockets and REST, by its own settings for slashes and as an operator may change them."""
    with processes.gateway(request.param, scripted_agent.http_url, TRUSTED_PROXIES="1") as gateway:
        yield [start_nginx(gateway.port, locations=locations) for locations in (GUARDS, FORBIDDEN)]


def answer(nginx: Nginx, data: bytes) -> bytes:
    """What comes back of a whole request."""
    received = b""
    plain = socket.create_connection(("127.0.0.1", nginx.port), timeout=LIMIT_SECONDS)
    with nginx.tls.wrap_socket(plain, server_hostname="localhost") as line:
        line.sendall(data)
        while b"\r\n\r\n" not in received and (piece := line.recv(65_536)):
            received += piece
    return received


@pytest.mark.parametrize("target", GUARDED)
def test_no_socket_opens_that_nginx_forbids(nginx, target):
    for proxy in nginx:
        received = answer(proxy, handshake(target).replace(b"Host: test", b"Host: localhost"))
        assert re.match(rb"HTTP/1.1 (400|403|404|405) ", received), received


@pytest.mark.parametrize("target", GUARDED_API)
def test_no_request_is_answered_that_nginx_forbids(nginx, target):
    for proxy in nginx:
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        received = answer(proxy, head.encode())
        assert re.match(rb"HTTP/1.1 (400|401|403|404) ", received), received


@pytest.mark.parametrize("target", [OPEN_PATH, f"http://localhost{OPEN_PATH}", f"{OPEN_PATH}?/ws/a/"])
def test_what_nginx_lets_pass_is_answered(nginx, target):
    for proxy in nginx:
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert answer(proxy, head.encode()).startswith(b"HTTP/1.1 200 ")
