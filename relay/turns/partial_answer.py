"""The answer that another worker stored for a turn, as far as the log has it."""

from __future__ import annotations

from relay.exceptions import LeaseLost
from relay.layers.base import SessionLayer
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame, ReplayGap, is_of_agent
from relay.transcripts.answer_parts import AnswerParts
from relay.transcripts.history import PAGE_FRAMES
from relay.turns.recorder import TurnRecorder


async def load(layer: SessionLayer, recorder: TurnRecorder) -> tuple[list[Frame], bool]:
    """Read the frames of the agent in a turn's log, into the recorder too.

    Returns:
        The frames, and whether they are all of them: the oldest may be gone.

    Raises:
        StoreUnavailable: the recorder is as it was.
        LeaseLost: the log is not the one in which the turn was claimed: the store has lost it.
    """
    turn = recorder.turn
    state = await layer.get(turn.session_id)
    if state is None or state.epoch != turn.epoch:
        raise LeaseLost
    found: list[Frame] = []
    try:
        await _read_all(layer, recorder, Cursor(state.epoch, state.active_after), found)
    except ReplayGap as gap:  # its head is trimmed: the text is kept, and no events
        if gap.snapshot.epoch != turn.epoch:
            raise LeaseLost from gap
        found.clear()
        await _read_all(layer, recorder, Cursor(state.epoch, state.oldest - 1), found)
        recorder.parts = AnswerParts(0)
        if gap.snapshot.turn_id == turn.turn_id and gap.snapshot.text:
            recorder.parts.texts = [gap.snapshot.text]
        return found, False
    recorder.parts.add(found)
    return found, True


async def _read_all(layer: SessionLayer, recorder: TurnRecorder, after: Cursor, found: list[Frame]) -> None:
    turn = recorder.turn
    while page := await layer.read(turn.session_id, after, PAGE_FRAMES):
        found += (frame for frame in page if frame.turn_id == turn.turn_id and is_of_agent(frame))
        after = Cursor(after.epoch, page[-1].offset)
