"""A session's ended turns: the newest from its log, older ones from the transcripts, each turn once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from relay.conf import conf
from relay.exceptions import RelayError
from relay.layers.base import SessionLayer
from relay.layers.values import Turn, agent_message, message_text
from relay.protocol import frames, json_text
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame, FrameKind, ReplayGap
from relay.protocol.text import clean
from relay.transcripts.answer_parts import AnswerParts, events_text
from relay.transcripts.kept_turn import OLD, Bounds, KeptTurn, Part, Reader, offset_of, place_of
from relay.transcripts.writer import Transcripts

logger = logging.getLogger(__name__)

PAGE_FRAMES: Final = 256  # of the log, read at once
MAX_PAGE_CHARACTERS: Final = 2_000_000  # of a page's texts; a longer turn is a page of its own


class LogTurns:
    """Collects ended turns from a log's frames, the newest frame first. Pure.

    Args:
        epoch: of the log.
        max_event_bytes: of one turn's events; further ones are left out, and counted.

    Attributes:
        turns: newest first. A turn that has not ended, or whose first frame is trimmed, is none of them.
        below: the offset before the oldest turn whose first frame was taken, or the last frame of an older one that has
            ended; ``None`` before that.
    """

    def __init__(self, epoch: str = "", max_event_bytes: int = 0) -> None:
        self.turns: list[KeptTurn] = []
        self.below: int | None = None
        self._epoch = epoch
        self._max_event_bytes = max_event_bytes
        self._terminal: Frame | None = None
        self._frames: list[Frame] = []

    def add(self, frame: Frame) -> None:
        """Take the frame before those that were taken so far."""
        if frame.is_terminal:
            self._terminal, self._frames, self.below = frame, [], frame.offset
        elif frame.kind is FrameKind.USER_MESSAGE:
            self.below = frame.offset - 1
            self._end_turn(frame)
        elif self._terminal is not None:
            self._frames.append(frame)

    def _end_turn(self, first: Frame) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is not None and terminal.turn_id == first.turn_id:
            self.turns.append(self._turn(first, terminal))

    def _turn(self, first: Frame, terminal: Frame) -> KeptTurn:
        parts = AnswerParts(self._max_event_bytes)
        parts.add(reversed(self._frames))
        answer = "".join(parts.texts)
        finish_reason, failure = frames.ending(terminal)
        return KeptTurn(
            turn_id=first.turn_id,
            message=clean(message_text(agent_message(first.body))),
            answer=clean(json_text.decode(f'"{answer}"')),
            reason=frames.outcome(terminal),
            place=place_of(self._epoch, terminal.offset),
            finish_reason=finish_reason or "",
            failure=failure["content"] if failure is not None else "",
            events=events_text(answer, parts.placed_events()),
            events_left_out=parts.left_out,
        )


def join(log: Sequence[KeptTurn], table: Sequence[KeptTurn]) -> list[KeptTurn]:
    """Join the turns of a log with those of the transcripts, which were read after it; oldest first. Pure.

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
    """Return the last turns within bounds; whole ones are left out, oldest first. Pure."""
    first, characters = len(turns), 0
    while first > 0 and len(turns) - first < bounds.turns:
        characters += turns[first - 1].characters
        if characters > bounds.characters:
            break
        first -= 1
    return list(turns[first:])


class HistoryPage(msgspec.Struct, frozen=True):
    """Some turns of a session.

    Attributes:
        turns: newest first.
        next: the cursor of the turns before them; ``None`` if there are none.
        is_complete: is no turn missing because the database did not answer, or has not got it yet?
    """

    turns: list[KeptTurn]
    next: str | None
    is_complete: bool

    def fields(self) -> dict[str, Any]:
        """Return its members as clients get them (any JSON)."""
        turns = [turn.fields() for turn in self.turns]
        return {"turns": turns, "next": self.next, "incomplete": not self.is_complete}


def merge(log: Part, table: Part, bounds: Bounds) -> tuple[list[KeptTurn], bool]:
    """Join two parts of a history into a page, newest first. Returns it, and whether there is more. Pure.

    A source that is not all may have more turns before its last one, so no older turn of the other is given.
    """
    found = {turn.turn_id: turn for turn in table.turns}
    for turn in log.turns:
        found[turn.turn_id] = _completed(turn, found.get(turn.turn_id))
    known_from = max((part.turns[-1].order for part in (log, table) if part.turns and not part.is_all), default=None)
    turns = sorted(found.values(), key=lambda turn: turn.order, reverse=True)
    page = [turn for turn in turns if known_from is None or turn.order >= known_from][: bounds.turns]
    while len(page) > 1 and sum(turn.characters for turn in page) > bounds.characters:
        page.pop()
    return page, len(page) < len(turns) or not (log.is_all and table.is_all)


def _completed(turn: KeptTurn, row: KeptTurn | None) -> KeptTurn:
    """Add to a turn of the log what only the transcripts know."""
    if row is None:
        return turn
    return msgspec.structs.replace(turn, subject=row.subject, started_at=row.started_at, ended_at=row.ended_at)


class History:
    """Reads ended turns: those before a turn, for agents that keep none, and pages for clients."""

    def __init__(self, layer: SessionLayer, transcripts: Transcripts) -> None:
        self._layer = layer
        self._transcripts = transcripts

    async def before(self, turn: Turn) -> list[KeptTurn]:
        """Return the last turns before this one, oldest first, within the bounds of the settings.

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

    async def page(self, session_id: str, reader: Reader, before: str, limit: int) -> HistoryPage:
        """Read a session's turns before a cursor; an empty one starts at the newest.

        Raises:
            NotOwner: the session belongs to another subject.
            StoreUnavailable: the log cannot be read.
        """
        bounds = Bounds(limit, MAX_PAGE_CHARACTERS)
        log, goes_on_at = await self._log_part(session_id, reader, before, bounds)
        found = await self._transcripts.page(session_id, reader, before, bounds)
        table = found or Part([], False)
        turns, has_more = merge(log, table, bounds)
        is_deep = not (turns and has_more) or turns[-1].place <= goes_on_at
        is_complete = found is not None and not (is_deep and await self._is_behind(session_id, goes_on_at, table))
        return HistoryPage(turns, turns[-1].cursor if turns and has_more else None, is_complete)

    async def _is_behind(self, session_id: str, goes_on_at: str, table: Part) -> bool:
        """Do the transcripts lack the turn with which they should continue, because it is not written yet?"""
        if not (goes_on_at and self._transcripts.is_on) or any(row.place == goes_on_at for row in table.turns):
            return False
        return not await self._transcripts.has(session_id, goes_on_at)

    async def _log_part(self, session_id: str, reader: Reader, before: str, bounds: Bounds) -> tuple[Part, str]:
        """Read the log's turns before a cursor, and the place of the turn with which the transcripts continue."""
        state = await self._layer.get(session_id, reader.subject)
        if state is None or (before and before < place_of(state.epoch, state.oldest)):
            return Part([], True), before if not before.startswith(OLD) else ""
        epoch, found = state.epoch, LogTurns(state.epoch, conf.transcript_events_bytes)
        last = state.active_after if not before.startswith(epoch) else min(offset_of(before) - 1, state.active_after)
        found.below = None if before else last
        try:
            while last >= state.oldest and not bounds.are_reached(found.turns):
                after = max(last - PAGE_FRAMES, state.oldest - 1)
                for frame in reversed(await self._page(session_id, Cursor(epoch, after), last, reader.subject)):
                    found.add(frame)
                last = after
        except ReplayGap:
            last = 0  # the rest was trimmed meanwhile
        is_all = last < state.oldest
        return Part(found.turns, is_all), place_of(epoch, found.below) if is_all and found.below else ""

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

    async def _page(self, session_id: str, after: Cursor, last: int, subject: str | None = None) -> list[Frame]:
        """Read the frames after a position up to ``last``, in as many calls as the store needs."""
        page: list[Frame] = []
        while after.offset < last and (more := await self._layer.read(session_id, after, last - after.offset, subject)):
            page += more
            after = Cursor(after.epoch, more[-1].offset)
        return page
