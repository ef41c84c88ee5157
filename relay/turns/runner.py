"""Runs the turns of sessions: one at a time in each, first in first out, whether or not a client is connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from contextvars import Context
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from structlog.contextvars import bound_contextvars

from relay.agent.answer import Agent, Answer
from relay.agent.protocols.base import PastTurn
from relay.conf import conf
from relay.exceptions import (
    BufferLost,
    Interrupted,
    LeaseLost,
    RelayError,
    ShuttingDown,
    StoreUnavailable,
    TurnCancelled,
    TurnTimeout,
    UpstreamEof,
)
from relay.layers.base import SessionLayer
from relay.layers.values import NewNotification, Turn, new_id
from relay.observability import logging_config, metrics, places
from relay.protocol import frames
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.protocol.frames import Frame, ReplayGap
from relay.protocol.trace_context import trace_id
from relay.tasks import cancel_and_wait, first_completed
from relay.transcripts.answer_parts import AnswerParts
from relay.transcripts.history import PAGE_FRAMES, History
from relay.transcripts.writer import Transcripts
from relay.turns.ended import describe_end, notification
from relay.turns.recorder import TurnRecorder, ended_turn
from relay.turns.signal_sender import SignalSender
from relay.turns.tracing import Tracing
from relay.webhooks.sender import Webhooks

T = TypeVar("T")

logger = logging.getLogger(__name__)

FRAMES_AN_ITERATION: Final = 32  # as many as the slowest kind of viewer, an event stream, sends in one iteration
OUTAGE_PAUSE_SECONDS: Final = 0.5  # between attempts; each attempt waits for LEASE_SECONDS by itself


class Runner:
    """Runs turns in this process, with a task for each session that has work."""

    def __init__(
        self,
        layer: SessionLayer,
        agent: Agent,
        transcripts: Transcripts,
        history: History,
        tracing: Tracing,
        webhooks: Webhooks,
    ) -> None:
        self._layer = layer
        self._agent = agent
        self._transcripts = transcripts
        self._history = history
        self._webhooks = webhooks
        self._signals = SignalSender()
        self._tracing = tracing
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._woken: set[str] = set()
        self._is_draining = False
        self._slots = asyncio.Semaphore(conf.max_concurrent_turns)

    def wake(self, session_id: str) -> None:
        """Run the turns of a session that may have work, until there are none or another worker has the lease."""
        self._woken.add(session_id)
        if session_id not in self._tasks:
            # In a context of its own: the log lines of its turns do not carry the id of the request that woke it.
            running, name = self._run_session(session_id), f"session {session_id}"
            self._tasks[session_id] = asyncio.create_task(running, name=name, context=Context())

    async def drain(self, deadline: asyncio.Event) -> None:
        """Let the turns here finish, until ``deadline`` is set; then ``stop``.

        Queued turns run too, unless another process can run them: such turns are left to it at once.
        """
        self._is_draining = True
        await first_completed(self._wait_idle(), deadline.wait())
        await self.stop()

    async def _wait_idle(self) -> None:
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def stop(self) -> None:
        """End the running turns with ``shutting_down``; queued turns too, if no other process can run them."""
        self._is_draining = True
        await cancel_and_wait(*self._tasks.values())
        await self._agent.close()
        if not self._layer.survives_process:
            await self._end_queued()
        await self._signals.stop()

    async def _run_session(self, session_id: str) -> None:
        logging_config.bind(session_id=session_id)
        try:
            while session_id in self._woken:
                self._woken.discard(session_id)
                await self._run_turns(session_id)
        except Exception:
            logger.exception("runner failed; the sweeper will try again")
        finally:  # no await since the last look at _woken, so no wake is lost
            del self._tasks[session_id]
            self._woken.discard(session_id)

    async def _end_queued(self) -> None:
        for session_id in await self._layer.pending(conf.max_sessions):
            while (turn := await self._layer.claim(session_id, new_id())) is not None:
                with bound_contextvars(session_id=session_id, turn_id=turn.turn_id):
                    recorder = TurnRecorder(turn)
                    self._end(recorder, await self._finish_at_once(recorder))

    async def _run_turns(self, session_id: str) -> None:
        while True:
            async with self._slots:
                if self._is_draining and self._layer.survives_process:
                    return
                # With the same claim id in each attempt: a claim whose reply was lost is this worker's already.
                turn = await _retry_until_stored(partial(self._layer.claim, session_id, new_id()))
                if turn is None:
                    return
                recorder = TurnRecorder(turn)
                with (
                    metrics.TURNS_RUNNING.track_inprogress(),
                    self._tracing.span(recorder),
                    bound_contextvars(**_names(turn)),
                ):
                    await self._run_turn(turn, recorder)

    async def _run_turn(self, turn: Turn, recorder: TurnRecorder) -> None:
        try:
            self._end(recorder, await self._finish(turn, recorder))
        except LeaseLost:
            recorder.lease_lost()
        except asyncio.CancelledError:
            with suppress(StoreUnavailable, LeaseLost):  # then it is, or will be, ended by another worker
                self._end(recorder, await self._finish_at_once(recorder))
            raise

    async def _finish_at_once(self, recorder: TurnRecorder) -> Frame:
        """End a turn because this process ends."""
        terminal = frames.error(recorder.turn.turn_id, ShuttingDown())
        return await self._layer.finish(recorder.turn, terminal, self._notification(recorder, terminal))

    def _notification(self, recorder: TurnRecorder, terminal: Frame) -> NewNotification | None:
        if not self._webhooks.is_on:
            return None
        try:
            return notification(recorder, terminal)
        except Exception:  # the turn must end all the same
            logger.exception("webhook not written")
            return None

    def _end(self, recorder: TurnRecorder, terminal: Frame) -> None:
        recorder.finish(terminal)
        if self._transcripts.is_on:
            self._transcripts.keep(ended_turn(recorder))
        if self._webhooks.is_on:
            self._webhooks.wake()
        if self._signals.has_receivers:
            self._signals.send(describe_end(recorder, terminal))

    async def _finish(self, turn: Turn, recorder: TurnRecorder) -> Frame:
        """Run the turn and store its terminal frame, however long the store is out of reach."""
        try:
            terminal = await self._terminal(turn, recorder)
            told = self._notification(recorder, terminal)
            return await _retry_until_stored(partial(self._layer.finish, turn, terminal, told))
        except LeaseLost:
            if not self._layer.survives_process:
                raise
        # Refused if another worker has the turn; if none has, the store has lost it.
        told = self._notification(recorder, frames.error(turn.turn_id, BufferLost()))
        return await _retry_until_stored(partial(self._layer.reset, turn, recorder.answer, told))

    async def _terminal(self, turn: Turn, recorder: TurnRecorder) -> Frame:
        """Run the turn and return its terminal frame, in every case but a lost lease."""
        try:
            if turn.is_abandoned:
                await self._load_partial_answer(turn, recorder)
                raise Interrupted
            if turn.is_cancelled:
                raise TurnCancelled
            return await self._answer(turn, recorder)
        except LeaseLost:
            raise
        except TurnCancelled:
            return frames.final(turn.turn_id, "cancelled")
        except RelayError as exc:
            if exc.__cause__ and not recorder.evidence.cause:
                recorder.evidence.cause = type(exc.__cause__).__name__
            return frames.error(turn.turn_id, exc)
        except Exception:
            logger.exception("turn failed unexpectedly")
            return frames.error(turn.turn_id, RelayError())

    async def _load_partial_answer(self, turn: Turn, recorder: TurnRecorder) -> None:
        """Read for the transcript the answer that another worker stored for this turn, as far as the log has it."""
        if not self._transcripts.is_on:
            return
        try:
            state = await self._layer.get(turn.session_id)
            after = UNKNOWN if state is None else Cursor(state.epoch, state.active_after)
            while page := await self._layer.read(turn.session_id, after, PAGE_FRAMES):
                recorder.parts.add(page)
                after = Cursor(after.epoch, page[-1].offset)
        except ReplayGap as gap:  # its head is trimmed: the text is kept, and no events
            recorder.parts = AnswerParts(0)
            if gap.snapshot.turn_id == turn.turn_id and gap.snapshot.text:
                recorder.parts.texts = [gap.snapshot.text]
        except StoreUnavailable:
            logger.info("turn %s: transcript without text: store unavailable", turn.turn_id)

    async def _answer(self, turn: Turn, recorder: TurnRecorder) -> Frame:
        answer = self._agent.ask(turn, partial(self._past_turns, turn))
        try:
            async with asyncio.timeout(conf.turn_timeout_seconds):
                return await first_completed(
                    self._relay(turn, answer, recorder), self._guard(turn), answer.watch_silence()
                )
        except TimeoutError as exc:
            raise TurnTimeout from exc
        finally:
            recorder.usage, recorder.evidence = answer.usage, answer.evidence

    async def _past_turns(self, turn: Turn) -> list[PastTurn]:
        """Read what was said before a turn, for agents that keep no history."""
        return [PastTurn(kept.message, kept.answer) for kept in await self._history.before(turn)]

    async def _relay(self, turn: Turn, answer: Answer, recorder: TurnRecorder) -> Frame:
        """Store the answer as it arrives.

        The recorder collects it for transcripts, and in case the store loses it.
        """
        is_told = self._webhooks.is_on or self._signals.has_receivers
        is_collecting = self._layer.survives_process or self._transcripts.is_on or is_told
        sink = _LogSink(self._layer, answer, recorder, is_collecting=is_collecting)
        async with aclosing(answer.batches(sink)) as batches:
            async for batch in batches:
                if is_collecting:
                    recorder.parts.add(batch)
                if not batch[-1].is_terminal:
                    await self._layer.append(turn, batch)
                    recorder.appended(answer.tokens)
                    await _let_viewers_catch_up(len(batch))
                    continue
                if len(batch) > 1:
                    await self._layer.append(turn, batch[:-1])
                    recorder.appended(answer.tokens)
                await self._layer.wait_appended(turn)  # without its last token the answer is not complete
                return batch[-1]
        raise UpstreamEof

    async def _guard(self, turn: Turn) -> NoReturn:
        """Keep the lease while the agent is silent, and notice a cancel at once."""
        while True:
            try:
                async with asyncio.timeout(conf.lease_seconds / 3):
                    await self._layer.wait_cancelled(turn)
            except TimeoutError:
                pass  # it is time to renew
            await self._layer.renew(turn)


class _LogSink:
    """A ``FrameSink``: starts to store frames in the call that decodes them."""

    def __init__(self, layer: SessionLayer, answer: Answer, recorder: TurnRecorder, *, is_collecting: bool) -> None:
        self._append_nowait = layer.append_nowait
        self._answer = answer
        self._recorder = recorder
        self._is_collecting = is_collecting

    def push(self, frames: list[Frame]) -> bool:
        """See ``FrameSink``."""
        if len(frames) > FRAMES_AN_ITERATION:
            return False  # viewers here must catch up: see ``_let_viewers_catch_up``
        recorder = self._recorder
        if not self._append_nowait(recorder.turn, frames, partial(recorder.appended, self._answer.tokens)):
            return False
        if self._is_collecting:
            recorder.parts.add(frames)
        return True


def _names(turn: Turn) -> dict[str, str]:
    """Return the names that every log line of a turn carries."""
    names = {"turn_id": turn.turn_id}
    return names if turn.traceparent is None else {**names, "trace_id": trace_id(turn.traceparent)}


async def _retry_until_stored(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Repeat a call of the layer through an outage, until the store has executed it once."""
    attempts = 0
    while True:
        attempts += 1
        try:
            result = await call()
        except StoreUnavailable as exc:
            if attempts == 1:
                reason = exc.reason or "it does not answer"
                logger.warning("turn start or end waits for the store: %s", reason, extra={"store": places.stores()})
            await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
        else:
            if attempts > 1:
                logger.info("turn start or end stored after %d attempts", attempts)
            return result


async def _let_viewers_catch_up(frames_ahead: int) -> None:
    """Let the viewers here run before more is read: an agent may be faster than all that is done with its frames.

    This only yields to the event loop: a client that does not read delays nothing.
    """
    for _ in range(frames_ahead // FRAMES_AN_ITERATION):
        await asyncio.sleep(0)
