"""Requests of clients that the agent itself answers: the parts that go to it, and the parts that come back.

Only headers in the lists here are passed, either way: so none of a connection (RFC 9110 §7.6.1), and no credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from http import HTTPStatus
from time import monotonic
from typing import Final, NamedTuple

import httpx

from relay.agent.http_request import HttpRequest
from relay.agent.requests import USER_AGENT, own_headers
from relay.agent.transport import Exchange
from relay.conf import conf

TO_AGENT: Final = frozenset(
    (
        *("accept", "accept-language", "content-type", "if-match", "if-modified-since", "if-none-match", "if-range"),
        *("if-unmodified-since", "last-event-id", "range", "traceparent"),
    )
)
TO_CLIENT: Final = frozenset(
    (
        *("accept-ranges", "cache-control", "content-disposition", "content-language", "content-range"),
        *("content-type", "etag", "expires", "last-modified", "retry-after"),
    )
)
MAX_HEADER_CHARACTERS: Final = 8_192

# Statuses that concern the gateway and the agent, and not the client: of the gateway's own key, and other places.
_OF_THE_GATEWAY: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})


class Unpassable(Exception):
    """The agent's answer cannot be passed; the text is for operators."""


class PathRequest(NamedTuple):
    """A client's request for one of the agent's own paths.

    Attributes:
        target: path and query, as they go to the agent.
        headers: of the client's request; those that are not in ``TO_AGENT`` are left out.
        subject: the client's, as the policy has admitted it.
    """

    method: str
    target: str
    headers: Iterable[tuple[str, str]]
    body: bytes
    subject: str | None


def request_to_agent(request: PathRequest, *, is_own: bool) -> HttpRequest:
    """Return the request to the agent; ``is_own``: one of the gateway's own protocol, which gets the internal key."""
    passed = {
        name: value
        for name, value in request.headers
        if name.lower() in TO_AGENT and len(value) <= MAX_HEADER_CHARACTERS
    }
    return HttpRequest(
        request.method,
        conf.agent_url + request.target,
        {"User-Agent": USER_AGENT},
        passed,
        own_headers(request.subject, is_own=is_own),
        {"Accept-Encoding": "identity"},
        content=request.body,
    )


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of the agent's answer that the client gets."""
    return {name: value for name, value in headers.items() if name in TO_CLIENT and value.isprintable()}


def check_answer(exchange: Exchange) -> None:
    """Refuse an answer that would send the client elsewhere, or that concerns the gateway's own access.

    Raises:
        Unpassable: it is such an answer, a failure of the agent, or compressed.
    """
    status = exchange.status_code
    is_redirect = 300 <= status < 400 and status != HTTPStatus.NOT_MODIFIED
    if is_redirect or status in _OF_THE_GATEWAY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Unpassable(f"status {status}")
    if exchange.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unpassable("its body is compressed, although the request did not allow it")


async def body_of(exchange: Exchange, *, until: float) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives: at most ``MAX_TURN_BYTES``, and never silent for longer than ``REQUEST_TIMEOUT``.

    Args:
        until: the moment of ``monotonic`` at which it ends.

    Raises:
        Unpassable: it is too long, too slow, or broke off.
    """
    bytes_left = conf.max_turn_bytes
    pieces: list[bytes] = []

    def receive(chunk: bytes) -> bool:
        pieces.append(chunk)
        return False  # one piece after another, as fast as the client takes them

    while True:
        try:
            async with asyncio.timeout(min(conf.request_timeout_seconds, max(until - monotonic(), 0.0))):
                if not await exchange.pump(receive):
                    return
        except TimeoutError as exc:
            raise Unpassable("its body was silent for too long, or took too long") from exc
        except httpx.HTTPError as exc:
            raise Unpassable("its body broke off") from exc
        chunk = b"".join(pieces)
        pieces.clear()
        bytes_left -= len(chunk)
        if bytes_left < 0:
            raise Unpassable("its body is too long")
        yield chunk
