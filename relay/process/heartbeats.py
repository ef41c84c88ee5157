"""Heartbeats of the connections of one event loop: those that are due at the same time are made together.

A timer and a task for each connection would cost more than all else that is done for an idle one. So connections lie in
sets by the moment at which they are due, and only the sets that are due are touched.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from contextvars import Context
from typing import Final, Protocol

from relay.layers.base import SessionLayer
from relay.layers.values import Viewer
from relay.protocol.cursor import Cursor
from relay.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

GROUP: Final = 128  # heartbeats in one iteration of the event loop, and in one call of the session layer
LAYER_SECONDS: Final = 2.0  # for that call; then a connection without an answer asks the layer itself
TICK_SECONDS: Final = 1.0  # moments are rounded up to the next tick,
SHORT_TICK_SECONDS: Final = 1 / 32  # or to one of these, where an interval is shorter than
SHORT_SECONDS: Final = 4.0


class Beating(Protocol):
    """A connection with heartbeats.

    Attributes:
        beats_at: when its next heartbeat is due; ``Heartbeats`` keeps it there.
    """

    beats_at: float | None

    @property
    def viewer(self) -> Viewer:
        """Its entry in the session."""

    def beat(self, newest: Cursor | None) -> None:
        """Make a heartbeat; must neither raise nor wait.

        Args:
            newest: of the session's log, if the viewer was kept attached; ``None``: it must attach itself.
        """


class Heartbeats:
    """Lets connections beat when they are due.

    One whose store does not answer delays no other: each beats when the layer has its answer.
    """

    def __init__(self, layer: SessionLayer) -> None:
        self._layer = layer
        self._due: dict[float, set[Beating]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._is_stopped = False
        self._groups: set[asyncio.Task[None]] = set()

    def schedule(self, connection: Beating, seconds: float) -> None:
        """Let a connection beat once, after so many seconds or a little more; an earlier appointment is cancelled."""
        self.cancel(connection)
        tick_seconds = TICK_SECONDS if seconds >= SHORT_SECONDS else SHORT_TICK_SECONDS
        moment = connection.beats_at = math.ceil((time.monotonic() + seconds) / tick_seconds) * tick_seconds
        self._due.setdefault(moment, set()).add(connection)
        if moment < self._wakes_at and not self._is_stopped:
            self._wake_at(moment)

    def cancel(self, connection: Beating) -> None:
        """Let a connection beat no more."""
        moment, connection.beats_at = connection.beats_at, None
        if moment is None:
            return
        due = self._due[moment]
        due.discard(connection)
        if not due:
            del self._due[moment]

    async def stop(self) -> None:
        """Let no connection beat any more."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        await cancel_and_wait(*self._groups)

    def _wake_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = moment
        seconds = max(moment - time.monotonic(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._wake, context=Context())

    def _wake(self) -> None:
        """Start one group. If more are due, they follow in later iterations of the event loop."""
        self._timer, self._wakes_at = None, math.inf
        group = self._take_group(time.monotonic())
        if group:
            beating = asyncio.get_running_loop().create_task(self._beat(group), name="heartbeats")
            self._groups.add(beating)
            beating.add_done_callback(self._groups.discard)
        if self._due:
            self._wake_at(min(self._due))

    def _take_group(self, now: float) -> list[Beating]:
        group: list[Beating] = []
        while self._due and len(group) < GROUP and (moment := min(self._due)) <= now:
            due = self._due[moment]
            while due and len(group) < GROUP:
                connection = due.pop()
                connection.beats_at = None
                group.append(connection)
            if not due:
                del self._due[moment]
        return group

    async def _beat(self, group: Sequence[Beating]) -> None:
        left = dict(enumerate(group))
        try:
            async with asyncio.timeout(LAYER_SECONDS):
                await self._layer.keep_attached(
                    [connection.viewer for connection in group],
                    lambda place, newest: left.pop(place).beat(newest),
                )
        except TimeoutError:
            logger.debug("heartbeats late: store unavailable")
        except Exception as exc:
            logger.warning("heartbeats failed together: %s", type(exc).__name__)
        for connection in left.values():
            connection.beat(None)
