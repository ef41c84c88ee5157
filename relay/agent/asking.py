"""Asking an agent over HTTP: the one request of a turn, and a response to it that is no event stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import httpx

from relay.agent.failures import MAX_WORDS_CHARACTERS, Evidence, unreachable_cause, words_of
from relay.agent.http_request import HttpRequest
from relay.agent.protocols.base import AnswerReader
from relay.agent.refusals import is_encoded, refusal_body, refusal_of
from relay.agent.requests import redact_answer
from relay.agent.tls import TlsFailed
from relay.agent.transport import Exchange, UpstreamTransport
from relay.exceptions import NoHttp, UpstreamEof, UpstreamUnavailable
from relay.observability import metrics

CONNECT_SECONDS: Final = 2.0  # a refused connection is tried again for so long: an agent restarts in that time
CONNECT_PAUSE_SECONDS: Final = 0.1  # doubled after each try
_STATUS_CODES: Final = frozenset(HTTPStatus)


async def ask(
    transport: UpstreamTransport, request: HttpRequest, evidence: Evidence, on_sign: Callable[[], None]
) -> Exchange:
    """Send a turn's request, once: it is only tried again if there was no connection. The caller closes the exchange.

    Args:
        evidence: gets the cause of a failure.
        on_sign: called at each sign of life before the head of the response.

    Raises:
        UpstreamError: the agent cannot be reached, or breaks off.
    """
    give_up_at = time.monotonic() + CONNECT_SECONDS
    pause_seconds = CONNECT_PAUSE_SECONDS
    while True:
        try:
            exchange = await transport.send(request, on_sign)
        except TlsFailed as exc:  # two seconds do not change that
            metrics.UPSTREAM_REQUESTS.labels("tls").inc()
            evidence.cause = unreachable_cause(exc)
            raise UpstreamUnavailable from exc
        except httpx.ConnectError as exc:  # nothing was sent
            metrics.UPSTREAM_REQUESTS.labels("refused").inc()
            if time.monotonic() + pause_seconds > give_up_at:
                evidence.cause = unreachable_cause(exc)
                raise UpstreamUnavailable from exc
        except httpx.HTTPError as exc:
            metrics.UPSTREAM_REQUESTS.labels("broken").inc()
            evidence.cause = redacted_words(str(exc))  # may quote the response's head
            if isinstance(exc, httpx.RemoteProtocolError):
                raise NoHttp from exc
            raise UpstreamEof from exc
        else:
            metrics.UPSTREAM_REQUESTS.labels(_status(exchange.status_code)).inc()
            return exchange
        await asyncio.sleep(pause_seconds)
        pause_seconds *= 2


async def check(exchange: Exchange, events: AnswerReader, evidence: Evidence) -> None:
    """Refuse a response that is no event stream.

    Raises:
        RelayError: it is none.
    """
    refusal = refusal_of(exchange.status_code, exchange.headers)
    if refusal is None:
        return
    body = await refusal_body(exchange)
    if is_encoded(exchange.headers):
        evidence.cause = "its body is compressed, although the request did not allow it"
    else:
        evidence.words = redacted_words(words_of(body))
    if isinstance(refusal, UpstreamUnavailable):
        raise refusal
    raise events.refused(exchange.status_code, body) or refusal


def redacted_words(text: str) -> str:
    """Make the agent's words fit for the log and for transcripts."""
    return redact_answer(text)[:MAX_WORDS_CHARACTERS]


def _status(code: int) -> str:
    """Name a status for a metric's label, with few values."""
    return str(code) if code in _STATUS_CODES else "other"
