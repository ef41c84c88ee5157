"""What compression would save is measured on what clients really get. Sizes are judged, times are not."""

from __future__ import annotations

import zlib

import pytest

from benchmarks import compression


def rows() -> dict[tuple[str, str], compression.Row]:
    return {(row.what, row.compressor): row for row in compression.measure(tokens=100)}


def test_a_kept_window_saves_more_and_costs_memory_of_each_socket() -> None:
    measured = rows()
    for what in ("a token, plain", "a token, gateway.v1"):
        kept, _, forgetful = (measured[what, each.title] for each in compression.SOCKETS)
        assert kept.sent_bytes < forgetful.sent_bytes <= kept.plain_bytes
        assert kept.saved > forgetful.saved
        assert kept.kept_bytes > 0 == forgetful.kept_bytes


def test_a_replay_is_compressed_better_than_its_tokens_one_by_one() -> None:
    measured = rows()
    replay = measured["a replay, SSE", "gzip, level 6"]
    assert replay.sent_bytes < measured["a token, SSE", compression.GZIP.title].sent_bytes


@pytest.mark.parametrize("compressor", [*compression.SOCKETS, compression.GZIP], ids=lambda each: each.title)
def test_the_counted_bytes_are_those_that_a_client_can_read(compressor: compression.Compressor) -> None:
    pieces = [b"one token", b"another token", b"one token"]
    compress = compressor._new()
    sent = [compress.compress(piece) + compress.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    assert b"".join(map(zlib.decompressobj(compressor.window_bits).decompress, [b"".join(sent)])) == b"".join(pieces)
    if compressor.is_kept:
        tail = compression.FLUSH_TAIL if compressor.window_bits < 0 else 0
        assert list(compressor.sizes(pieces)) == [len(each) - tail for each in sent]
