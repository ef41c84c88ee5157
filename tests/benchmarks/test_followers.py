"""What the load clients count: without a mistake of theirs, a verdict is one about the gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("picows", reason="the benchmark's dependencies are not installed")

from benchmarks.followers import Follower, lost_tokens
from benchmarks.load_client import Tally
from benchmarks.load_http import Reader, Request

STAMP = b'data: {"token":"%016d"}\n\n'


def text(**members: Any) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def welcome(offset: int, after: int = 0, **members: Any) -> bytes:
    return text(type="welcome", epoch="e", offset=offset, after=after, **members)


def token(offset: int) -> bytes:
    return text(type="assistant_message", token="x", turn_id="t", offset=offset)


@pytest.mark.parametrize(
    ("frames", "holes"),
    [
        ([welcome(0), token(1), token(2)], 0),
        ([welcome(7, after=7), token(8)], 0),
        ([welcome(0), token(1), token(3)], 1),
        ([welcome(0), token(1), token(1)], 1),
        ([welcome(0), token(1), text(type="ping", epoch="e", offset=9), token(2)], 0),
        ([welcome(0), token(1), welcome(1, recovered=True), token(2)], 0),
        ([welcome(0), token(1), welcome(9, after=8, recovered=False)], 1),
        ([welcome(0), token(1), text(type="welcome", epoch="f", offset=0, after=0)], 1),
    ],
)
def test_a_follower_notices_holes_and_repetitions(frames: list[bytes], holes: int) -> None:
    follower = Follower(None, "s")
    for frame in frames:
        follower.received(frame)
    assert follower.holes == holes


def test_a_follower_is_whole_when_it_has_what_the_log_had_at_its_return() -> None:
    follower = Follower(None, "s")
    follower.received(welcome(2))
    follower.received(token(1))
    assert not follower.is_whole
    follower.received(token(2))
    assert follower.is_whole
    assert follower.recoveries_ns == []  # it had not lost a connection


def test_a_follower_returns_when_the_gateway_says() -> None:
    follower = Follower(None, "s")
    follower.received(text(type="disconnect", code="server_restart", reconnect=True, delay_ms=1500))
    assert follower.away_seconds == 1.5


def test_a_refused_message_is_no_lost_answer_but_a_failed_turn_is() -> None:
    follower = Follower(None, "s")
    follower.received(text(type="error", code="shutting_down", client_message_id="m-1"))
    assert lost_tokens([follower], 0) == 0
    follower.received(text(type="error", code="interrupted", turn_id="t", offset=1))
    assert lost_tokens([follower], 0) == 1


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_reader_counts_tokens_wherever_the_stream_is_cut(cut: int) -> None:
    reader = Reader(Tally(), Request("POST", "/"), b"key")
    stream = b"HTTP/1.1 200 OK\r\n\r\n" + STAMP % 1 + STAMP % 2 + b"data: [DONE]\n\n\r\n0\r\n\r\n"
    for place in range(0, len(stream), cut):
        reader.data_received(stream[place : place + cut])
    assert (reader.tokens, reader.finals, reader.errors, reader.is_in_order) == (2, 1, 0, True)


def test_a_reader_counts_a_refusal_as_an_error() -> None:
    reader = Reader(Tally(), Request("POST", "/"), b"key")
    reader.data_received(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    assert reader.errors == 1
