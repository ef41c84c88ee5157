"""A turn in a model of a session, with the frames that the log must have of it."""

from __future__ import annotations

from relay.layers.values import AgentPosition, NewTurn
from relay.protocol.frames import Frame, FrameKind

ModelFrame = tuple[str, str]
"""A frame's text, or what it is, and the id of its turn."""


class ModelTurn:
    """One accepted message as it must be.

    Attributes:
        position: of the agent, behind the newest append.
        texts: its frames so far, without the message and the end; ``None`` before it runs.
        end: its last frame; ``None`` before it has ended.
    """

    def __init__(self, new_turn: NewTurn) -> None:
        self.turn_id = new_turn.turn_id
        self.new_turn = new_turn
        self.position: AgentPosition | None = None
        self.texts: list[ModelFrame] | None = None
        self.is_cancelled = False
        self.end: ModelFrame | None = None

    @property
    def frames(self) -> list[ModelFrame]:
        """All its frames, in the form of ``as_modelled``."""
        return [("user", self.turn_id), *(self.texts or []), *([self.end] if self.end else [])]


def as_modelled(frame: Frame) -> ModelFrame:
    """Turn a frame of a log into one of the model."""
    if frame.kind is FrameKind.USER_MESSAGE:
        return "user", frame.turn_id
    return ("end" if frame.is_terminal else frame.token_text), frame.turn_id
