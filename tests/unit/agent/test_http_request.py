"""The bytes of a request to the agent: one address, one line for each header, and the content."""

from __future__ import annotations

import h11
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.http_request import HttpRequest, target_of

ADDRESS = "http://agent:8001/base/agent/message/stream?a=1"


def parsed(request: HttpRequest) -> tuple[h11.Request, bytes]:
    """Read a request as a server does."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(request.encode())
    head = server.next_event()
    assert isinstance(head, h11.Request)
    content, event = b"", server.next_event()
    while isinstance(event, h11.Data):
        content += event.data
        event = server.next_event()
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data == (b"", False)
    return head, content


def test_a_request_is_sent_as_its_parts_say():
    request = HttpRequest("post", ADDRESS, {"Accept": "text/event-stream"}, {"X-Subject": "bob"}, content=b"body")
    assert request.encode() == (
        b"POST /base/agent/message/stream?a=1 HTTP/1.1\r\nHost: agent:8001\r\nAccept: text/event-stream\r\n"
        b"X-Subject: bob\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"
    )


@pytest.mark.parametrize(
    ("method", "content", "length"),
    [
        ("POST", b"", b"0"),
        ("PUT", b"", b"0"),
        ("GET", b"", None),
        ("DELETE", b"", None),
        ("GET", b"abc", b"3"),
        ("POST", b"abc", b"3"),
    ],
)
def test_the_length_of_the_content_is_sent_where_a_server_expects_it(method, content, length):
    head, sent = parsed(HttpRequest(method, ADDRESS, content=content))
    assert dict(head.headers).get(b"content-length") == length
    assert sent == content


def test_a_header_that_is_set_again_is_sent_once_with_its_last_value():
    request = HttpRequest("GET", ADDRESS, {"accept": "a", "X-Team": "chat"}, {"Accept": "b", "HOST": "other"})
    request.set({"x-team": "help"})
    head, _ = parsed(request)
    assert list(head.headers) == [
        (b"host", b"other"),
        (b"accept", b"b"),
        (b"x-team", b"help"),
        (b"connection", b"close"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Subject", "bob\r\nX-Internal-Auth: key"),
        ("X-Subject", "bob\nX-Internal-Auth: key"),
        ("X-Subject", "bob\r"),
        ("X-Subject", "bob\0"),
        ("X-Subject", "bob "),
        ("X-Subject", "\tbob"),
        ("X-Subject", "\ud83d"),
        ("X Subject", "bob"),
        ("X-Subject:", "bob"),
        ("X\r\nSubject", "bob"),
        ("", "bob"),
    ],
)
def test_a_header_that_would_be_read_as_another_is_refused_and_not_named(name, value):
    with pytest.raises(ValueError, match=r"cannot be sent|surrogates") as refused:
        HttpRequest("GET", ADDRESS, {name: value}).encode()
    assert "bob" not in str(refused.value)


def test_a_method_that_is_none_is_refused():
    with pytest.raises(ValueError, match="method"):
        HttpRequest("GET / HTTP/1.1\r\nX:", ADDRESS).encode()


@given(st.text(max_size=20))
def test_a_value_is_one_header_or_is_refused(value):
    try:
        data = HttpRequest("GET", "http://agent/", {"X-Cursor": value}).encode()
    except ValueError:
        return
    assert data == b"GET / HTTP/1.1\r\nHost: agent\r\nX-Cursor: %b\r\nConnection: close\r\n\r\n" % value.encode()
    head, _ = parsed(HttpRequest("GET", "http://agent/", {"X-Cursor": value}))
    assert dict(head.headers)[b"x-cursor"] == value.encode()


@pytest.mark.parametrize(
    ("address", "connection", "authority", "path"),
    [
        ("http://agent/a", ("agent", 80, False), "agent", "/a"),
        ("https://agent/a", ("agent", 443, True), "agent", "/a"),
        ("http://agent:80/a", ("agent", 80, False), "agent", "/a"),
        ("https://Agent.Example:8443", ("agent.example", 8443, True), "agent.example:8443", "/"),
        ("http://[::1]:8001/a", ("::1", 8001, False), "[::1]:8001", "/a"),
        ("http://bücher.example/a", ("bücher.example", 80, False), "xn--bcher-kva.example", "/a"),
        ("http://agent/ä b?c=d e", ("agent", 80, False), "agent", "/%C3%A4%20b?c=d%20e"),
        ("http://agent/a%2Fb/../c", ("agent", 80, False), "agent", "/c"),
        ("http://name:word@agent/a", ("agent", 80, False), "agent", "/a"),
    ],
)
def test_an_address_says_where_to_connect_and_what_to_ask_for(address, connection, authority, path):
    target = target_of(address)
    assert (target.host, target.port, target.is_tls) == connection
    assert (target.authority, target.path) == (authority, path)
    sent, _ = parsed(HttpRequest("GET", address))
    assert (sent.target, dict(sent.headers)[b"host"]) == (path.encode(), authority.encode())
    assert sent.target == httpx.URL(address).raw_path


def test_credentials_of_the_address_are_sent_unless_others_are():
    address = "http://n%40me:w%2Frd@agent/"
    head, _ = parsed(HttpRequest("GET", address))
    assert dict(head.headers)[b"authorization"] == b"Basic bkBtZTp3L3Jk"
    head, _ = parsed(HttpRequest("GET", address, {"authorization": "Bearer key"}))
    assert dict(head.headers)[b"authorization"] == b"Bearer key"
