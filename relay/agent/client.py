"""The agent's client: one message in, frames out. Knows HTTP and events, not connections."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from http import HTTPStatus
from typing import Final, NoReturn

import httpx

from relay.agent.portions import DENSE_PORTION_BYTES
from relay.agent.protocols.agent import OwnAgent
from relay.agent.protocols.base import AgentProtocol, AgentSettings
from relay.agent.redaction import redact
from relay.agent.transport import Exchange, TlsFailed, UpstreamTransport
from relay.conf import conf
from relay.exceptions import UpstreamEof, UpstreamError, UpstreamProtocol, UpstreamTimeout, UpstreamUnavailable
from relay.layers.live import FrameSink
from relay.layers.values import Turn
from relay.observability import metrics
from relay.protocol import json_text
from relay.protocol.event_stream import Event, EventStreamDecoder, EventTooLarge
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

MAX_FRAMING: Final = 8  # bytes of an answer's body, for each byte that its events may have
CONNECT_SECONDS: Final = 2.0  # a refused connection is tried again for so long: an agent restarts in that time
CONNECT_PAUSE_SECONDS: Final = 0.1  # doubled after each try
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
USER_AGENT: Final = f"python-httpx/{httpx.__version__}"
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})
_STATUS_CODES: Final = frozenset(HTTPStatus)


class AgentClient:
    """Sends messages to the agent-runtime, from one event loop."""

    def __init__(self) -> None:
        self._transport = UpstreamTransport()
        self._protocol: AgentProtocol = OwnAgent()

    def ask(self, turn: Turn) -> Answer:
        """Return the answer to come. The request is sent when its ``batches`` are iterated."""
        return Answer(self._transport, self._protocol, turn)


class Answer:
    """The agent's answer to one turn."""

    def __init__(self, transport: UpstreamTransport, protocol: AgentProtocol, turn: Turn) -> None:
        self._transport = transport
        self._protocol = protocol
        self._turn = turn
        self._silence_seconds = conf.request_timeout_seconds
        self._waiting_since: float | None = None  # while the gateway waits for the agent; ``None`` while it is busy
        self._decoder = EventStreamDecoder(conf.max_event_bytes)
        self._events = protocol.reader(turn, max_turn_bytes=conf.max_turn_bytes, redact=_redact)
        self._bytes_left = MAX_FRAMING * conf.max_turn_bytes
        self._sink: FrameSink | None = None
        self._refused: list[Frame] = []  # by the sink; ``batches`` gives them
        self._failure: Exception | None = None  # raised once ``_refused`` is given

    @property
    def tokens(self) -> int:
        """How many tokens there were so far; empty ones do not count."""
        return self._events.tokens

    async def batches(self, sink: FrameSink | None = None) -> AsyncGenerator[list[Frame], None]:
        """Send the message; push the frames of each chunk to ``sink``, and give those that it does not accept.

        The last frame of all is terminal, and is given, not pushed. Closing the iterator closes the connection, so the
        agent stops.

        Raises:
            UpstreamError: the agent cannot be reached, refuses, breaks off, or violates the protocol.
        """
        self._sink = sink
        self._waiting_since = time.monotonic()
        exchange = await self._send()
        try:
            _check(exchange)
            self._events.opened(exchange.headers)
            while size := await exchange.pump(self._receive):
                if self._refused:
                    refused, self._refused = self._refused, []
                    yield refused
                if self._events.is_over:
                    return
                if self._failure is not None:
                    raise self._failure
                if size >= DENSE_PORTION_BYTES:
                    await asyncio.sleep(0)  # more may have arrived, so the next call will not wait: others run first
                self._waiting_since = time.monotonic()
            yield self._events.end_of_body(is_within_event=self._decoder.is_within_event)
        except httpx.HTTPError as exc:
            raise UpstreamEof from exc
        finally:
            self._waiting_since = None
            self._report()
            exchange.close()

    def _receive(self, chunk: bytes) -> bool:
        """See ``ByteSink``: decode a chunk in the call that receives it, and push its frames."""
        self._waiting_since = None
        try:
            frames = self._decode(chunk)
            is_ended = self._events.is_over or self._failure is not None
            if frames and (is_ended or self._sink is None or not self._sink.push(frames)):
                self._refused = frames
        except Exception as exc:  # ``batches`` raises it, in the task of the turn
            self._failure = exc
            return False
        if is_ended or self._refused:
            return False
        self._waiting_since = time.monotonic()
        return True

    def _decode(self, chunk: bytes) -> list[Frame]:
        self._bytes_left -= len(chunk)
        if self._bytes_left < 0:  # comments and empty lines, which are no events, have a limit too
            raise UpstreamProtocol("The agent's answer is too long.")
        try:
            events: Iterable[Event] = self._decoder.feed(chunk)
        except EventTooLarge as exc:
            self._failure = UpstreamProtocol("The agent sent an event that is too large.")
            self._failure.__cause__ = exc
            events = exc.events
        return self._events.frames(events)

    async def watch_silence(self) -> NoReturn:
        """Raise when nothing has arrived for ``REQUEST_TIMEOUT``: no connection, no first byte, no next one.

        One timer serves the whole answer, so a token costs no timer.

        Raises:
            UpstreamTimeout: the agent is silent.
        """
        while True:
            since = self._waiting_since
            silent_seconds = time.monotonic() - since if since is not None else 0.0
            if silent_seconds >= self._silence_seconds:
                raise UpstreamTimeout(self._silence_seconds)
            await asyncio.sleep(self._silence_seconds - silent_seconds)

    async def _send(self) -> Exchange:
        give_up_at = time.monotonic() + CONNECT_SECONDS
        pause_seconds = CONNECT_PAUSE_SECONDS
        while True:
            try:
                exchange = await self._transport.send(self._request(), self._restart_silence)
            except TlsFailed as exc:  # two seconds do not change that
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
                metrics.UPSTREAM_REQUESTS.labels(_status(exchange.status_code)).inc()
                return exchange
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2

    def _request(self) -> httpx.Request:
        turn = self._turn
        request = self._protocol.request(turn, (), AgentSettings())
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Content-Type": "application/json",
            "Idempotency-Key": turn.turn_id,
            "X-Request-ID": turn.turn_id,
            **request.headers,
        }
        if self._protocol.is_own:
            headers["X-Internal-Auth"] = conf.internal_api_keys[0]
        if turn.subject is not None:
            headers["X-Subject"] = turn.subject
        if turn.traceparent is not None:
            headers["traceparent"] = turn.traceparent
        content = b"" if request.body is None else json_text.encode(request.body).encode()
        return httpx.Request(request.method, conf.agent_url + request.path, headers=headers, content=content)

    def _restart_silence(self) -> None:
        self._waiting_since = time.monotonic()

    def _report(self) -> None:
        metrics.EVENTS_LATE.inc(self._events.late)
        for cause, number in self._events.skipped.items():
            if number:
                metrics.EVENTS_SKIPPED.labels(cause).inc(number)
                logger.warning("%d %s agent events skipped", number, cause)


def _status(code: int) -> str:
    """Name a status for a metric's label, with few values."""
    return str(code) if code in _STATUS_CODES else "other"


def _check(exchange: Exchange) -> None:
    """Refuse an answer that is no event stream."""
    status, headers = exchange.status_code, exchange.headers
    if status in _UNAVAILABLE:
        raise UpstreamUnavailable(_retry_after_seconds(headers.get("retry-after", "")))
    if not 200 <= status <= 299:
        raise UpstreamError
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    has_content = status != HTTPStatus.NO_CONTENT
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
