"""Answers that are kept as they grow, and for five minutes after their end: a reader may come back to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

KEPT_SECONDS: Final = 300.0


class Run:
    """One answer: its events as they are sent, each with its number."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self._events: list[bytes] = []
        self._is_over = False
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._collect(events))

    async def _collect(self, events: AsyncGenerator[bytes, None]) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    self._events.append(b"id: %d\n%b" % (len(self._events) + 1, event))
                    self._wake()
        finally:
            self._is_over = True
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def after(self, number: int) -> AsyncGenerator[bytes, None]:
        """Yield the events behind a number, then each new one, to the end of the run."""
        while True:
            changed = self._changed
            while number < len(self._events):
                yield self._events[number]
                number += 1
            if self._is_over:
                return
            await changed.wait()

    def __len__(self) -> int:
        return len(self._events)


class Runs:
    """The runs by their turns' ids."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def start(self, turn_id: str, events: AsyncGenerator[bytes, None]) -> Run:
        """Start an answer, which continues without any reader."""
        run = self._runs[turn_id] = Run(events)
        run.task.add_done_callback(lambda _: asyncio.get_running_loop().call_later(KEPT_SECONDS, self._forget, run))
        return run

    def _forget(self, run: Run) -> None:
        self._runs = {name: kept for name, kept in self._runs.items() if kept is not run}

    def get(self, turn_id: str) -> Run | None:
        """Return a run that is kept."""
        return self._runs.get(turn_id)
