"""A request's head: what its target is, for requests and sockets alike, and when it asks for a socket."""

from __future__ import annotations

import pytest

from relay.server.request_head import RequestRefused, read_head, read_websocket_request

HOST = (b"Host", b"gateway.example")
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    HOST,
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", KEY),
)


def head(target=b"/", *fields, method=b"GET", version=b"HTTP/1.1"):
    return read_head(method, target, version, fields or (HOST,))


def socket(*changed, method=b"GET", version=b"HTTP/1.1"):
    """Read the handshake with some fields in the place of those of the same name, and more."""
    names = {name for name, _ in changed}
    fields = [field for field in UPGRADE if field[0] not in names]
    fields += [field for field in changed if field[1] is not None]
    return read_websocket_request(head(b"/ws/a/", *fields, method=method, version=version))


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/ws/a/", b"/ws/a/", b""),
        (b"/ws/a/?ticket=x?y&z=/%20", b"/ws/a/", b"ticket=x?y&z=/%20"),
        (b"/a//b/../c;d=%2F", b"/a//b/../c;d=%2F", b""),
        (b"/?", b"/", b""),
        (b"http://other.example/ws/a/?b", b"/ws/a/", b"b"),
        (b"HTTPS://other.example:8443", b"/", b""),
        (b"http://other.example?b", b"/", b"b"),
    ],
)
def test_target_is_path_and_query_as_they_came(target, path, query):
    read = head(target)
    assert (read.path, read.query) == (path, query)


@pytest.mark.parametrize(
    "target",
    [
        b"//x/ws/a/", b"//", b"*", b"ws/a/", b"gateway.example:80", b"", b"/a#b", b"/a?b#c", b"/\xc3\xa4", b"/a?\xe4",
        b"/a\x7f", b"/a b", b"ws://gateway.example/ws/a/", b"http:/ws/a/", b"http:///ws/a/", b"http://u@x/ws/a/",
        b"http://x//ws/a/", b"http://x#/ws/a/", b"http://x\x7f/", b"mailto:a", b"http://", b"\\ws\\a",
    ],
)  # fmt: skip
def test_other_target_is_refused(target):
    with pytest.raises(RequestRefused) as refused:
        head(target)
    assert refused.value.status == 400


def test_host_of_the_target_counts():
    """RFC 9112 §3.2.2: and not the field, which a proxy may have looked at as little."""
    read = head(b"http://other.example:81/", HOST, (b"X", b"1"))
    assert read.fields == [(b"x", b"1"), (b"host", b"other.example:81")]


@pytest.mark.parametrize("fields", [[(b"X", b"1")], [HOST, HOST], [HOST, (b"HOST", b"evil.example")]])
def test_not_one_host_is_refused(fields):
    with pytest.raises(RequestRefused) as refused:
        head(b"/", *fields)
    assert refused.value.status == 400
    with pytest.raises(RequestRefused):
        head(b"http://gateway.example/", *fields)


def test_old_version_needs_no_host():
    assert head(b"/", (b"X", b"1"), version=b"HTTP/1.0").fields == [(b"x", b"1")]


def test_field_with_an_underscore_is_left_out_and_all_others_stay_as_they_came():
    fields = (HOST, (b"Cookie", b"a=\x85\xa0"), (b"X_Internal_Auth", b"k"), (b"X", b" 1\t\xa0"), (b"x", b"2"))
    read = head(b"/", *fields)
    assert read.fields == [
        (b"host", b"gateway.example"), (b"cookie", b"a=\x85\xa0"), (b"x", b" 1\t\xa0"), (b"x", b"2"),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [b"\x0b", b"a\x00", b"a\x1c", b"\x1eb", b"\x7f", b"a\rb", b"a\nb"])
def test_control_character_in_a_field_is_refused(value):
    with pytest.raises(RequestRefused):
        head(b"/", HOST, (b"X", value))


# Sockets.


@pytest.mark.parametrize(
    "field",
    [
        (b"Upgrade", b"h2c, WebSocket"), (b"Connection", b"keep-alive,UPGRADE"), (b"Content-Length", b"0"),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate; \xe4"), (b"X", b"y"),
    ],
)  # fmt: skip
def test_handshake_is_read(field):
    assert socket(field) == (KEY.decode(), [])


def test_subprotocols_are_one_list_in_order():
    offered = [(b"Sec-WebSocket-Protocol", b"b,\ta , ,"), (b"Sec-WebSocket-Protocol", b"c")]
    assert socket(*offered).subprotocols == ["b", "a", "c"]


@pytest.mark.parametrize("field", [(b"Upgrade", None), (b"Upgrade", b"h2c"), (b"Upgrade", b"websockets")])
def test_request_without_the_upgrade_asks_for_no_socket(field):
    assert socket(field) is None


def test_old_version_asks_for_no_socket():
    """RFC 9110 §7.8: Upgrade is ignored in HTTP/1.0."""
    assert socket(version=b"HTTP/1.0") is None


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ((b"Connection", None), 400),
        ((b"Connection", b"keep-alive"), 400),
        ((b"Content-Length", b"5"), 400),
        ((b"Transfer-Encoding", b"chunked"), 400),
        ((b"Sec-WebSocket-Version", None), 400),
        ((b"Sec-WebSocket-Version", b"8"), 426),
        ((b"Sec-WebSocket-Version", b"+13"), 426),
        ((b"Sec-WebSocket-Key", None), 400),
        ((b"Sec-WebSocket-Key", b"short"), 400),
        ((b"Sec-WebSocket-Key", KEY[:-1] + b"\xa0"), 400),
        ((b"Sec-WebSocket-Protocol", b"gateway.v1\xe4"), 400),
        ((b"Sec-WebSocket-Protocol", b"a, a"), 400),
    ],
)
def test_half_a_handshake_is_refused(field, status):
    with pytest.raises(RequestRefused) as refused:
        socket(field)
    assert refused.value.status == status
    assert ((b"Sec-WebSocket-Version", b"13") in refused.value.headers) == (status == 426)


def test_field_of_a_handshake_that_comes_twice_is_refused():
    for field in UPGRADE[3:]:
        with pytest.raises(RequestRefused):
            read_websocket_request(head(b"/", *UPGRADE, field))


def test_socket_by_another_method_is_refused():
    with pytest.raises(RequestRefused) as refused:
        socket(method=b"POST")
    assert refused.value.status == 405
