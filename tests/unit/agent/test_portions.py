"""How much of an agent's bytes is decoded in one go."""

from __future__ import annotations

import pytest

from relay.agent.portions import DENSE_PORTION_BYTES, PORTION_BYTES, portion_size

TOKEN = b'data: {"type":"assistant_message","token":"a","is_final":false}\n\n'
FRAMED_TOKEN = b"%x\r\n%b\r\n" % (len(TOKEN), TOKEN)


@pytest.mark.parametrize("piece", [TOKEN, FRAMED_TOKEN, b"x"], ids=["tokens", "chunks-of-tokens", "text"])
def test_tokens_come_in_large_portions(piece):
    assert portion_size(piece * 2_000) == min(PORTION_BYTES, len(piece) * 2_000)


@pytest.mark.parametrize("piece", [b"\n", b"\r", b"data:1\n\n", b":\n", b"1\r\nx\r\n"])
def test_what_is_dense_in_lines_comes_in_small_portions(piece):
    assert portion_size(piece * 20_000) == DENSE_PORTION_BYTES


@pytest.mark.parametrize("size", [0, 1, DENSE_PORTION_BYTES])
def test_little_is_a_portion_whatever_it_is(size):
    assert portion_size(b"\n" * size) == size
