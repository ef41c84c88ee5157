"""The upstream client: one message in, batches of frames out. It knows HTTP, not sockets."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, NoReturn, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from relay import json_text, metrics
from relay.agent_events import AgentEvents
from relay.conf import conf
from relay.event_stream import EventStreamDecoder, EventTooLarge
from relay.exceptions import UpstreamEof, UpstreamError, UpstreamProtocol, UpstreamTimeout, UpstreamUnavailable
from relay.frames import Frame
from relay.layers.values import Turn
from relay.redaction import redact

logger = logging.getLogger(__name__)

MESSAGE_PATH: Final = "/agent/message/stream"
CONNECT_SECONDS: Final = 2.0  # a refused connection is tried again for so long: an agent restarts in that time
CONNECT_PAUSE_SECONDS: Final = 0.1  # doubled after each try
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
_READ: Final = "relay.read"  # a response's extension: read what has come of the body; b"" at its end
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})


class AgentClient:
    """The agent-runtime, for one event loop. All turns share one HTTP client; its pool has no bound of its own."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(
            transport=_Transport(client=_session),
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
        self._events = AgentEvents(turn.turn_id, max_turn_bytes=conf.max_turn_bytes, redact=_redact)

    async def batches(self) -> AsyncGenerator[list[Frame], None]:
        """Send the message and give the frames of each network read; the last frame of all is terminal.

        Closing the iterator closes the connection, so the agent stops.

        Raises:
            UpstreamError: the agent cannot be reached, refuses, breaks off, or does not keep the protocol.
        """
        decoder = EventStreamDecoder(conf.max_event_bytes)
        self._waiting_since = time.monotonic()
        response = await self._send()
        try:
            _check(response)
            read = response.extensions[_READ]
            while chunk := await read():
                self._waiting_since = None
                batch = self._events.frames(decoder.feed(chunk))
                if batch:
                    yield batch
                if self._events.is_over:
                    return
                self._waiting_since = time.monotonic()
        except EventTooLarge as exc:
            before = self._events.frames(exc.events)
            if before:
                yield before
            if not self._events.is_over:
                raise UpstreamProtocol("The agent sent an event that is too large.") from exc
            return
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as exc:
            raise UpstreamEof from exc
        finally:
            self._waiting_since = None
            self._report()
            await response.aclose()
        raise UpstreamEof

    async def watch_silence(self) -> NoReturn:
        """Raise when the agent has said nothing for ``REQUEST_TIMEOUT``: no connection, no first byte, no next one.

        One timer for the whole answer, so a token costs no timer. (And the transport's own read time-out never
        fires after a broken chunk size.)

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
                return await self._http.send(self._request(), stream=True)
            except (httpx.HTTPError, aiohttp.ClientError, OSError) as exc:
                if not _is_refused(exc):
                    raise _broken(exc) from exc
                if time.monotonic() + pause_seconds > give_up_at:
                    raise UpstreamUnavailable from exc
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2

    def _request(self) -> httpx.Request:
        turn = self._turn
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "Idempotency-Key": turn.turn_id,
            "X-Internal-Auth": conf.internal_api_keys[0],
            "X-Request-ID": turn.turn_id,
        }
        if turn.subject is not None:
            headers["X-Subject"] = turn.subject
        payload = json_text.encode({**turn.message, "session_id": turn.session_id})
        return self._http.build_request(
            "POST", conf.agent_url + MESSAGE_PATH, headers=headers, content=payload.encode()
        )

    def _report(self) -> None:
        metrics.EVENTS_LATE.inc(self._events.late)
        for cause, number in self._events.skipped.items():
            if number:
                metrics.EVENTS_SKIPPED.labels(cause).inc(number)
                logger.warning("turn %s: %d %s events of the agent were left out", self._turn.turn_id, number, cause)


class _Transport(AiohttpTransport):
    """The transport, with the body also readable without httpx' four iterators around it: 5 µs a token."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await super().handle_async_request(request)
        body = cast(Any, response.stream)._aiohttp_response  # aiohttp's, which its author hides
        response.extensions[_READ] = body.content.readany
        return response


def _session() -> aiohttp.ClientSession:
    """Make the transport's session: no bound, no cookies, and no connection used twice.

    A kept-alive connection may close in the instant a message goes out on it; then nobody knows whether the agent
    acted on the message, and it must not be sent again.
    """
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def _check(response: httpx.Response) -> None:
    """Refuse an answer that is no event stream."""
    if response.status_code in _UNAVAILABLE:
        raise UpstreamUnavailable(_retry_after_seconds(response.headers.get("retry-after", "")))
    if not response.is_success:
        raise UpstreamError
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if media_type != "text/event-stream" or encoding != "identity":
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


def _is_refused(exc: Exception) -> bool:
    """Did the connection fail before anything was sent? httpx-aiohttp hides that behind one class; its cause tells."""
    return _is_or_stems_from(exc, aiohttp.ClientConnectorError)


def _broken(exc: Exception) -> UpstreamError:
    """Say what it means that no response came although the request went out."""
    came_with_head = "chunk size" in str(exc)  # a broken transfer coding; aiohttp has no class for it here
    if _is_or_stems_from(exc, aiohttp.ClientResponseError) and not came_with_head:
        return UpstreamProtocol("The agent did not answer in HTTP.")
    return UpstreamEof()


def _is_or_stems_from(exc: Exception, kind: type[Exception]) -> bool:
    return isinstance(exc, kind) or isinstance(exc.__cause__, kind)


def _redact(text: str) -> str:
    return redact(text, conf.internal_api_keys)
