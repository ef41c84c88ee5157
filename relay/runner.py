"""Runs sessions' turns, one at a time each, first in first out, whatever sockets come and go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, NoReturn, TypeVar

from relay import frames, metrics
from relay.agent import AgentClient, Answer
from relay.conf import conf
from relay.exceptions import (
    Interrupted,
    LeaseLost,
    RelayError,
    ShuttingDown,
    TurnCancelled,
    TurnTimeout,
    UpstreamEof,
)
from relay.frames import Frame
from relay.layers.base import SessionLayer
from relay.layers.values import Turn, new_id

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Runner:
    """The turns that this process runs: a task for each session that has work."""

    def __init__(self, layer: SessionLayer, agent: AgentClient) -> None:
        self._layer = layer
        self._agent = agent
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._woken: set[str] = set()
        self._slots = asyncio.Semaphore(conf.max_concurrent_turns)

    def wake(self, session_id: str) -> None:
        """See to a session that may have work: run it until there is none, or another worker has it."""
        self._woken.add(session_id)
        if session_id not in self._tasks:
            self._tasks[session_id] = asyncio.create_task(self._run_session(session_id), name=f"session {session_id}")

    async def stop(self) -> None:
        """End the running turns with ``shutting_down`` and wait for that."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_session(self, session_id: str) -> None:
        try:
            while session_id in self._woken:
                self._woken.discard(session_id)
                await self._run_turns(session_id)
        except Exception:
            logger.exception("session %s: the runner failed; the sweeper will try again", session_id)
        finally:  # no await since the last look at _woken, so no wake is lost
            del self._tasks[session_id]
            self._woken.discard(session_id)

    async def _run_turns(self, session_id: str) -> None:
        while True:
            async with self._slots:
                turn = await self._layer.claim(session_id, new_id())
                if turn is None:
                    return
                await self._run_turn(turn)

    async def _run_turn(self, turn: Turn) -> None:
        started_at = time.monotonic()
        try:
            terminal = await self._layer.finish(turn, await self._terminal(turn))
        except LeaseLost:
            metrics.LEASES_LOST.inc()
            logger.warning("turn %s: another worker has taken it over", turn.turn_id)
            return
        except asyncio.CancelledError:
            await self._layer.finish(turn, frames.error(turn.turn_id, ShuttingDown()))
            metrics.TURNS.labels(ShuttingDown.code).inc()
            raise
        reason = _reason(terminal)
        metrics.TURNS.labels(reason).inc()
        logger.info("turn %s ended: %s, %.3f s", turn.turn_id, reason, time.monotonic() - started_at)

    async def _terminal(self, turn: Turn) -> Frame:
        """Run the turn and give its terminal frame, in every case but a lost lease."""
        try:
            if turn.is_abandoned:
                raise Interrupted
            if turn.is_cancelled:
                raise TurnCancelled
            return await self._answer(turn)
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

    async def _answer(self, turn: Turn) -> Frame:
        answer = self._agent.ask(turn)
        try:
            async with asyncio.timeout(conf.turn_timeout_seconds):
                return await _race(self._relay(turn, answer), self._guard(turn), answer.watch_silence())
        except TimeoutError as exc:
            raise TurnTimeout from exc

    async def _relay(self, turn: Turn, answer: Answer) -> Frame:
        async with aclosing(answer.batches()) as batches:
            async for batch in batches:
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
