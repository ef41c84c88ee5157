"""Log lines go out in order and whole, and who does not read them holds up nobody."""

from __future__ import annotations

import io
import logging
import os

import pytest

from relay.observability import log_handler, metrics
from relay.observability.log_handler import PatientHandler


@pytest.fixture
def pipe():
    """A pipe's two ends."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "w") as writer:
        yield reader, writer


@pytest.fixture
def handler(pipe, monkeypatch):
    monkeypatch.setattr(log_handler, "FLUSH_SECONDS", 0.01)
    handler = PatientHandler(pipe[1])
    yield handler
    handler.close()


def say(handler, words):
    handler.handle(logging.LogRecord("test", logging.INFO, "", 0, words, (), None))


def read(reader):
    """Read what the pipe holds."""
    os.set_blocking(reader.fileno(), False)
    pieces = []
    while piece := reader.read(65_536):
        pieces.append(piece)
    return b"".join(pieces).decode()


def read_all(handler, reader):
    text = read(reader)
    handler.flush()
    while more := read(reader):
        text += more
        handler.flush()
    return text.splitlines()


def dropped():
    return metrics.LOG_LINES_DROPPED._value.get()


def test_line_is_there_as_soon_as_it_was_said(handler, pipe):
    say(handler, "ü")
    assert read(pipe[0]) == "ü\n"


def test_what_the_reader_does_not_take_comes_when_it_reads_again(handler, pipe):
    lines = [f"{number} {'x' * number}" for number in range(500)]  # more than a pipe holds
    for line in lines:
        say(handler, line)
    assert read_all(handler, pipe[0]) == lines


def test_line_that_is_longer_than_a_pipe_comes_whole(handler, pipe):
    say(handler, "x" * 200_000)
    say(handler, "and on")
    assert read_all(handler, pipe[0]) == ["x" * 200_000, "and on"]


def test_more_than_may_wait_is_dropped_and_that_is_said(handler, pipe, monkeypatch):
    monkeypatch.setattr(log_handler, "MAX_WAITING_BYTES", 10_000)
    before = dropped()
    lines = [f"{number} {'x' * 1_000}" for number in range(100)]
    for line in lines:
        say(handler, line)
    lost = dropped() - before
    assert 0 < lost < 100
    kept = read_all(handler, pipe[0])
    assert kept == lines[: len(kept)]
    say(handler, "on")
    say(handler, "and on")
    assert len(kept) + lost == 100
    assert read(pipe[0]).splitlines() == [
        f"{lost:.0f} log lines dropped: the reader of standard error was blocked", "on", "and on",
    ]  # fmt: skip


def test_reader_that_has_gone_is_no_error(handler, pipe, capsys):
    pipe[0].close()
    say(handler, "to nobody")
    say(handler, "still to nobody")
    assert capsys.readouterr().err == ""


def test_stream_in_memory_takes_everything():
    stream = io.StringIO()
    handler = PatientHandler(stream)
    say(handler, "a")
    say(handler, "b")
    handler.close()
    assert stream.getvalue() == "a\nb\n"


def test_line_that_cannot_be_written_is_told_of_and_stops_nothing(handler, pipe, capsys):
    handler.handle(logging.LogRecord("test", logging.INFO, "", 0, "%d", ("no number",), None))
    assert "--- Logging error ---" in capsys.readouterr().err
    say(handler, "on")
    assert read(pipe[0]) == "on\n"
