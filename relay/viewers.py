"""A session's log as one viewer sees it: texts of frames in its dialect, first what is there, then what comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from itertools import groupby

from relay import frames, json_text
from relay.conf import conf
from relay.cursor import UNKNOWN, Cursor, Resume, resume
from relay.exceptions import ReplayGap, TooSlow
from relay.frames import Frame, FrameKind, Snapshot
from relay.layers.base import SessionLayer
from relay.layers.values import SessionState


class Viewer:
    """Sees one session's log in order: every frame once, or a snapshot where some are gone.

    ``position`` is where the viewer stands: the last frame that it was given.
    """

    def __init__(self, layer: SessionLayer, session_id: str) -> None:
        self.position = UNKNOWN
        self._layer = layer
        self._session_id = session_id

    async def batches(self) -> AsyncGenerator[list[Frame] | Snapshot, None]:
        """Give the frames after ``position``, and a snapshot wherever some are gone.

        Raises:
            SessionDeleted: the session was erased.
        """
        while True:
            try:
                async with aclosing(self._layer.tail(self._session_id, self.position)) as tail:
                    async for batch in tail:
                        self.position = Cursor(self.position.epoch, batch[-1].offset)
                        yield batch
            except ReplayGap as gap:
                self.position = Cursor(gap.snapshot.epoch, gap.snapshot.offset)
                yield gap.snapshot


class PlainViewer(Viewer):
    """Sees the turn in flight from its first token, then what comes."""

    _has_begun = False

    async def begin(self) -> None:
        """Take up position, so that nothing that is said from now on is missed."""
        state = await self._layer.state(self._session_id)
        self.position = Cursor(state.epoch, state.active_after)

    def texts(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """Write a batch in this viewer's dialect.

        Raises:
            TooSlow: frames that this viewer has not seen are gone.
        """
        is_first, self._has_begun = not self._has_begun, True
        if isinstance(batch, Snapshot):
            return _plain_snapshot(batch, is_first)
        return (text for frame in batch if (text := frame.plain) is not None)


class ResumableViewer(Viewer):
    """Sees the log from a cursor, in the dialect ``gateway.v1``.

    ``coalesce`` merges the tokens of a viewer that is behind.
    """

    def __init__(self, layer: SessionLayer, session_id: str, *, coalesce: bool = False) -> None:
        super().__init__(layer, session_id)
        self._coalesce = coalesce

    async def begin(self, *, epoch: str = "", offset: str = "") -> str:
        """Take up position at a client's cursor and give the ``welcome`` frame."""
        state = await self._layer.state(self._session_id)
        start = resume(
            epoch,
            offset,
            log_epoch=state.epoch,
            oldest=state.oldest,
            newest=state.newest,
            live_after=state.active_after,
        )
        self.position = start.after
        return json_text.encode(welcome_fields(state, start))

    def texts(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """Write a batch in this viewer's dialect, one text at a time: a slow viewer holds one, not all."""
        if isinstance(batch, Snapshot):
            return [batch.v1]
        if self._coalesce and len(batch) > 1:
            return (frames.merged_tokens(run) for run in runs(batch))
        return (frame.v1 for frame in batch)


def welcome_fields(state: SessionState, start: Resume) -> dict[str, object]:
    """Describe a session and what follows for one that goes on at ``start``."""
    status = "cancelling" if state.is_cancelling else "running"
    follows = start.after.epoch == state.epoch and state.oldest - 1 <= start.after.offset <= state.newest
    return {
        "type": "welcome",
        "session_id": state.session_id,
        "epoch": state.epoch,
        "offset": state.newest,
        "after": start.after.offset if follows else None,
        "recovered": start.recovered,
        "heartbeat_seconds": conf.heartbeat_seconds,
        "retention_seconds": conf.buffer_ttl_seconds,
        "max_message_bytes": conf.max_message_bytes,
        "active": {"turn_id": state.active_turn_id, "status": status} if state.active_turn_id else None,
        "queued": list(state.queued),
    }


def _plain_snapshot(snapshot: Snapshot, is_first: bool) -> list[str]:
    """Show a plain viewer what was trimmed before it came: the text so far, as one token.

    Raises:
        TooSlow: it has seen part of that text already, and plain has no frame to replace it with.
    """
    if snapshot.turn_id is None:
        return []  # an idle session made room for others: there was nothing to miss
    if not is_first:
        raise TooSlow
    texts = [frames.token_body(snapshot.text)] if snapshot.text else []
    if snapshot.terminal is not None:  # it ended in this very moment
        texts.append(snapshot.terminal.body)
    return texts


def runs(batch: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Put consecutive tokens of one turn together; every other frame stands alone."""
    for (is_token, _), run in groupby(batch, key=lambda frame: (frame.kind is FrameKind.TOKEN, frame.turn_id)):
        if is_token:
            yield list(run)
        else:
            yield from ([frame] for frame in run)
