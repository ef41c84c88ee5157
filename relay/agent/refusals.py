"""Responses of an agent that are no event stream: which error each is, and its words."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import httpx

from relay.agent.transport import Exchange
from relay.exceptions import NoEventStream, UpstreamError, UpstreamUnavailable

MAX_RETRY_AFTER_SECONDS: Final = 3600.0
MAX_REFUSAL_BYTES: Final = 65_536  # of the body of a response that is no event stream
REFUSAL_SECONDS: Final = 2.0  # for that body
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})


def refusal_of(status: int, headers: Mapping[str, str]) -> UpstreamError | None:
    """Return the error of a response that is no event stream."""
    if status in _UNAVAILABLE:
        return UpstreamUnavailable(retry_after_seconds(headers.get("retry-after", "")))
    if not 200 <= status <= 299:
        return UpstreamError()
    return None if is_event_stream(status, headers) else NoEventStream()


async def refusal_body(exchange: Exchange) -> bytes:
    """Read the body of a refusal, as far as it arrives soon and is short."""
    body = bytearray()
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(REFUSAL_SECONDS):
            await _read_body(exchange, body, MAX_REFUSAL_BYTES)
    return bytes(body[:MAX_REFUSAL_BYTES])


async def whole_body(exchange: Exchange, max_bytes: int) -> bytes:
    """Read a body, and close its connection. Cut if it is longer than ``max_bytes``.

    Raises:
        httpx.HTTPError: it breaks off.
    """
    body = bytearray()
    try:
        await _read_body(exchange, body, max_bytes)
    finally:
        exchange.close()
    return bytes(body[:max_bytes])


async def _read_body(exchange: Exchange, body: bytearray, max_bytes: int) -> None:
    def receive(chunk: bytes) -> bool:
        body.extend(chunk)
        return len(body) < max_bytes

    while len(body) < max_bytes and await exchange.pump(receive):
        pass


def retry_after_seconds(value: str) -> float:
    """Read ``Retry-After`` (RFC 9110 §10.2.3): seconds, or a date."""
    if value.isascii() and value.isdigit() and len(value) < 10:
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            seconds = 1.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Is a response an event stream that can be read?"""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_success = 200 <= status <= 299 and status != HTTPStatus.NO_CONTENT
    return is_success and media_type == "text/event-stream" and not is_encoded(headers)


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Is the body of a response compressed?"""
    return headers.get("content-encoding", "identity").strip().lower() != "identity"
