"""Coming back to an agent's run after its connection broke: attempts, and what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Final

import httpx
import msgspec

from relay.agent.http_request import HttpRequest
from relay.agent.protocols import PROTOCOLS
from relay.agent.refusals import is_event_stream, whole_body
from relay.agent.transport import Exchange, UpstreamTransport
from relay.conf import conf
from relay.observability import metrics
from relay.tasks import Backoff

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.2  # at most; an agent that restarts has broken the connections of many turns at once
LONGEST_PAUSE_SECONDS: Final = 5.0
ATTEMPT_SECONDS: Final = 10.0  # until the head of the response
WHOLE_PAUSE_SECONDS: Final = 1.0  # before a run is read as a whole beside its stream: its text then grows in such steps


class RunGone(Exception):
    """The agent says that it cannot continue with a run."""


class Detachment(msgspec.Struct, frozen=True):
    """A time in which an answer was without a connection to its agent.

    Attributes:
        started_at: nanoseconds since the epoch of the system's clock.
        seconds: how long it lasted.
        attempts: how many requests were sent.
        result: ``resumed``, ``gone`` (the agent cannot continue), ``gave_up`` (no time is left), ``lost`` (what it sent
            does not follow what was read) or ``cancelled`` (the turn ended meanwhile).
    """

    started_at: int
    seconds: float
    attempts: int
    result: str


def full_jitter() -> Backoff:
    """Return the pauses between attempts: each of any length up to one that doubles."""
    return Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, least=0.0)


class Rejoining:
    """One detachment, from the broken connection to its end.

    Args:
        backoff: the pauses; they continue where those of the last detachment ended, unless it is reset.
    """

    def __init__(self, transport: UpstreamTransport, backoff: Backoff) -> None:
        self._transport = transport
        self._backoff = backoff
        self._attempts = 0
        self._started_at, self._detached_at = time.time_ns(), time.monotonic()

    async def connect(self, request: HttpRequest, seconds: float) -> Exchange:
        """Send the request until it is answered by an event stream. The caller closes the exchange.

        Args:
            seconds: the time for all attempts.

        Raises:
            RunGone: the agent has refused it.
            TimeoutError: there was no answer in time.
        """
        async with asyncio.timeout(seconds):
            while True:
                await self._backoff.pause()
                exchange = await self._try(request)
                if exchange is not None:
                    return exchange

    async def _try(self, request: HttpRequest) -> Exchange | None:
        self._attempts += 1
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                exchange = await self._transport.send(request)
        except (httpx.HTTPError, TimeoutError):
            return None
        if is_event_stream(exchange.status_code, exchange.headers):
            return exchange
        exchange.close()
        _check_comes_back(exchange.status_code)
        return None

    def ended(self, result: str) -> Detachment:
        """Count the detachment, and write its log line."""
        ended = Detachment(self._started_at, time.monotonic() - self._detached_at, self._attempts, result)
        metrics.UPSTREAM_RESUMES.labels(protocol_label(), result).inc()
        metrics.UPSTREAM_DETACHED.observe(ended.seconds)
        logger.log(
            logging.INFO if result in ("resumed", "cancelled") else logging.WARNING,
            "agent connection broken: %s",
            result,
            extra={"detached_seconds": round(ended.seconds, 4), "attempts": ended.attempts},
        )
        return ended


async def read_whole(transport: UpstreamTransport, request: HttpRequest) -> str | None:
    """Read a run as a whole, as the data of one event; ``None``: the agent does not give it now.

    Raises:
        RunGone: the agent has refused it.
    """
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            exchange = await transport.send(request)
            body = await whole_body(exchange, conf.max_turn_bytes)
    except (httpx.HTTPError, TimeoutError):
        return None
    if exchange.status_code != HTTPStatus.OK:
        _check_comes_back(exchange.status_code)
        return None
    return body.decode("utf-8", "replace")


def _check_comes_back(status: int) -> None:
    """Raise ``RunGone``, unless the agent with this status may answer otherwise soon."""
    if status != HTTPStatus.TOO_MANY_REQUESTS and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise RunGone(str(status))


def protocol_label() -> str:
    """Name the agent's protocol for a metric's label."""
    return conf.agent_protocol if conf.agent_protocol in PROTOCOLS else "other"
