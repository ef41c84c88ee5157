"""Stores an answer's frames as they arrive, no faster than the viewers in this process can follow."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from relay.agent.answer import Answer
from relay.layers.base import SessionLayer
from relay.protocol.frames import Frame
from relay.turns.recorder import TurnRecorder

FRAMES_AN_ITERATION: Final = 32  # any kind of viewer sends as many in one iteration


class LogSink:
    """A ``FrameSink``: starts to store frames in the call that decodes them."""

    def __init__(self, layer: SessionLayer, answer: Answer, recorder: TurnRecorder, *, is_collecting: bool) -> None:
        self._append_nowait = layer.append_nowait
        self._answer = answer
        self._recorder = recorder
        self._is_collecting = is_collecting

    def push(self, frames: list[Frame]) -> bool:
        """See ``FrameSink``."""
        if len(frames) > FRAMES_AN_ITERATION:
            return False  # viewers here must catch up: see ``let_viewers_catch_up``
        recorder = self._recorder
        answer = self._answer
        position = answer.position
        if not self._append_nowait(recorder.turn, frames, partial(recorder.appended, answer.tokens), position):
            return False
        if position is not None:
            recorder.is_resumable = True
        if self._is_collecting:
            recorder.parts.add(frames)
        return True


async def let_viewers_catch_up(frames_ahead: int) -> None:
    """Let the viewers here run before more is read: an agent may be faster than all that is done with its frames.

    This only yields to the event loop: a client that does not read delays nothing.
    """
    for _ in range(frames_ahead // FRAMES_AN_ITERATION):
        await asyncio.sleep(0)
