"""The interface of tracing; this default traces nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from relay.turns.recorder import TurnRecorder


class Tracing:
    """No tracing."""

    def span(self, recorder: TurnRecorder) -> AbstractContextManager[None]:
        """Trace the turn that runs in this block; the agent receives the span's trace context."""
        return nullcontext()

    async def stop(self) -> None:
        """Send the remaining spans, if that does not take long."""
