"""A session's ended turns: the newest from its log, older ones from the transcripts, each turn once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from relay.conf import conf
from relay.exceptions import RelayError
from relay.layers.base import SessionLayer
from relay.layers.values import Turn, agent_message, message_text
from relay.protocol import frames, json_text
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame, FrameKind
from relay.transcripts.rows import KeptTurn, clean
from relay.transcripts.writer import Transcripts

logger = logging.getLogger(__name__)

PAGE_FRAMES: Final = 256  # of the log, read at once


class Bounds(NamedTuple):
    """How much of a history is read: turns, and the characters of their texts together."""

    turns: int
    characters: int

    def are_reached(self, turns: Sequence[KeptTurn]) -> bool:
        """Would an older turn be left out?"""
        return len(turns) >= self.turns or sum(turn.characters for turn in turns) >= self.characters


class LogTurns:
    """Collects ended turns from a log's frames, the newest frame first. Pure.

    Attributes:
        turns: the newest first. A turn that has not ended, or whose first frame is trimmed, is none of them.
    """

    def __init__(self) -> None:
        self.turns: list[KeptTurn] = []
        self._terminal: Frame | None = None
        self._texts: list[str] = []

    def add(self, frame: Frame) -> None:
        """Take the frame before those that were taken so far."""
        if frame.is_terminal:
            self._terminal, self._texts = frame, []
        elif frame.kind is FrameKind.TOKEN:
            self._texts.append(frame.token_text)
        elif frame.kind is FrameKind.USER_MESSAGE:
            self._end_turn(frame)

    def _end_turn(self, first: Frame) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is not None and terminal.turn_id == first.turn_id:
            self.turns.append(
                KeptTurn(
                    turn_id=first.turn_id,
                    message=clean(message_text(agent_message(first.body))),
                    answer=clean(json_text.decode(f'"{"".join(reversed(self._texts))}"')),
                    reason=frames.outcome(terminal),
                )
            )


def join(log: Sequence[KeptTurn], table: Sequence[KeptTurn]) -> list[KeptTurn]:
    """Join the turns of a log with those of the transcripts, which were read after it; the oldest first. Pure.

    The log knows its turns better: the transcripts may lack the newest.
    """
    in_log = {turn.turn_id for turn in log}
    return [*(turn for turn in table if turn.turn_id not in in_log), *log]


def spoken(turns: Iterable[KeptTurn]) -> list[KeptTurn]:
    """Return the turns that an agent is told of. Pure.

    One without any text counts only if it was answered, for example by a tool call. A message whose turn failed or was
    stopped before its first text is most often sent again, and an agent would answer it beside the new one.
    """
    return [turn for turn in turns if turn.answer or turn.reason == frames.ANSWERED]


def bounded(turns: Sequence[KeptTurn], bounds: Bounds) -> list[KeptTurn]:
    """Return the last turns within bounds; whole ones are left out, the oldest first. Pure."""
    first, characters = len(turns), 0
    while first > 0 and len(turns) - first < bounds.turns:
        characters += turns[first - 1].characters
        if characters > bounds.characters:
            break
        first -= 1
    return list(turns[first:])


class History:
    """Reads the turns before a turn, for agents that keep none."""

    def __init__(self, layer: SessionLayer, transcripts: Transcripts) -> None:
        self._layer = layer
        self._transcripts = transcripts

    async def before(self, turn: Turn) -> list[KeptTurn]:
        """Return the last turns before this one, the oldest first, within the bounds of the settings.

        Never raises: turns that cannot be read soon are left out, and the agent answers without them.
        """
        bounds = Bounds(conf.agent_history_turns, conf.agent_history_characters)
        if not bounds.turns:
            return []
        found = await self._from_log(turn, bounds)
        if not bounds.are_reached(found):
            older = await self._transcripts.newest(turn.session_id, turn.owner, bounds.turns)
            found = join(found, spoken(older))
        return bounded(found, bounds)

    async def _from_log(self, turn: Turn, bounds: Bounds) -> list[KeptTurn]:
        """Read the log backwards, as far as is needed; the oldest turn first."""
        found = LogTurns()
        try:
            state = await self._layer.get(turn.session_id)
            last = 0 if state is None else state.active_after
            while state is not None and last >= state.oldest and not bounds.are_reached(spoken(found.turns)):
                after = max(last - PAGE_FRAMES, state.oldest - 1)
                for frame in reversed(await self._page(turn.session_id, Cursor(state.epoch, after), last)):
                    found.add(frame)
                last = after
        except RelayError as exc:
            logger.info("history incomplete: %s", exc.code)
        return spoken(found.turns)[::-1]

    async def _page(self, session_id: str, after: Cursor, last: int) -> list[Frame]:
        """Read the frames after a position up to ``last``, in as many calls as the store needs."""
        page: list[Frame] = []
        while after.offset < last and (more := await self._layer.read(session_id, after, last - after.offset)):
            page += more
            after = Cursor(after.epoch, more[-1].offset)
        return page
