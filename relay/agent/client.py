"""The upstream client: one message in, batches of frames out. It knows HTTP, not sockets."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, NoReturn

import httpx

from relay.agent.portions import DENSE_PORTION_BYTES, PORTION_BYTES
from relay.agent.protocols.agent import AgentEvents
from relay.agent.redaction import redact
from relay.agent.transport import ALIVE, READ, TlsFailed, UpstreamTransport
from relay.conf import conf
from relay.exceptions import UpstreamEof, UpstreamError, UpstreamProtocol, UpstreamTimeout, UpstreamUnavailable
from relay.layers.values import Turn
from relay.observability import metrics
from relay.protocol import json_text
from relay.protocol.event_stream import EventStreamDecoder, EventTooLarge
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

MAX_FRAMING: Final = 8  # an answer's bytes in all, for each byte that its events may have
MESSAGE_PATH: Final = "/agent/message/stream"
CONNECT_SECONDS: Final = 2.0  # a refused connection is tried again for so long: an agent restarts in that time
CONNECT_PAUSE_SECONDS: Final = 0.1  # doubled after each try
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
READ_BYTES: Final = PORTION_BYTES  # decoded at once, while everybody else on the loop waits: some 200 tokens, 3 ms
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})
_STATUS_CODES: Final = frozenset(HTTPStatus)


class AgentClient:
    """The agent-runtime, for one event loop. All turns share one HTTP client; its pool has no bound of its own."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(
            transport=UpstreamTransport(),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=None,  # noqa: S113 - Answer.watch_silence is the time-out
            trust_env=False,  # a proxy variable would divert even loopback
        )

    def ask(self, turn: Turn) -> Answer:
        """Begin nothing yet: the request is sent when the answer is iterated."""
        return Answer(self._http, turn)

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()


class Answer:
    """The agent's answer to one turn."""

    def __init__(self, http: httpx.AsyncClient, turn: Turn) -> None:
        self._http = http
        self._turn = turn
        self._silence_seconds = conf.request_timeout_seconds
        self._waiting_since: float | None = None  # while a read is under way; not while the reader is busy
        self._decoder = EventStreamDecoder(conf.max_event_bytes)
        self._events = AgentEvents(turn.turn_id, max_turn_bytes=conf.max_turn_bytes, redact=_redact)

    @property
    def tokens(self) -> int:
        """How many tokens there were so far; empty ones do not count."""
        return self._events.tokens

    async def batches(self, take: Callable[[Frame], bool] | None = None) -> AsyncGenerator[list[Frame], None]:
        """Send the message and give the frames of each network read; the last frame of all is terminal.

        Closing the iterator closes the connection, so the agent stops.

        Args:
            take: is offered a token that comes alone while the iterator waits; one that it takes is not given any
                more. It never raises, and never waits.

        Raises:
            UpstreamError: the agent cannot be reached, refuses, breaks off, or does not keep the protocol.
        """
        take_chunk = partial(self._take, take) if take is not None else None
        self._waiting_since = time.monotonic()
        response = await self._send()
        try:
            _check(response)
            read = response.extensions[READ]
            bytes_left = MAX_FRAMING * conf.max_turn_bytes
            while chunk := await read(READ_BYTES, take_chunk):
                self._waiting_since = None
                bytes_left -= len(chunk)
                if bytes_left < 0:  # comments and empty lines, which are no events, do not go on for ever either
                    raise UpstreamProtocol("The agent's answer is too long.")
                batch = self._events.frames(self._decoder.feed(chunk))
                if batch:
                    yield batch
                if self._events.is_over:
                    return
                if len(chunk) >= DENSE_PORTION_BYTES:
                    await asyncio.sleep(0)  # more may be there, so the next read will not wait: others get their turn
                self._waiting_since = time.monotonic()
            yield [self._events.end_of_body(is_within_event=self._decoder.is_within_event)]
        except EventTooLarge as exc:
            before = self._events.frames(exc.events)
            if before:
                yield before
            if not self._events.is_over:
                raise UpstreamProtocol("The agent sent an event that is too large.") from exc
            return
        except httpx.HTTPError as exc:
            raise UpstreamEof from exc
        finally:
            self._waiting_since = None
            self._report()
            await response.aclose()

    def _take(self, take: Callable[[Frame], bool], chunk: bytes) -> bool:
        data = self._decoder.lone_data(chunk)
        if data is None or not self._events.take_lone_token(data, take):
            return False
        self._waiting_since = time.monotonic()
        return True

    async def watch_silence(self) -> NoReturn:
        """Raise when the agent has said nothing for ``REQUEST_TIMEOUT``: no connection, no first byte, no next one.

        One timer for the whole answer, so a token costs no timer.

        Raises:
            UpstreamTimeout: the agent is silent.
        """
        while True:
            since = self._waiting_since
            silent_seconds = time.monotonic() - since if since is not None else 0.0
            if silent_seconds >= self._silence_seconds:
                raise UpstreamTimeout(self._silence_seconds)
            await asyncio.sleep(self._silence_seconds - silent_seconds)

    async def _send(self) -> httpx.Response:
        give_up_at = time.monotonic() + CONNECT_SECONDS
        pause_seconds = CONNECT_PAUSE_SECONDS
        while True:
            try:
                response = await self._http.send(self._request(), stream=True)
            except TlsFailed as exc:  # that does not mend itself in two seconds
                metrics.UPSTREAM_REQUESTS.labels("tls").inc()
                logger.warning("TLS to the agent failed: %s", exc)
                raise UpstreamUnavailable from exc
            except httpx.ConnectError as exc:  # nothing was sent
                metrics.UPSTREAM_REQUESTS.labels("refused").inc()
                if time.monotonic() + pause_seconds > give_up_at:
                    raise UpstreamUnavailable from exc
            except httpx.HTTPError as exc:
                metrics.UPSTREAM_REQUESTS.labels("broken").inc()
                if isinstance(exc, httpx.RemoteProtocolError):
                    raise UpstreamProtocol("The agent did not answer in HTTP.") from exc
                raise UpstreamEof from exc
            else:
                metrics.UPSTREAM_REQUESTS.labels(_status(response.status_code)).inc()
                return response
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2

    def _request(self) -> httpx.Request:
        turn = self._turn
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Content-Type": "application/json",
            "Idempotency-Key": turn.turn_id,
            "X-Internal-Auth": conf.internal_api_keys[0],
            "X-Request-ID": turn.turn_id,
        }
        if turn.subject is not None:
            headers["X-Subject"] = turn.subject
        if turn.traceparent is not None:
            headers["traceparent"] = turn.traceparent
        payload = json_text.encode({**turn.message, "session_id": turn.session_id})
        return self._http.build_request(
            "POST",
            conf.agent_url + MESSAGE_PATH,
            headers=headers,
            content=payload.encode(),
            extensions={ALIVE: self._hear},
        )

    def _hear(self) -> None:
        self._waiting_since = time.monotonic()

    def _report(self) -> None:
        metrics.EVENTS_LATE.inc(self._events.late)
        for cause, number in self._events.skipped.items():
            if number:
                metrics.EVENTS_SKIPPED.labels(cause).inc(number)
                logger.warning("%d %s agent events skipped", number, cause)


def _status(code: int) -> str:
    """Name a status, with few values: a metric's label."""
    return str(code) if code in _STATUS_CODES else "other"


def _check(response: httpx.Response) -> None:
    """Refuse an answer that is no event stream."""
    if response.status_code in _UNAVAILABLE:
        raise UpstreamUnavailable(_retry_after_seconds(response.headers.get("retry-after", "")))
    if not response.is_success:
        raise UpstreamError
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    has_content = response.status_code != httpx.codes.NO_CONTENT
    if not has_content or media_type != "text/event-stream" or encoding != "identity":
        raise UpstreamProtocol("The agent did not answer with an event stream.")


def _retry_after_seconds(value: str) -> float:
    """Read ``Retry-After`` (RFC 9110 §10.2.3): seconds, or a date."""
    if value.isascii() and value.isdigit() and len(value) < 10:
        seconds = float(value)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            seconds = 1.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _redact(text: str) -> str:
    return redact(text, conf.internal_api_keys)
