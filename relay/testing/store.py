"""The interface by which the contract suite opens a session layer and its store."""

from __future__ import annotations

from abc import ABC, abstractmethod

from relay.layers.base import SessionLayer
from relay.layers.bounds import Bounds
from relay.layers.limits import Limits
from relay.testing.clock import Clock


class Store(ABC):
    """One empty place for sessions, with a clock that stands still: made by the suite for each test.

    A subclass opens layers over it. Their time is ``clock``: a function that returns seconds.
    """

    def __init__(self) -> None:
        self.clock = Clock()

    @abstractmethod
    async def layer(self, bounds: Bounds) -> SessionLayer:
        """Open and start an empty layer with these bounds, apart from those opened before."""

    @abstractmethod
    async def peer(self) -> SessionLayer:
        """Open the newest layer once more, as another process does: the same sessions.

        Return that layer itself if one process has the store for itself.
        """

    @abstractmethod
    async def forget(self, session_id: str) -> None:
        """Lose a session of the newest layer, as a store without persistence does when it restarts."""

    @abstractmethod
    async def close(self) -> None:
        """Flush and close all layers."""

    async def limits(self) -> Limits:
        """Open an empty layer, and return its rates and single uses."""
        return (await self.layer(Bounds())).limits

    async def advance(self, seconds: float) -> None:
        """Let time pass for the store and for every layer on it."""
        self.clock.now += seconds

    def beside(self, session_id: str, count: int) -> list[str]:
        """Name other sessions that are limited in number together with this one.

        By default any are. A store whose limits are those of its parts names sessions of the same part.
        """
        return [f"{session_id}-{number}" for number in range(count)]

    async def deafen(self) -> None:  # noqa: B027 (nothing to do by default)
        """Lose what is announced to the newest layer from now on. By default nothing is announced."""

    async def compare(self) -> None:  # noqa: B027 (the same)
        """Let the newest layer hear again, and look at once for what it has missed."""
