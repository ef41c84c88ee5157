"""Agents that are asked over HTTP: one message in, frames out. Knows HTTP and events, and no protocol of agents."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Final

import httpx

from relay.agent.answer import MAX_DETACHMENTS, Agent, Answer, AnswerState, History, no_history
from relay.agent.asking import ask, check, redacted_words
from relay.agent.http_request import HttpRequest
from relay.agent.passing import PathRequest, request_to_agent
from relay.agent.portions import DENSE_PORTION_BYTES
from relay.agent.protocols.base import (
    AgentProtocol,
    AgentRequest,
)
from relay.agent.protocols.run import RunLost
from relay.agent.rejoining import (
    WHOLE_PAUSE_SECONDS,
    Detachment,
    Rejoining,
    RunGone,
    full_jitter,
    protocol_label,
    read_whole,
)
from relay.agent.requests import (
    agent_settings,
    redact_answer,
    redact_content_type,
    rejoin_request,
    stop_request,
    turn_request,
)
from relay.agent.transport import Exchange, UpstreamTransport
from relay.conf import conf
from relay.exceptions import (
    AgentEventTooLarge,
    AnswerTooLong,
    Interrupted,
    RelayError,
    UpstreamEof,
    UpstreamError,
    UpstreamTimeout,
)
from relay.layers.live import FrameSink
from relay.layers.values import AgentPosition, Turn
from relay.observability import metrics
from relay.protocol.event_stream import Event, EventStreamDecoder, EventTooLarge
from relay.protocol.frames import Frame

logger = logging.getLogger(__name__)

MAX_FRAMING: Final = 8  # bytes of an answer's body, for each byte that its events may have
STOP_SECONDS: Final = 5.0  # for the request that stops a closed answer


class AgentClient(Agent):
    """Sends messages to an agent over HTTP, from one event loop."""

    def __init__(self, protocol: AgentProtocol) -> None:
        self._transport = UpstreamTransport()
        self._protocol = protocol
        self._stops: set[asyncio.Task[None]] = set()  # requests that stop closed answers
        for result in metrics.RESUME_RESULTS:
            metrics.UPSTREAM_RESUMES.labels(protocol_label(), result)

    def ask(self, turn: Turn, history: History = no_history) -> HttpAnswer:
        """See ``Agent``."""
        return HttpAnswer(self._transport, self._protocol, turn, history, self._stop)

    def go_on(self, turn: Turn, so_far: Sequence[Frame], *, is_whole: bool) -> HttpAnswer | None:
        """See ``Agent``."""
        if turn.position is None or not conf.agent_resume_seconds:
            return None
        answer = self.ask(turn)
        return answer if answer.take_over(turn.position, so_far, is_whole=is_whole) else None

    async def open_path(self, request: PathRequest) -> Exchange:
        """See ``Agent``."""
        return await self._transport.send(request_to_agent(request, is_own=self._protocol.is_own))

    async def close(self) -> None:
        """See ``Agent``."""
        while self._stops:
            await asyncio.wait(list(self._stops))

    def _stop(self, request: HttpRequest) -> None:
        stop = asyncio.create_task(self._send_stop(request), name="stop the agent")
        self._stops.add(stop)
        stop.add_done_callback(self._stops.discard)

    async def _send_stop(self, request: HttpRequest) -> None:
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
        stop: Callable[[HttpRequest], None],
    ) -> None:
        super().__init__(protocol.reader(turn, max_turn_bytes=conf.max_turn_bytes, redact=redact_answer))
        is_able = conf.agent_resumes or not self._events.is_resumed_if_told
        self._events.may_resume = is_able and conf.agent_resume_seconds > 0
        self._transport = transport
        self._protocol = protocol
        self._turn = turn
        self._history = history
        self._stop = stop
        self._decoder = EventStreamDecoder(conf.max_event_bytes)
        self._bytes_left = MAX_FRAMING * conf.max_turn_bytes
        self._asked: AgentRequest
        self._exchange: Exchange | None = None
        self._sink: FrameSink | None = None
        self._refused: list[Frame] = []  # by the sink; ``batches`` gives them
        self._failure: Exception | None = None  # raised once ``_refused`` is given
        self._is_dense = False  # was much read at once? Then others run first
        self._is_known_elsewhere = False  # was a position given, with frames or without?
        self._is_taken_over = False
        self._is_left = False
        self._silence: UpstreamTimeout | None = None  # why the connection was given up
        self._rejoined_at: float | None = None
        self._backoff = full_jitter()
        self._detached_at: float | None = None  # since when the agent has sent nothing new
        self._seen: str | None = None  # the last event at that moment

    async def batches(self, sink: FrameSink | None = None) -> AsyncGenerator[list[Frame], None]:
        """See ``Answer``: send the message. Closing the iterator closes the connection, and stops the agent."""
        self._sink = sink
        if self._is_taken_over:
            self._asked = self._protocol.request(self._turn, (), agent_settings())
        else:
            request = await self._request()
            self._waiting_since = time.monotonic()
            self._take_up(await ask(self._transport, request, self.evidence, self._restart_silence))
        try:
            if self._exchange is None:
                await self._rejoin(Interrupted())
            else:
                await check(self._exchange, self._events, self.evidence)
                self._events.opened(self._exchange.headers)
            while self._refused or not self._events.is_over:
                try:
                    batch = await self._next_batch()
                except (httpx.HTTPError, UpstreamEof) as exc:
                    await self._rejoin(self._broken(exc))
                except RunLost as exc:
                    raise self._lost() from exc
                else:
                    yield batch
        finally:
            self.state = AnswerState.ENDED
            self._waiting_since = None
            self._report()
            self._close()
            if not self._is_left:
                self.stop()

    async def _next_batch(self) -> list[Frame]:
        """Wait for frames that the sink does not accept, for the end, or for the answer's first position."""
        while True:
            if self._refused:
                refused, self._refused = self._refused, []
                return refused
            if self._failure is not None:
                raise self._failure
            if self._events.run is not None and not self._is_known_elsewhere:
                self._is_known_elsewhere = True
                return []
            if self._events.wants_whole:
                await self._read_beside()
                continue
            if self._is_dense:
                await asyncio.sleep(0)  # more may have arrived, so the next call will not wait: others run first
            if self._waiting_since is None:
                self._waiting_since = time.monotonic()
            assert self._exchange is not None  # noqa: S101 - an invariant of this class, not outside input
            size = await self._exchange.pump(self._receive)
            self._is_dense = size >= DENSE_PORTION_BYTES
            if not size:
                return self._events.end_of_body(is_within_event=self._decoder.is_within_event)

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
        if is_ended or self._refused or self._events.wants_whole or (not frames and self._has_news()):
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

    def _has_news(self) -> bool:
        return self._events.run is not None and not self._is_known_elsewhere

    # A run that can be rejoined.

    def take_over(self, position: AgentPosition, so_far: Sequence[Frame], *, is_whole: bool) -> bool:
        """Go on where another worker ended. Returns whether that is possible."""
        self._is_taken_over = self._is_known_elsewhere = True
        return self._events.take_over(position, so_far, is_whole=is_whole)

    def leave(self) -> None:
        """See ``Answer``."""
        self._is_left = self._events.run is not None

    def stop(self) -> None:
        """See ``Answer``: ask the agent to stop, if this is not the answer's end and to close the connection is not
        enough.
        """
        if self._is_taken_over and self.state is AnswerState.ASKING:
            self._asked = self._protocol.request(self._turn, (), agent_settings())
        if not self._events.is_over and (request := self._events.stop_request(self._asked)) is not None:
            self._stop(stop_request(self._protocol, self._turn, request))

    def _give_up_connection(self) -> bool:
        if self._events.run is None or self.state is not AnswerState.STREAMING:
            return False
        if self._waiting_since == self._rejoined_at:
            return False  # nothing has come since the last time
        self._silence = UpstreamTimeout(self._silence_seconds)
        self._close()
        return True

    def _broken(self, exc: httpx.HTTPError | UpstreamEof) -> UpstreamError:
        """Return the error in which the turn ends if the answer cannot continue."""
        silence, self._silence = self._silence, None
        if silence is not None:
            return silence
        if isinstance(exc, UpstreamEof):
            return exc
        self.evidence.cause = redacted_words(str(exc))  # may quote the response's head
        failure = UpstreamEof()
        failure.__cause__ = exc
        return failure

    async def _rejoin(self, failure: RelayError) -> None:
        """Connect to the agent's run again, or raise the failure."""
        asked = self._events.rejoin_request(self._asked)
        if asked is None:
            raise failure
        self.state = AnswerState.DETACHED
        self._waiting_since = None
        self._close()
        seen = self._events.run.seen if self._events.run is not None else None
        if self._detached_at is None or seen != self._seen:
            self._detached_at, self._seen = time.monotonic(), seen
            self._backoff.reset()
        rejoining = Rejoining(self._transport, self._backoff)
        result = "cancelled"
        try:
            exchange = await self._connect(rejoining, asked, self._detached_at + conf.agent_resume_seconds)
            result = "resumed"
        except RunGone as exc:
            result = "gone"
            self.evidence.cause = f"its run is gone: {exc}"
            raise failure from exc
        except TimeoutError as exc:
            result = "gave_up"
            raise failure from exc
        finally:
            self._remember(rejoining.ended(result))
        if exchange is None:
            return
        self._decoder = EventStreamDecoder(conf.max_event_bytes)
        self._bytes_left = MAX_FRAMING * conf.max_turn_bytes
        self._events.rejoined()
        self._take_up(exchange)
        self._rejoined_at = self._waiting_since = time.monotonic()

    async def _connect(self, rejoining: Rejoining, asked: AgentRequest, give_up_at: float) -> Exchange | None:
        """Connect to the run; ``None``: it has ended meanwhile, and was read as a whole.

        Raises:
            RunGone: the agent cannot continue with it.
            TimeoutError: there was no answer in time.
        """
        while True:
            request = rejoin_request(self._protocol, self._turn, asked)
            try:
                return await rejoining.connect(request, give_up_at - time.monotonic())
            except RunGone as exc:
                if self._events.result_request(self._asked) is None:
                    raise
                try:
                    is_read = await self._read_whole()
                except RunLost:
                    raise exc from None
                if self._events.is_over:
                    return None
                if is_read:
                    raise

    async def _read_beside(self) -> None:
        """Read the run as a whole beside its stream, a moment after an event that has no place of its own.

        Raises:
            UpstreamEof: that failed.
            RunLost: the run does not continue where the answer is.
        """
        self._waiting_since = None
        await asyncio.sleep(WHOLE_PAUSE_SECONDS)
        try:
            is_read = await self._read_whole()
        except RunGone as exc:
            raise UpstreamEof from exc
        if not is_read:
            raise UpstreamEof

    async def _read_whole(self) -> bool:
        """Read the run as a whole. Returns whether the agent has given it.

        Raises:
            RunGone: the agent has refused it.
            RunLost: it does not continue where the answer is.
        """
        asked = self._events.result_request(self._asked)
        assert asked is not None  # noqa: S101 - an invariant of readers, not outside input
        data = await read_whole(self._transport, rejoin_request(self._protocol, self._turn, asked))
        if data is None:
            return False
        self._events.rejoined()
        self._refused = self._events.frames([Event(data, "", "")])
        return True

    def _lost(self) -> RelayError:
        """Return the error of an answer whose run does not continue where it is."""
        self._remember(Rejoining(self._transport, self._backoff).ended("lost"))
        self.evidence.cause = "its run does not continue at the answer's position"
        return Interrupted() if self._is_taken_over else UpstreamEof()

    def _remember(self, detachment: Detachment) -> None:
        if len(self.detachments) < MAX_DETACHMENTS:
            self.detachments.append(detachment)

    # Its connection.

    def _take_up(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.state = AnswerState.STREAMING
        self.evidence.status = exchange.status_code
        self.evidence.content_type = redact_content_type(exchange.headers.get("content-type", ""))

    def _close(self) -> None:
        if self._exchange is not None:
            self._exchange.close()

    async def _request(self) -> HttpRequest:
        history = () if self._protocol.keeps_history else await self._history()
        self._asked = self._protocol.request(self._turn, history, agent_settings())
        return turn_request(self._protocol, self._turn, self._asked)
