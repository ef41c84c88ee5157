"""Requests and sockets have one path: that of the request line, as a proxy has seen it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.processes import Process
from tests.server.raw import exchange, handshake

HEADERS = "Host: test\r\nConnection: close\r\n"


async def scope(service: Process, target: str, headers: str = HEADERS, version: str = "HTTP/1.1") -> dict[str, Any]:
    """What the application is told of a request."""
    answer = await exchange(service.port, f"GET {target} {version}\r\n{headers}\r\n".encode())
    assert answer.startswith(f"{version} 200 ".encode()), answer
    return json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])


@pytest.mark.parametrize("target", ["/scope?a=%2F&b=?", "http://other.example:81/scope?a=%2F&b=?"])
async def test_request_and_socket_have_the_same_path_query_and_host(service, target):
    of_request = await scope(service, target)
    answer = await exchange(service.port, handshake(target), until=b"]]}")
    of_socket = json.loads(answer[answer.index(b"{") :])
    for told in (of_request, of_socket):
        assert (told["path"], told["query"]) == ("/scope", {"a": ["/"], "b": ["?"]})
        hosts = [value for name, value in told["headers"] if name == "host"]
        assert hosts == ["other.example:81" if target.startswith("http") else "test"]


@pytest.mark.parametrize(
    "target",
    ["//x/scope", "//scope", "*", "scope", "test:80", "/scope#a", "/scope\xa0", "ftp://test/scope", "http://u@test/scope",
     "http:///scope", "http://test//scope", "/scope?\xa0", "/scope\x7f"],
)  # fmt: skip
async def test_what_is_no_path_is_400_for_requests_and_sockets(service, target):
    for head in (f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode("latin-1"), handshake(target)):
        assert (await exchange(service.port, head)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("headers", ["", "Host: a\r\nHost: b\r\n", "X: a\x1cb\r\nHost: test\r\n"])
async def test_head_that_could_be_read_in_two_ways_is_400(service, headers):
    assert (await exchange(service.port, f"GET /scope HTTP/1.1\r\n{headers}\r\n".encode())).startswith(b"HTTP/1.1 400 ")
    whole = handshake("/scope").replace(b"Host: test\r\n", headers.encode())
    assert (await exchange(service.port, whole)).startswith(b"HTTP/1.1 400 ")


async def test_every_header_comes_to_a_socket_as_to_a_request(service):
    odd = "Cookie: a=\x85\xa0\r\nX-Twice: 1\r\nX-Twice: 2\xa0\r\nX_Under: 3\r\n"
    line = f"GET /scope HTTP/1.1\r\n{HEADERS}{odd}\r\n".encode("latin-1")
    of_request = await exchange(service.port, line)
    of_socket = await exchange(service.port, handshake("/scope", odd), until=b"]]}")
    for answer in (of_request, of_socket):
        headers = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])["headers"]
        odd_ones = [pair for pair in headers if pair[0] in ("cookie", "x-twice", "x_under")]
        assert odd_ones == [["cookie", "a=\x85\xa0"], ["x-twice", "1"], ["x-twice", "2\xa0"]]


async def test_old_version_opens_no_socket(service):
    """RFC 9110 §7.8: Upgrade is ignored in HTTP/1.0, so it is a request."""
    headers = handshake("/scope").decode().partition("\r\n")[2].removesuffix("\r\n")
    assert (await scope(service, "/scope", headers, "HTTP/1.0"))["type"] == "http"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("Version: 13", "Version: 8", "426"),
        ("Version: 13", "Version: x", "426"),
        ("GET ", "POST ", "405"),
        ("Connection: Upgrade", "Connection: keep-alive", "400"),
        ("Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 2", "400"),
        ("Upgrade: websocket", "Upgrade: websocket\r\nTransfer-Encoding: chunked", "400"),
        ("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Protocol: ä", "400"),
    ],
)
async def test_half_a_handshake_is_refused_in_one_line(service, old, new, status):
    said_before = service.output()
    answer = await exchange(service.port, handshake("/scope").replace(old.encode(), new.encode()) + b"xx0\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.endswith(b"\r\n\r\n")
    assert (b"Sec-WebSocket-Version: 13\r\n" in answer) == (status == "426")
    assert "Traceback" not in service.output().removeprefix(said_before)
