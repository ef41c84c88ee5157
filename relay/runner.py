"""Runs sessions' turns, one at a time each, first in first out, whatever sockets come and go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final, NoReturn, TypeVar

from relay import frames, metrics
from relay.agent import AgentClient, Answer
from relay.conf import conf
from relay.exceptions import (
    Interrupted,
    LeaseLost,
    RelayError,
    ShuttingDown,
    StoreUnavailable,
    TurnCancelled,
    TurnTimeout,
    UpstreamEof,
)
from relay.frames import Frame
from relay.layers.base import SessionLayer
from relay.layers.values import Turn, new_id

T = TypeVar("T")

logger = logging.getLogger(__name__)

OUTAGE_PAUSE_SECONDS: Final = 0.5  # between attempts to store an end; each waits for LEASE_SECONDS by itself


class Runner:
    """The turns that this process runs: a task for each session that has work."""

    def __init__(self, layer: SessionLayer, agent: AgentClient) -> None:
        self._layer = layer
        self._agent = agent
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._woken: set[str] = set()
        self._is_draining = False
        self._slots = asyncio.Semaphore(conf.max_concurrent_turns)

    def wake(self, session_id: str) -> None:
        """See to a session that may have work: run it until there is none, or another worker has it."""
        self._woken.add(session_id)
        if session_id not in self._tasks:
            self._tasks[session_id] = asyncio.create_task(self._run_session(session_id), name=f"session {session_id}")

    async def drain(self, hurry: asyncio.Event) -> None:
        """Let the turns here finish, until ``hurry`` is set; then ``stop``.

        Queued ones too, unless another process can run them: those are left to it at once.
        """
        self._is_draining = True
        hurrying = asyncio.create_task(hurry.wait())
        while self._tasks and not hurry.is_set():
            ending = asyncio.create_task(asyncio.wait(list(self._tasks.values())))
            either: list[asyncio.Task[Any]] = [hurrying, ending]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
        hurrying.cancel()
        await self.stop()

    async def stop(self) -> None:
        """End the running turns with ``shutting_down``; queued ones too, if no other process can run them."""
        self._is_draining = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not self._layer.survives_process:
            await self._end_queued()

    async def _run_session(self, session_id: str) -> None:
        try:
            while session_id in self._woken:
                self._woken.discard(session_id)
                await self._run_turns(session_id)
        except StoreUnavailable:
            logger.warning("session %s: the store is out of reach; the sweeper will try again", session_id)
        except Exception:
            logger.exception("session %s: the runner failed; the sweeper will try again", session_id)
        finally:  # no await since the last look at _woken, so no wake is lost
            del self._tasks[session_id]
            self._woken.discard(session_id)

    async def _end_queued(self) -> None:
        for session_id in await self._layer.pending(conf.max_sessions):
            while (turn := await self._layer.claim(session_id, new_id())) is not None:
                await self._layer.finish(turn, frames.error(turn.turn_id, ShuttingDown()))
                metrics.TURNS.labels(ShuttingDown.code).inc()

    async def _run_turns(self, session_id: str) -> None:
        while True:
            async with self._slots:
                if self._is_draining and self._layer.survives_process:
                    return
                turn = await self._layer.claim(session_id, new_id())
                if turn is None:
                    return
                await self._run_turn(turn)

    async def _run_turn(self, turn: Turn) -> None:
        started_at = time.monotonic()
        said: list[str] = []
        try:
            terminal = await self._finish(turn, said)
        except LeaseLost:
            metrics.LEASES_LOST.inc()
            logger.warning("turn %s: another worker has taken it over", turn.turn_id)
            return
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):  # it runs out of its lease then, and is ended by another worker
                await self._layer.finish(turn, frames.error(turn.turn_id, ShuttingDown()))
            metrics.TURNS.labels(ShuttingDown.code).inc()
            raise
        reason = _reason(terminal)
        metrics.TURNS.labels(reason).inc()
        logger.info("turn %s ended: %s, %.3f s", turn.turn_id, reason, time.monotonic() - started_at)

    async def _finish(self, turn: Turn, said: list[str]) -> Frame:
        """Run the turn and store its end, however long the store is out of reach."""
        try:
            terminal = await self._terminal(turn, said)
            return await self._until_stored(lambda: self._layer.finish(turn, terminal))
        except LeaseLost:
            if not self._layer.survives_process:
                raise
        # Refused if another worker has the turn; else the store has lost it.
        return await self._until_stored(lambda: self._layer.reset(turn, "".join(said)))

    async def _until_stored(self, call: Callable[[], Coroutine[Any, Any, Frame]]) -> Frame:
        """Repeat a call through an outage: each attempt waits, and stores once."""
        while True:
            try:
                return await call()
            except StoreUnavailable:
                logger.warning("the store is out of reach: the end of a turn waits")
                await asyncio.sleep(OUTAGE_PAUSE_SECONDS)

    async def _terminal(self, turn: Turn, said: list[str]) -> Frame:
        """Run the turn and give its terminal frame, in every case but a lost lease."""
        try:
            if turn.is_abandoned:
                raise Interrupted
            if turn.is_cancelled:
                raise TurnCancelled
            return await self._answer(turn, said)
        except LeaseLost:
            raise
        except TurnCancelled:
            return frames.final(turn.turn_id, "cancelled")
        except RelayError as exc:
            logger.info("turn %s: %s (%s)", turn.turn_id, exc.code, type(exc.__cause__).__name__)
            return frames.error(turn.turn_id, exc)
        except Exception:
            logger.exception("turn %s: a bug of ours", turn.turn_id)
            return frames.error(turn.turn_id, RelayError())

    async def _answer(self, turn: Turn, said: list[str]) -> Frame:
        answer = self._agent.ask(turn)
        try:
            async with asyncio.timeout(conf.turn_timeout_seconds):
                return await _race(self._relay(turn, answer, said), self._guard(turn), answer.watch_silence())
        except TimeoutError as exc:
            raise TurnTimeout from exc

    async def _relay(self, turn: Turn, answer: Answer, said: list[str]) -> Frame:
        """Store the answer as it comes; ``said`` collects its text, for a store that loses its own."""
        async with aclosing(answer.batches()) as batches:
            async for batch in batches:
                if self._layer.survives_process:
                    said.extend(frame.token_text for frame in batch)
                if not batch[-1].is_terminal:
                    await self._layer.append(turn, batch)
                    continue
                if len(batch) > 1:
                    await self._layer.append(turn, batch[:-1])
                return batch[-1]
        raise UpstreamEof

    async def _guard(self, turn: Turn) -> NoReturn:
        """Keep the lease while the agent is silent, and notice a cancel at once."""
        while True:
            try:
                async with asyncio.timeout(conf.lease_seconds / 3):
                    await self._layer.wait_cancelled(turn)
            except TimeoutError:
                pass  # time to renew
            await self._layer.renew(turn)


async def _race(*contenders: Coroutine[Any, Any, T]) -> T:
    """Run coroutines until the first is done, end the others, and give its result or its error.

    Of several that are done at once the first named wins.
    """
    tasks = [asyncio.create_task(contender) for contender in contenders]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return winner.result()


def _reason(terminal: Frame) -> str:
    """Name how a turn ended, with few values: a metric's label."""
    if terminal.kind is frames.FrameKind.ERROR:
        return frames.error_code(terminal)
    return "cancelled" if terminal.members == '"finish_reason":"cancelled"' else "answered"
