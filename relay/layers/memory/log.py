"""One session's log in memory: frames numbered without holes, bounded in count and bytes. Pure."""

from __future__ import annotations

import io
from collections.abc import Iterable

from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame, FrameKind, ReplayGap, Snapshot, SnapshotReason

_TOKEN, _USER_MESSAGE = FrameKind.TOKEN, FrameKind.USER_MESSAGE  # see frames.py
_COMPACT_FRAMES = 1_024  # the list is compacted when so many places are trimmed, and at least half of all


class Log:
    """The frames of one epoch, and the newest turn's text even where its frames were trimmed."""

    def __init__(self, epoch: str, *, max_frames: int, max_bytes: int) -> None:
        self.epoch = epoch
        self.newest = 0
        self.turn_after = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: list[Frame | None] = []  # the first ``_trimmed`` of them are None
        self._trimmed = 0
        self._bytes = 0
        self._turn_id: str | None = None
        self._message: str | None = None  # of that turn, until it ends
        self._trimmed_text = io.StringIO()
        self._terminal: Frame | None = None

    @property
    def oldest(self) -> int:
        """Offset of the first frame that is kept; ``newest`` + 1 if none is."""
        return self.newest - len(self._frames) + self._trimmed + 1

    @property
    def position(self) -> Cursor:
        """That of the newest frame."""
        return Cursor(self.epoch, self.newest)

    def extend(self, frames: Iterable[Frame]) -> None:
        """Append frames, number them, and trim the oldest beyond the bounds."""
        for frame in frames:
            self.append(frame)

    def append(self, frame: Frame) -> None:
        """Append a frame, number it, and trim the oldest beyond the bounds."""
        kind = frame.kind
        if kind is not _TOKEN:  # most frames are tokens, which need none of this
            if kind is _USER_MESSAGE:
                self._start_turn(frame.turn_id, frame.body)
            elif frame.is_terminal:
                self._terminal, self._message = frame, None
        self.newest += 1
        frame.offset = self.newest
        self._frames.append(frame)
        self._bytes += frame.size
        while self._bytes > self._max_bytes or len(self._frames) - self._trimmed > self._max_frames:
            self._trim_one()

    def restart_turn(self, turn_id: str, text: str) -> None:
        """Continue a turn whose frames were lost; ``text`` is escaped, as between the quotes of a JSON string."""
        self._start_turn(turn_id)
        self._trimmed_text.write(text)

    def after(self, cursor: Cursor, limit: int) -> list[Frame]:
        """Return at most ``limit`` frames after a position.

        Raises:
            ReplayGap: the position is of another epoch, beyond the newest, or frames after it are gone.
        """
        if cursor.epoch != self.epoch or cursor.offset > self.newest:
            raise ReplayGap(self.snapshot("epoch_changed"))
        if cursor.offset < self.oldest - 1:
            raise ReplayGap(self.snapshot("trimmed"))
        start = len(self._frames) - (self.newest - cursor.offset)
        return [frame for frame in self._frames[start : start + limit] if frame is not None]

    def snapshot(self, reason: SnapshotReason) -> Snapshot:
        """Describe the newest turn as far as it is known."""
        if self._turn_id is None:
            return Snapshot(self.epoch, self.newest, reason)
        kept = self._frames[max(self._trimmed, len(self._frames) - (self.newest - self.turn_after)) :]
        text = self._trimmed_text.getvalue() + "".join(frame.token_text for frame in kept if frame is not None)
        return Snapshot(self.epoch, self.newest, reason, self._turn_id, text, self._terminal, self._message)

    def _start_turn(self, turn_id: str, message: str | None = None) -> None:
        self._turn_id = turn_id
        self._message = message
        self.turn_after = self.newest
        self._trimmed_text = io.StringIO()
        self._terminal = None

    def _trim_one(self) -> None:
        frame = self._frames[self._trimmed]
        assert frame is not None  # noqa: S101 - an invariant of this class, not outside input
        if frame.turn_id == self._turn_id:
            self._trimmed_text.write(frame.token_text)
        self._bytes -= frame.size
        self._frames[self._trimmed] = None
        self._trimmed += 1
        if self._trimmed >= _COMPACT_FRAMES and self._trimmed * 2 >= len(self._frames):
            del self._frames[: self._trimmed]
            self._trimmed = 0
