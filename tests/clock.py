"""Time that passes when a test says so."""

from __future__ import annotations

import time

import pytest


class Clock:
    """The machine's clock, ahead by as much as the test has advanced it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_seconds = 0.0
        for name in ("monotonic", "time"):
            now = getattr(time, name)
            monkeypatch.setattr(time, name, lambda now=now: now() + self._ahead_seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead_seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the event loop, and of all that looks at ``time.monotonic`` or ``time.time`` by this name."""
    return Clock(monkeypatch)
