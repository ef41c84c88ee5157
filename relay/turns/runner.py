"""Runs the turns of sessions: one at a time in each, first in first out, whether or not a client is connected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from contextvars import Context
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

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
from relay.protocol.frames import Frame
from relay.protocol.trace_context import trace_id
from relay.signals import turn_ended
from relay.tasks import WatchedBlock, cancel_and_wait, first_completed, running_loop
from relay.transcripts.history import History
from relay.transcripts.writer import Transcripts
from relay.turns import partial_answer
from relay.turns.ended import describe_end, notification
from relay.turns.log_sink import LogSink, let_viewers_catch_up
from relay.turns.recorder import TurnRecorder, ended_turn
from relay.turns.signal_sender import SignalSender
from relay.turns.tracing import Tracing
from relay.webhooks.sender import Webhooks

T = TypeVar("T")

logger = logging.getLogger(__name__)

HAND_OVER_SECONDS: Final = 0.05  # between looks, in a drain, for answers that another process can read on by now
# A turn that is shorter needs no watcher; its lease, its agent's silence and a person's patience all last longer.
WATCHED_AFTER_SECONDS: Final = 0.05
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
        self.signals = SignalSender()
        self._tracing = tracing
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._answers: dict[str, tuple[TurnRecorder, Answer]] = {}  # in flight, by session
        self._leaving: set[asyncio.Task[None]] = set()  # of turns that are handed over
        self._has_resumable = False  # was there an answer that could continue elsewhere?
        self._woken: set[str] = set()
        self._is_draining = False
        self._slots = asyncio.Semaphore(conf.max_concurrent_turns)

    def wake(self, session_id: str) -> None:
        """Run the turns of a session that may have work, until there are none or another worker has the lease."""
        self._woken.add(session_id)
        if session_id not in self._tasks:
            # In a context of its own: the log lines of its turns do not carry the id of the request that woke it.
            running, name = self._run_session(session_id), f"session {session_id}"
            self._tasks[session_id] = running_loop().create_task(running, name=name, context=Context())

    async def drain(self, deadline: asyncio.Event) -> None:
        """Let the turns here finish, until ``deadline`` is set; then ``stop``.

        Queued turns run too, unless another process can run them: such turns are left to it at once, and so are those
        whose answers it can read on.
        """
        self._is_draining = True
        await first_completed(self._wait_idle(), deadline.wait(), self._hand_over_for_ever())
        await self.stop()

    def is_running(self, session_id: str) -> bool:
        """Does a turn of the session run here?"""
        return session_id in self._answers

    @property
    def hands_over(self) -> bool:
        """Do answers of this agent continue in another process when this one ends?"""
        return self._has_resumable and self._layer.survives_process

    async def _wait_idle(self) -> None:
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _hand_over_for_ever(self) -> None:
        while True:
            self._hand_over()
            await asyncio.sleep(HAND_OVER_SECONDS)

    def _hand_over(self) -> None:
        """Leave the answers that another process can read on to it."""
        if not self._layer.survives_process:
            return
        for session_id, (recorder, answer) in self._answers.items():
            if recorder.is_resumable and answer.position is not None and not recorder.is_handed_over:
                recorder.is_handed_over = self._has_resumable = True
                answer.leave()
                task = self._tasks[session_id]
                self._leaving.add(task)
                task.cancel()
                task.add_done_callback(self._leaving.discard)

    async def stop(self) -> None:
        """End the running turns with ``shutting_down``; queued turns too, if no other process can run them.

        An answer that another process can read on is left to it.
        """
        self._is_draining = True
        self._hand_over()
        leaving = [*self._leaving]  # each was cancelled, and a second time would break its release
        await cancel_and_wait(*(task for task in self._tasks.values() if task not in self._leaving))
        await asyncio.gather(*leaving, return_exceptions=True)
        await self._agent.close()
        if not self._layer.survives_process:
            await self._end_queued()
        await self.signals.stop()

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
                with logging_config.bound(session_id=session_id, turn_id=turn.turn_id):
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
                    logging_config.bound(**_names(turn)),
                ):
                    await self._run_turn(turn, recorder)
            if turn.is_last:
                return  # a message that has arrived since wakes this session again

    async def _run_turn(self, turn: Turn, recorder: TurnRecorder) -> None:
        try:
            self._end(recorder, await self._finish(turn, recorder))
        except LeaseLost:
            recorder.lease_lost()
        except asyncio.CancelledError:
            with suppress(StoreUnavailable, LeaseLost):  # then it is, or will be, ended by another worker
                if recorder.is_handed_over:
                    await self._release(recorder)
                else:
                    self._end(recorder, await self._finish_at_once(recorder))
            raise
        if recorder.given_up is not None:
            await self._stop_unless_taken_over(turn, recorder.given_up)

    async def _release(self, recorder: TurnRecorder) -> None:
        """Give up the lease of a turn, and wake the other processes for it."""
        with suppress(RelayError):  # the position that is stored counts
            await self._layer.wait_appended(recorder.turn)
        await self._layer.release(recorder.turn)
        recorder.handed_over()
        await self._layer.publish_order({"order": "wake", "session_id": recorder.turn.session_id})

    async def _finish_at_once(self, recorder: TurnRecorder) -> Frame:
        """End a turn because this process ends."""
        terminal = frames.error(recorder.turn.turn_id, ShuttingDown())
        return await self._layer.finish(recorder.turn, terminal, self._notification(recorder, terminal))

    def _notification(self, recorder: TurnRecorder, terminal: Frame) -> NewNotification | None:
        if not self._webhooks.is_on:
            return None
        try:
            return notification(recorder, terminal)
        except Exception:  # the turn must end nevertheless
            logger.exception("webhook not written")
            return None

    def _end(self, recorder: TurnRecorder, terminal: Frame) -> None:
        recorder.finish(terminal)
        if self._transcripts.is_on:
            self._transcripts.keep(ended_turn(recorder))
        if self._webhooks.is_on:
            self._webhooks.wake(recorder.turn.session_id)
        if self.signals.has_receivers(turn_ended):
            self.signals.send(describe_end(recorder, terminal))

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
                return await self._go_on(turn, recorder)
            if turn.is_cancelled:
                raise TurnCancelled
            return await self._answer(turn, recorder, self._agent.ask(turn, partial(self._past_turns, turn)))
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

    async def _go_on(self, turn: Turn, recorder: TurnRecorder) -> Frame:
        """Go on with a turn of another worker, if the agent can be read on where that one ended."""
        so_far, is_whole = list[Frame](), True
        if turn.position is not None or self._transcripts.is_on:
            try:  # a rest without it would be no answer, wherever it is kept
                so_far, is_whole = await _retry_until_stored(partial(partial_answer.load, self._layer, recorder))
            except LeaseLost:
                if (answer := self._agent.go_on(turn, (), is_whole=False)) is not None:
                    answer.stop()
                raise
        answer = self._agent.go_on(turn, so_far, is_whole=is_whole)
        if answer is None:
            raise Interrupted
        recorder.continues(answer.tokens)
        if turn.is_cancelled:
            answer.stop()
            raise TurnCancelled
        return await self._answer(turn, recorder, answer)

    async def _answer(self, turn: Turn, recorder: TurnRecorder, answer: Answer) -> Frame:
        self._answers[turn.session_id] = recorder, answer
        times_out_at = running_loop().time() + conf.turn_timeout_seconds - turn.ran_seconds
        try:
            async with WatchedBlock(partial(self._watch, turn, answer, times_out_at), WATCHED_AFTER_SECONDS):
                return await self._relay(turn, answer, recorder)
        except LeaseLost:
            await self._stop_unless_taken_over(turn, answer)
            raise
        except StoreUnavailable:
            recorder.given_up = answer
            raise
        finally:
            del self._answers[turn.session_id]
            recorder.usage, recorder.evidence = answer.usage, answer.evidence
            recorder.detachments = answer.detachments

    async def _stop_unless_taken_over(self, turn: Turn, answer: Answer) -> None:
        """Stop the agent of a turn that is this worker's no more, unless another worker continues with it."""
        with suppress(RelayError):
            state = await self._layer.get(turn.session_id)
            if state is None or state.active_turn_id != turn.turn_id:
                answer.stop()

    async def _past_turns(self, turn: Turn) -> list[PastTurn]:
        """Read what was said before a turn, for agents that keep no history."""
        return [PastTurn(kept.message, kept.answer) for kept in await self._history.before(turn)]

    async def _relay(self, turn: Turn, answer: Answer, recorder: TurnRecorder) -> Frame:
        """Store the answer as it arrives.

        The recorder collects it for transcripts, and in case the store loses it.
        """
        is_told = self._webhooks.is_on or self.signals.has_receivers(turn_ended)
        is_collecting = self._layer.survives_process or self._transcripts.is_on or is_told
        sink = LogSink(self._layer, answer, recorder, is_collecting=is_collecting)
        async with aclosing(answer.batches(sink)) as batches:
            try:
                async for batch in batches:
                    if is_collecting:
                        recorder.parts.add(batch)
                    if not batch or not batch[-1].is_terminal:
                        await self._layer.append(turn, batch, position := answer.position)
                        recorder.is_resumable = position is not None
                        self._has_resumable = self._has_resumable or recorder.is_resumable
                        recorder.appended(answer.tokens)
                        await let_viewers_catch_up(len(batch))
                        continue
                    if len(batch) > 1:
                        await self._layer.append(turn, batch[:-1], answer.position)
                        recorder.appended(answer.tokens)
                        await asyncio.sleep(0)  # viewers here read these before a short log loses them to the end
                    await self._layer.wait_appended(turn)  # without its last token the answer is not complete
                    return batch[-1]
            except (LeaseLost, StoreUnavailable):
                answer.leave()
                raise
        raise UpstreamEof

    async def _watch(self, turn: Turn, answer: Answer, times_out_at: float) -> None:
        """End a turn that is cancelled, has lost its lease, whose agent is silent, or that takes too long."""
        try:
            async with asyncio.timeout_at(times_out_at):
                await first_completed(self._guard(turn, answer), answer.watch_silence())
        except TimeoutError as exc:
            raise TurnTimeout from exc

    async def _guard(self, turn: Turn, answer: Answer) -> NoReturn:
        """Keep the lease while the agent is silent, and notice a cancel at once."""
        while True:
            try:
                with suppress(TimeoutError):  # then it is time to renew
                    async with asyncio.timeout(conf.lease_seconds / 3):
                        await self._layer.wait_cancelled(turn)
                await self._layer.renew(turn)
            except (LeaseLost, StoreUnavailable):
                answer.leave()
                raise


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
                logger.warning("turn start or end waits for the store: %s", reason, extra={"store": places.store()})
            await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
        else:
            if attempts > 1:
                logger.info("turn start or end stored after %d attempts", attempts)
            return result
