"""Agents that are asked over HTTP: one message in, frames out. Knows HTTP and events, and no protocol of agents."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from http import HTTPStatus
from typing import Final

import httpx

from relay.agent.answer import Agent, Answer, History, no_history
from relay.agent.failures import MAX_WORDS_CHARACTERS, unreachable_cause, words_of
from relay.agent.passing import PathRequest, request_to_agent
from relay.agent.portions import DENSE_PORTION_BYTES
from relay.agent.protocols.base import AgentProtocol, AgentRequest
from relay.agent.requests import agent_settings, redact_answer, stop_request, turn_request
from relay.agent.tls import TlsFailed
from relay.agent.transport import Exchange, UpstreamTransport
from relay.conf import conf
from relay.exceptions import (
    AgentEventTooLarge,
    AnswerTooLong,
    NoEventStream,
    NoHttp,
    UpstreamEof,
    UpstreamError,
    UpstreamUnavailable,
)
from relay.layers.live import FrameSink
from relay.layers.values import Turn
from relay.observability import metrics
from relay.protocol.event_stream import Event, EventStreamDecoder, EventTooLarge
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

MAX_FRAMING: Final = 8  # bytes of an answer's body, for each byte that its events may have
CONNECT_SECONDS: Final = 2.0  # a refused connection is tried again for so long: an agent restarts in that time
CONNECT_PAUSE_SECONDS: Final = 0.1  # doubled after each try
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
MAX_REFUSAL_BYTES: Final = 65_536  # of the body of a response that is no event stream
REFUSAL_SECONDS: Final = 2.0  # for that body
STOP_SECONDS: Final = 5.0  # for the request that stops a closed answer
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})
_STATUS_CODES: Final = frozenset(HTTPStatus)


class AgentClient(Agent):
    """Sends messages to an agent over HTTP, from one event loop."""

    def __init__(self, protocol: AgentProtocol) -> None:
        self._transport = UpstreamTransport()
        self._protocol = protocol
        self._stops: set[asyncio.Task[None]] = set()  # requests that stop closed answers

    def ask(self, turn: Turn, history: History = no_history) -> HttpAnswer:
        """See ``Agent``."""
        return HttpAnswer(self._transport, self._protocol, turn, history, self._stop)

    async def open_path(self, request: PathRequest) -> Exchange:
        """See ``Agent``."""
        return await self._transport.send(request_to_agent(request, is_own=self._protocol.is_own))

    async def close(self) -> None:
        """See ``Agent``."""
        while self._stops:
            await asyncio.wait(list(self._stops))

    def _stop(self, request: httpx.Request) -> None:
        stop = asyncio.create_task(self._send_stop(request), name="stop the agent")
        self._stops.add(stop)
        stop.add_done_callback(self._stops.discard)

    async def _send_stop(self, request: httpx.Request) -> None:
        """Ask the agent once to stop; the turn has ended, whatever becomes of this."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                (await self._transport.send(request)).close()
        except (httpx.HTTPError, TimeoutError) as exc:
            logger.warning("agent not stopped: %s", type(exc).__name__)


class HttpAnswer(Answer):
    """The answer of an agent that is asked over HTTP."""

    def __init__(
        self,
        transport: UpstreamTransport,
        protocol: AgentProtocol,
        turn: Turn,
        history: History,
        stop: Callable[[httpx.Request], None],
    ) -> None:
        super().__init__(protocol.reader(turn, max_turn_bytes=conf.max_turn_bytes, redact=redact_answer))
        self._transport = transport
        self._protocol = protocol
        self._turn = turn
        self._history = history
        self._stop = stop
        self._decoder = EventStreamDecoder(conf.max_event_bytes)
        self._bytes_left = MAX_FRAMING * conf.max_turn_bytes
        self._asked: AgentRequest
        self._sink: FrameSink | None = None
        self._refused: list[Frame] = []  # by the sink; ``batches`` gives them
        self._failure: Exception | None = None  # raised once ``_refused`` is given

    async def batches(self, sink: FrameSink | None = None) -> AsyncGenerator[list[Frame], None]:
        """See ``Answer``: send the message. Closing the iterator closes the connection, and stops the agent."""
        self._sink = sink
        request = await self._request()
        self._waiting_since = time.monotonic()
        exchange = await self._send(request)
        self.evidence.status = exchange.status_code
        self.evidence.content_type = _redacted(exchange.headers.get("content-type", ""))
        try:
            await self._check(exchange)
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
            self.evidence.cause = _redacted(str(exc))  # may quote the response's head
            raise UpstreamEof from exc
        finally:
            self._waiting_since = None
            self._report()
            exchange.close()
            self._stop_agent()

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
            raise AnswerTooLong
        try:
            events: Iterable[Event] = self._decoder.feed(chunk)
        except EventTooLarge as exc:
            self._failure = AgentEventTooLarge()
            self._failure.__cause__ = exc
            events = exc.events
        return self._events.frames(events)

    def _stop_agent(self) -> None:
        """Ask the agent to stop, if this is not the answer's end and to close the connection is not enough."""
        if not self._events.is_over and (request := self._events.stop_request(self._asked)) is not None:
            self._stop(stop_request(self._protocol, self._turn, request))

    async def _send(self, request: httpx.Request) -> Exchange:
        give_up_at = time.monotonic() + CONNECT_SECONDS
        pause_seconds = CONNECT_PAUSE_SECONDS
        while True:
            try:
                exchange = await self._transport.send(request, self._restart_silence)
            except TlsFailed as exc:  # two seconds do not change that
                metrics.UPSTREAM_REQUESTS.labels("tls").inc()
                self.evidence.cause = unreachable_cause(exc)
                raise UpstreamUnavailable from exc
            except httpx.ConnectError as exc:  # nothing was sent
                metrics.UPSTREAM_REQUESTS.labels("refused").inc()
                if time.monotonic() + pause_seconds > give_up_at:
                    self.evidence.cause = unreachable_cause(exc)
                    raise UpstreamUnavailable from exc
            except httpx.HTTPError as exc:
                metrics.UPSTREAM_REQUESTS.labels("broken").inc()
                self.evidence.cause = _redacted(str(exc))  # may quote the response's head
                if isinstance(exc, httpx.RemoteProtocolError):
                    raise NoHttp from exc
                raise UpstreamEof from exc
            else:
                metrics.UPSTREAM_REQUESTS.labels(_status(exchange.status_code)).inc()
                return exchange
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2

    async def _request(self) -> httpx.Request:
        history = () if self._protocol.keeps_history else await self._history()
        self._asked = self._protocol.request(self._turn, history, agent_settings())
        return turn_request(self._protocol, self._turn, self._asked)

    async def _check(self, exchange: Exchange) -> None:
        """Refuse an answer that is no event stream."""
        refusal = _refusal(exchange.status_code, exchange.headers)
        if refusal is None:
            return
        body = await _body(exchange)
        if _is_encoded(exchange.headers):
            self.evidence.cause = "its body is compressed, which the request did not ask for"
        else:
            self.evidence.words = _redacted(words_of(body))
        if isinstance(refusal, UpstreamUnavailable):
            raise refusal
        raise self._events.refused(exchange.status_code, body) or refusal


def _redacted(text: str) -> str:
    """Make the agent's words fit for the log and for transcripts."""
    return redact_answer(text)[:MAX_WORDS_CHARACTERS]


def _status(code: int) -> str:
    """Name a status for a metric's label, with few values."""
    return str(code) if code in _STATUS_CODES else "other"


def _refusal(status: int, headers: httpx.Headers) -> UpstreamError | None:
    """Return the error of a response that is no event stream."""
    if status in _UNAVAILABLE:
        return UpstreamUnavailable(_retry_after_seconds(headers.get("retry-after", "")))
    if not 200 <= status <= 299:
        return UpstreamError()
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status != HTTPStatus.NO_CONTENT and media_type == "text/event-stream" and not _is_encoded(headers):
        return None
    return NoEventStream()


def _is_encoded(headers: httpx.Headers) -> bool:
    encoding: str = headers.get("content-encoding", "identity")
    return encoding.strip().lower() != "identity"


async def _body(exchange: Exchange) -> bytes:
    """Read the body of a refusal, as far as it comes soon and is short."""
    body = bytearray()

    def receive(chunk: bytes) -> bool:
        body.extend(chunk)
        return len(body) < MAX_REFUSAL_BYTES

    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(REFUSAL_SECONDS):
            while len(body) < MAX_REFUSAL_BYTES and await exchange.pump(receive):
                pass
    return bytes(body[:MAX_REFUSAL_BYTES])


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
