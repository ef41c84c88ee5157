"""Log lines go out in order and whole, and who does not read them holds up nobody."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import re

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


def say(handler, words, level=logging.INFO):
    handler.handle(logging.LogRecord("test", level, "", 0, words, (), None))


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def _told(err):
    """What ``handleError`` has printed, with the arguments in their places."""
    words, arguments = re.search(r"Message: '(.+)'\nArguments: \((\d+),\)", err).groups()
    return words % int(arguments)


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


async def test_lines_of_an_event_loop_are_written_together(handler, pipe, monkeypatch):
    monkeypatch.setattr(log_handler, "GATHER_SECONDS", 0.0)
    writes = []
    monkeypatch.setattr(log_handler.os, "write", lambda _, data: writes.append(bytes(data)) or len(data))
    say(handler, "a")
    say(handler, "b")
    assert writes == []
    await until(lambda: writes)
    say(handler, "c")
    await until(lambda: len(writes) > 1)
    assert writes == [b"a\nb\n", b"c\n"]


async def test_warning_is_written_at_once_behind_the_lines_before_it(handler, pipe):
    say(handler, "a")
    say(handler, "b", logging.WARNING)
    assert read(pipe[0]) == "a\nb\n"


def test_lines_of_an_event_loop_that_ended_before_their_moment_are_written(handler, pipe, monkeypatch):
    monkeypatch.setattr(log_handler, "GATHER_SECONDS", 60.0)

    async def speak(words):
        say(handler, words)

    asyncio.run(speak("a"))
    assert read(pipe[0]) == ""
    asyncio.run(speak("b"))
    say(handler, "c")  # where no event loop runs
    assert read(pipe[0]) == "a\nb\nc\n"


async def test_next_event_loop_writes_what_the_last_one_left(handler, pipe, monkeypatch):
    monkeypatch.setattr(log_handler, "GATHER_SECONDS", 0.0)
    handler._gathering_in = asyncio.new_event_loop()
    handler._gathering_in.close()
    say(handler, "a")
    await until(lambda: handler._gathering_in is None)
    assert read(pipe[0]) == "a\n"


async def test_gathered_lines_that_cannot_be_written_are_told_of_and_stop_nothing(handler, pipe, monkeypatch, capsys):
    def full(_, data):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(log_handler, "GATHER_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(log_handler.os, "write", full)
        say(handler, "a")
        await until(lambda: handler._gathering_in is None)
    assert "2 bytes of log lines cannot be written" in _told(capsys.readouterr().err)
    say(handler, "b", logging.WARNING)
    assert read(pipe[0]) == "a\nb\n"


def test_what_the_reader_does_not_take_comes_when_it_reads_again(handler, pipe):
    lines = [f"{number} {'x' * number}" for number in range(500)]  # more than a pipe holds
    for line in lines:
        say(handler, line)
    assert read_all(handler, pipe[0]) == lines


def test_line_that_is_longer_than_a_pipe_comes_whole(handler, pipe):
    say(handler, "x" * 200_000)
    say(handler, "and on")
    assert read_all(handler, pipe[0]) == ["x" * 200_000, "and on"]


def test_waiting_lines_are_written_whole_so_that_another_process_writes_between_them(handler, pipe, monkeypatch):
    written = []
    monkeypatch.setattr(log_handler.os, "write", lambda _, data: written.append(bytes(data)) or len(data))
    monkeypatch.setattr(log_handler, "_can_write", lambda *_: False)
    for number in range(3):
        say(handler, f"{number}" * 1_500)
    say(handler, "x" * 5_000)
    monkeypatch.undo()
    monkeypatch.setattr(log_handler.os, "write", lambda _, data: written.append(bytes(data)) or len(data))
    handler.flush()
    assert [len(piece) for piece in written] == [3_002, 1_501, 4_096, 905]


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
