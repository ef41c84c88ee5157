"""Bodies of HTTP responses: their content and their end, wherever the network cuts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.http_body import MAX_CHUNK_HEAD_BYTES, Body, BodyBroken, ChunkedBody, EndlessBody, SizedBody, body_of

CONTENT = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
CUTS = st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=40)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes into pieces of these sizes, again and again."""
    cut, at = [], 0
    while at < len(data):
        size = cuts[len(cut) % len(cuts)]
        cut.append(data[at : at + size])
        at += size
    return cut


def fed(body: Body, data: bytes, cuts: list[int]) -> bytes:
    return b"".join(body.feed(piece) for piece in pieces(data, cuts))


def chunked(parts: list[bytes], head: bytes = b"%x\r\n") -> bytes:
    return b"".join(head % len(part) + part + b"\r\n" for part in parts)


@given(CONTENT, CUTS, st.sampled_from([b"%x\r\n", b"%X\r\n", b"00%x\r\n", b"%x ;name=value\r\n", b"%x \r\n"]))
def test_chunked_body_gives_its_content_wherever_it_is_cut(parts, cuts, head):
    for end in (b"0\r\n\r\n", b"0\r\nTrailer: of no interest\r\n\r\n"):
        body = ChunkedBody()
        assert fed(body, chunked(parts, head), cuts) == b"".join(parts)
        assert not body.is_over
        assert fed(body, end, cuts) == b""
        assert body.is_over


@pytest.mark.parametrize(
    "broken",
    [
        b"\r\nabc\r\n",
        b"xyz\r\n",
        b"-1\r\na\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1_0\r\n0123456789abcdef\r\n",
        b"1\na\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n\n",
        b"3\r\nabc\r\r",
        b"1" * 16 + b"\r\n",
    ],
)
@given(CUTS)
def test_chunked_body_that_breaks_gives_what_came_before_wherever_it_is_cut(broken, cuts):
    content = b""

    def feed_all() -> None:
        nonlocal content
        for piece in pieces(chunked([b"good"]) + broken + b"\r\n", cuts):
            content += body.feed(piece)

    body = ChunkedBody()
    with pytest.raises(BodyBroken) as refused:
        feed_all()
    assert content + refused.value.content == b"good" + (b"abc" if broken.startswith(b"3") else b"")


@pytest.mark.parametrize("byte", [b"d", b"\n", b"\0", b"\xff"])
def test_chunk_that_is_longer_than_its_size_is_refused_at_the_first_byte_too_many(byte):
    with pytest.raises(BodyBroken) as refused:
        ChunkedBody().feed(b"3\r\nabc" + byte)
    assert refused.value.content == b"abc"
    assert ChunkedBody().feed(b"3\r\nabc\r") == b"abc"


def test_chunk_head_may_be_so_long_and_no_longer():
    body = ChunkedBody()
    assert body.feed(b"1;".ljust(4_096, b"x")) == b""
    assert body.feed(b"\r\na") == b"a"
    with pytest.raises(BodyBroken):
        ChunkedBody().feed(b"1;".ljust(4_097, b"x"))


def test_chunk_head_without_end_is_refused():
    body = ChunkedBody()
    with pytest.raises(BodyBroken):
        fed(body, b"1;" + b"x" * MAX_CHUNK_HEAD_BYTES, [1_000])


@given(st.binary(min_size=1, max_size=60), CUTS)
def test_sized_body_ends_after_its_bytes(content, cuts):
    body = SizedBody(len(content))
    assert fed(body, content + b"more", cuts) == content
    assert body.is_over


def test_body_is_chosen_by_the_head():
    assert isinstance(body_of(200, {"transfer-encoding": "chunked", "content-length": "3"}), ChunkedBody)
    assert isinstance(body_of(200, {"content-length": "3"}), SizedBody)
    assert isinstance(body_of(200, {"content-type": "text/event-stream"}), EndlessBody)
    for status in (204, 304):
        assert body_of(status, {"transfer-encoding": "chunked"}).is_over
    assert body_of(200, {"content-length": "0"}).is_over
