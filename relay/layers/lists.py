"""Lists of sessions for layers that only know ``active``."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from relay.layers.values import SessionPage, SessionState

Active: TypeAlias = Callable[[str, int], Awaitable[tuple[list[SessionState], str]]]

PAGE: Final = 1_000
MAX_LOOKED_AT: Final = 10_000  # sessions, of which the busiest are chosen


def urgency(state: SessionState) -> tuple[int, float]:
    """Return the key by which the busiest sessions come first."""
    return (0 if state.active_turn_id is not None else 1 if state.queued else 2), state.idle_seconds


async def busiest(active: Active, limit: int) -> SessionPage:
    """Choose the busiest of the first sessions that a layer's ``active`` lists."""
    found: list[SessionState] = []
    looked_at, cursor = 0, ""
    while True:
        states, cursor = await active(cursor, PAGE)
        looked_at += len(states)
        found = heapq.nsmallest(limit, [*found, *states], key=urgency)
        if not cursor or looked_at >= MAX_LOOKED_AT:
            return SessionPage(sessions=found, is_all=not cursor and looked_at <= limit)
