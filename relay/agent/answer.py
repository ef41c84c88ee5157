"""An agent as the runner of turns knows it: it is asked, and its answer is frames."""

from __future__ import annotations

import abc
import asyncio
import enum
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, NoReturn

from relay.agent.failures import Evidence
from relay.agent.passing import PathRequest
from relay.agent.protocols.base import (
    AnswerReader,
    PastTurn,
)
from relay.agent.protocols.vocabulary import Usage
from relay.agent.rejoining import Detachment
from relay.agent.transport import Exchange
from relay.conf import conf
from relay.exceptions import UpstreamTimeout
from relay.layers.live import FrameSink
from relay.layers.values import AgentPosition, Turn
from relay.observability import metrics
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

MAX_DETACHMENTS: Final = 32  # remembered of one answer

History = Callable[[], Awaitable[Sequence[PastTurn]]]
"""Reads the session's last turns, oldest first. Never raises."""


async def no_history() -> Sequence[PastTurn]:
    """Return no turns."""
    return ()


class AnswerState(enum.Enum):
    """Where an answer is on its way."""

    ASKING = enum.auto()  # until the head of the agent's response
    STREAMING = enum.auto()
    DETACHED = enum.auto()  # the connection broke, and the agent's run may be rejoined
    ENDED = enum.auto()


class Agent(abc.ABC):
    """Answers turns, on one event loop.

    Attributes:
        is_here: does it run in this process, without an address?
    """

    is_here: bool = False

    @abc.abstractmethod
    def ask(self, turn: Turn, history: History = no_history) -> Answer:
        """Return the answer to come. The agent is asked when its ``batches`` are iterated."""

    def go_on(self, turn: Turn, so_far: Sequence[Frame], *, is_whole: bool) -> Answer | None:
        """Return the rest of an answer that another worker has read so far; ``None``: the agent cannot continue with
        it.

        Args:
            so_far: the answer's frames in the log.
            is_whole: are they all of them? The oldest may be gone.
        """
        return None

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
        state: see ``AnswerState``.
        evidence: the facts that operators need if it fails.
        detachments: the times in which it was without a connection, at most ``MAX_DETACHMENTS`` of them.
    """

    def __init__(self, events: AnswerReader) -> None:
        self.state = AnswerState.ASKING
        self.evidence = Evidence()
        self.detachments: list[Detachment] = []
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

    @property
    def position(self) -> AgentPosition | None:
        """How far the frames so far go in the agent's run; ``None``: no other worker could continue."""
        run = self._events.run  # every token passes here: no property of the reader
        return None if run is None else run.position

    def leave(self) -> None:  # noqa: B027 - most answers end where they are closed
        """Let closing the iterator not stop the agent: another worker continues with its run."""

    def stop(self) -> None:  # noqa: B027
        """Stop the agent, if closing the iterator does not, or did not because of ``leave``."""

    @abc.abstractmethod
    def batches(self, sink: FrameSink | None = None) -> AsyncGenerator[list[Frame], None]:
        """Ask the agent; push the frames as they arrive to ``sink``, and give those that it does not accept.

        The last frame of all is terminal, and is given, not pushed. Closing the iterator stops the agent.
        An empty batch says that the answer has a ``position`` now, before its first frame.

        Where the agent's run can be rejoined, a connection that breaks is made again, for ``AGENT_RESUME_SECONDS``.

        Raises:
            UpstreamError: the agent cannot be reached, refuses, breaks off, or violates the protocol.
        """

    async def watch_silence(self) -> NoReturn:
        """Raise when nothing has arrived for ``REQUEST_TIMEOUT``: no connection, no first byte, no next one.

        One timer serves the whole answer, so a token costs no timer. Where the agent's run can be rejoined, the
        connection is given up instead, once for each silence: the agent then says whether it is still at work.

        Raises:
            UpstreamTimeout: the agent is silent.
        """
        while True:
            since = self._waiting_since
            silent_seconds = time.monotonic() - since if since is not None else 0.0
            if silent_seconds >= self._silence_seconds:
                if not self._give_up_connection():
                    raise UpstreamTimeout(self._silence_seconds)
                silent_seconds = 0.0
            await asyncio.sleep(self._silence_seconds - silent_seconds)

    def _give_up_connection(self) -> bool:
        """Close a silent connection, to rejoin the agent's run. Returns whether that is possible, and was not tried."""
        return False

    def _restart_silence(self) -> None:
        self._waiting_since = time.monotonic()

    def _report(self) -> None:
        if self._events.late:
            metrics.EVENTS_LATE.inc(self._events.late)
        for cause, number in self._events.skipped.items():
            if number:
                metrics.EVENTS_SKIPPED.labels(cause).inc(number)
                logger.warning("%d %s agent events skipped", number, cause)
