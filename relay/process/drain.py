"""The end of a process that cuts no answer short.

Turns in flight have ``DRAIN_SECONDS`` to finish; those whose answers another process can read on are left to it at
once. Clients are disconnected one after another, each when the turn that it watches is over or left to another process,
or when the time is up: disconnected all at once, they would reconnect all at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import defaultdict
from collections.abc import Collection, Coroutine, Iterator
from typing import Any, Final, Protocol

from relay.exceptions import RelayError, StoreUnavailable
from relay.layers.base import SessionLayer
from relay.layers.values import SessionState
from relay.tasks import cancel_and_wait, first_completed
from relay.turns.runner import Runner

logger = logging.getLogger(__name__)

SPREAD_SECONDS: Final = 0.005  # for each client: 200 a second, which the process that they come back to can take
MAX_SPREAD: Final = 0.8  # of the drain time, however many they are
LOOK_SECONDS: Final = 0.1  # between looks at a session that has work, or more:
LOOKS_A_SECOND: Final = 1_000  # at all sessions together
SEEN_SECONDS: Final = 0.02  # between looks at a client that has not seen all of it
LEAVE_SECONDS: Final = 2.0  # when the time is up: for the last frames and the `disconnect`


class Connection(Protocol):
    """A client that watches a session: a socket, for example."""

    session_id: str

    def has_seen(self, offset: int) -> bool:
        """Was everything up to ``offset`` handed to the server, or has the client left?"""

    async def disconnect(self, reason: RelayError | None = None) -> None:
        """Say why, by default that the server restarts, and close."""

    async def notify(self, text: str) -> None:
        """Send a frame that is not the log's, if the client's dialect has such."""


class Drain:
    """One drain, from the signal to the last client's disconnect."""

    def __init__(self, layer: SessionLayer, runner: Runner, connections: Collection[Connection]) -> None:
        self._layer = layer
        self._runner = runner
        self._connections = connections
        self._look_seconds = LOOK_SECONDS
        self._is_work_over = asyncio.Event()

    async def run(self, seconds: float, deadline: asyncio.Event) -> None:
        """Return when every turn is over and every client was told, soon after ``deadline`` is set at the latest."""
        ending = asyncio.get_running_loop().call_later(seconds, deadline.set)
        leaving = [asyncio.create_task(leave) for leave in self._departures(seconds, deadline)]
        try:
            await self._runner.drain(deadline)
            self._is_work_over.set()
            if leaving:
                await first_completed(asyncio.wait(leaving), deadline.wait())
                await asyncio.wait(leaving, timeout=LEAVE_SECONDS)
        finally:
            ending.cancel()
            await cancel_and_wait(*leaving)

    def _departures(self, seconds: float, deadline: asyncio.Event) -> Iterator[Coroutine[Any, Any, None]]:
        sessions: defaultdict[str, list[Connection]] = defaultdict(list)
        for connection in self._connections:
            sessions[connection.session_id].append(connection)
        self._look_seconds = max(LOOK_SECONDS, len(sessions) / LOOKS_A_SECOND)
        spread_seconds = min(len(self._connections) * SPREAD_SECONDS, seconds * MAX_SPREAD)
        for session_id, connections in sessions.items():
            delay_seconds = random.uniform(0, spread_seconds)  # noqa: S311 - no secret
            yield self._disconnect_session(session_id, connections, delay_seconds, deadline)

    async def _disconnect_session(
        self, session_id: str, connections: list[Connection], delay_seconds: float, deadline: asyncio.Event
    ) -> None:
        await first_completed(asyncio.sleep(delay_seconds), deadline.wait())
        newest = await self._newest_at_rest(session_id, deadline)
        await asyncio.gather(*(_disconnect(connection, newest) for connection in connections))

    async def _newest_at_rest(self, session_id: str, deadline: asyncio.Event) -> int:
        """Wait until the session has no work that this process waits for; give its newest offset, 0 if not known."""
        while True:
            newest, has_work = 0, True
            with contextlib.suppress(StoreUnavailable):
                state = await self._layer.get(session_id)
                newest = 0 if state is None else state.newest
                has_work = state is not None and self._has_work(state)
            if not has_work or (deadline.is_set() and self._is_work_over.is_set()):
                return newest
            await asyncio.sleep(self._look_seconds)

    def _has_work(self, state: SessionState) -> bool:
        if state.active_turn_id is not None:
            return self._runner.is_running(state.session_id) or not self._runner.hands_over
        return bool(state.queued) and not self._layer.survives_process  # else another process continues with it


async def _disconnect(connection: Connection, newest: int) -> None:
    """Let a client see the last frame first, if it reads at all."""
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            while not connection.has_seen(newest):  # noqa: ASYNC110 - a few looks at the end, against an event a frame
                await asyncio.sleep(SEEN_SECONDS)
    except TimeoutError:
        logger.info("session %s: client too slow for the drain", connection.session_id)
    await connection.disconnect()
