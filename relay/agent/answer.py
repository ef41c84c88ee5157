"""An agent as the runner of turns knows it: it is asked, and its answer is frames."""

from __future__ import annotations

import abc
import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import ClassVar, NoReturn

from relay.agent.failures import Evidence
from relay.agent.passing import PathRequest
from relay.agent.protocols.base import AnswerReader, PastTurn
from relay.agent.protocols.vocabulary import Usage
from relay.agent.transport import Exchange
from relay.conf import conf
from relay.exceptions import UpstreamTimeout
from relay.layers.live import FrameSink
from relay.layers.values import Turn
from relay.observability import metrics
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

History = Callable[[], Awaitable[Sequence[PastTurn]]]
"""Reads the session's last turns, the oldest first. Never raises."""


async def no_history() -> Sequence[PastTurn]:
    """Return no turns."""
    return ()


class Agent(abc.ABC):
    """Answers turns, on one event loop.

    Attributes:
        is_here: does it run in this process, without an address?
    """

    is_here: ClassVar[bool] = False

    @abc.abstractmethod
    def ask(self, turn: Turn, history: History = no_history) -> Answer:
        """Return the answer to come. The agent is asked when its ``batches`` are iterated."""

    async def open_path(self, request: PathRequest) -> Exchange | None:
        """Send a client's request for one of the agent's own paths. The caller closes the exchange.

        Returns:
            The answer, of which the head has arrived; ``None``: this agent has no paths.

        Raises:
            httpx.HTTPError: there is no answer.
        """
        return None

    @abc.abstractmethod
    async def close(self) -> None:
        """Wait for what closed answers have left behind, for some seconds at most."""


class Answer(abc.ABC):
    """The agent's answer to one turn.

    Attributes:
        evidence: the facts that operators need if it fails.
    """

    def __init__(self, events: AnswerReader) -> None:
        self.evidence = Evidence()
        self._events = events
        self._silence_seconds = conf.request_timeout_seconds
        self._waiting_since: float | None = None  # while the gateway waits for the agent; ``None`` while it is busy

    @property
    def tokens(self) -> int:
        """How many tokens there were so far; empty ones do not count."""
        return self._events.tokens

    @property
    def usage(self) -> Usage:
        """The tokens that the agent says it has used so far."""
        return self._events.usage

    @abc.abstractmethod
    def batches(self, sink: FrameSink | None = None) -> AsyncGenerator[list[Frame], None]:
        """Ask the agent; push the frames as they come to ``sink``, and give those that it does not accept.

        The last frame of all is terminal, and is given, not pushed. Closing the iterator stops the agent.

        Raises:
            UpstreamError: the agent cannot be reached, refuses, breaks off, or violates the protocol.
        """

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

    def _restart_silence(self) -> None:
        self._waiting_since = time.monotonic()

    def _report(self) -> None:
        metrics.EVENTS_LATE.inc(self._events.late)
        for cause, number in self._events.skipped.items():
            if number:
                metrics.EVENTS_SKIPPED.labels(cause).inc(number)
                logger.warning("%d %s agent events skipped", number, cause)
