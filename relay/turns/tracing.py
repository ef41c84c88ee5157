"""What a turn asks of tracing; by itself, nothing is traced."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from relay.turns.recorder import TurnRecorder


class Tracing:
    """No tracing."""

    def span(self, recorder: TurnRecorder) -> AbstractContextManager[None]:
        """Trace the turn that runs in this block; the trace context that goes to the agent becomes the span's."""
        return nullcontext()

    async def stop(self) -> None:
        """Send what is left, if that does not take long."""
