"""The head of an agent's response: read as a strict parser reads it, wherever the network cuts it."""

from __future__ import annotations

from collections.abc import MutableMapping

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.http_head import MAX_HEAD_BYTES, HeadInvalid, ResponseHead, read_response_head

LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 404",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 20 OK",
    b"HTTP/1.1 099 Low",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 103 Early Hints",
    b"HTTP/1.1 999 High\xff",
    b"HTTP/1.1  200 OK",
    b"http/1.1 200 OK",
    b"HTTP/11 200 OK",
    b"ICY 200 OK",
    b"",
]
FIELDS = [
    b"Content-Type: text/event-stream",
    b"content-type:text/event-stream; charset=utf-8\t ",
    b"X-Name: caf\xc3\xa9",
    b"X-Name: caf\xe9",
    b"X-Empty:",
    b"X-Empty: \t",
    b"X-Control: a\x01b",
    b"X-Null: a\x00b",
    b"X-Return: a\rb",
    b"X Name: a",
    b"X-Name : a",
    b": a",
    b"no header",
    b" folded",
    b"\tfolded  twice",
    b"Content-Length: 3",
    b"Content-Length: 3, 3",
    b"Content-Length: 4",
    b"Content-Length: +3",
    b"Content-Length: 3_0",
    b"Content-Length: " + b"9" * 21,
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Retry-After: 3",
]


def read_by_h11(data: bytes) -> tuple[int, list[tuple[bytes, bytes]]] | str | None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "agent")]))
    client.send(h11.EndOfMessage())
    if data:  # without any, it is told of the end of the connection
        client.receive_data(data)
    try:
        event = client.next_event()
    except h11.RemoteProtocolError:
        return "invalid"
    return None if event is h11.NEED_DATA else (event.status_code, list(event.headers))


def read(data: bytes) -> ResponseHead | str | None:
    try:
        return read_response_head(data)
    except HeadInvalid:
        return "invalid"


@given(
    st.sampled_from(LINES),
    st.lists(st.sampled_from(FIELDS), max_size=4),
    st.sampled_from([b"\r\n", b"\n"]),
    st.sampled_from([b"", b"data: 1\n\n", b"\r\n"]),
)
def test_a_head_is_read_as_h11_reads_it(status_line, fields, line_end, body):
    head = line_end.join([status_line, *fields, b"", b""])
    expected, found = read_by_h11(head + body), read(head + body)
    if not isinstance(expected, tuple):
        assert found == expected
        return
    assert isinstance(found, ResponseHead)
    assert (found.status, found.size) == (expected[0], len(head))
    joined: dict[bytes, bytes] = {}
    for name, value in expected[1]:
        joined[name] = joined[name] + b", " + value if name in joined else value
    is_utf_8 = not any(b"\xe9" in value for value in joined.values())
    encoding = "utf-8" if is_utf_8 else "latin-1"
    assert found.fields == {name.decode(): value.decode(encoding) for name, value in joined.items()}


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_h11_reads_them(data):
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length:"):
        expected, found = read_by_h11(start + data), read(start + data)
        assert (found if isinstance(found, str | None) else found.status) == (
            expected if isinstance(expected, str | None) else expected[0]
        )


def test_an_incomplete_head_is_waited_for_up_to_a_limit():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    assert [read_response_head(head[:size]) for size in range(len(head))] == [None] * len(head)
    assert read_response_head(head) is not None
    endless = head[:-2] + b"X-Name: " + b"x" * MAX_HEAD_BYTES
    assert read_response_head(endless[:MAX_HEAD_BYTES]) is None
    with pytest.raises(HeadInvalid, match="too long"):
        read_response_head(endless)


def test_the_reason_quotes_the_line_that_is_none():
    for data in (b"220 mail ESMTP\xff\r\n\r\n", b"HTTP/1.1 200 OK\r\n220 mail ESMTP\xff\r\n\r\n"):
        with pytest.raises(HeadInvalid) as invalid:
            read_response_head(data)
        assert str(invalid.value).endswith(": 220 mail ESMTP\ufffd")


def test_answers_with_the_same_head_share_fields_that_cannot_be_changed():
    fields = [read_response_head(b"HTTP/1.1 200 OK\r\nDate: now\r\n\r\n" + body).fields for body in (b"", b"a")]
    assert fields[0] is fields[1]
    assert not isinstance(fields[0], MutableMapping)
