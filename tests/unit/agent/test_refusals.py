"""Which answers of the agent are read at all, and when a client is told to come back."""

from __future__ import annotations

import email.utils
import time

import pytest

from relay.agent.refusals import refusal_of, retry_after_seconds
from relay.exceptions import NoEventStream, UpstreamError, UpstreamUnavailable

STREAM = {"content-type": "text/event-stream"}


def outcome(status: int, headers: dict[str, str]) -> type[Exception] | None:
    refusal = refusal_of(status, headers)
    return type(refusal) if refusal is not None else None


def test_every_status_is_an_answer_an_error_or_a_reason_to_come_back():
    seen = {status: outcome(status, STREAM) for status in range(200, 600)}
    unavailable = {status for status, error in seen.items() if error is UpstreamUnavailable}
    assert unavailable == {429, 502, 503, 504}
    assert seen.pop(204) is NoEventStream
    assert {seen[status] for status in seen if status <= 299} == {None}
    assert {seen[status] for status in seen if status >= 300 and status not in unavailable} == {UpstreamError}


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "Text/Event-Stream ; charset=utf-8"},
        {**STREAM, "content-encoding": "Identity "},
    ],
)
def test_an_event_stream_is_read_however_its_headers_are_written(headers):
    assert outcome(200, headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "text/html; x=text/event-stream"},
        {**STREAM, "content-encoding": "gzip"},
    ],
)
def test_any_other_content_is_no_answer(headers):
    assert outcome(200, headers) is NoEventStream


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("999999999", 3600.0),
        ("9999999999", 1.0),  # a number that long is none
        ("9" * 11, 1.0),
        ("9" * 5_000, 1.0),
        ("", 1.0),
        ("-1", 1.0),
        ("1.5", 1.0),
        ("\u0667", 1.0),
        ("soon", 1.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value, seconds):
    assert retry_after_seconds(value) == seconds


def test_a_date_is_so_far_away_as_it_is():
    date = email.utils.formatdate(time.time() + 1_000, usegmt=True)
    assert 0 < retry_after_seconds(date) <= 1_000
