"""One viewer's view of a session log: stored frames first, then live ones, encoded in its dialect."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from itertools import groupby
from typing import Any, Final

import msgspec

from relay.conf import conf
from relay.delivery.client_writer import ClientWriter, Piece
from relay.delivery.pending import pending_fields
from relay.exceptions import TooSlow
from relay.layers.base import SessionLayer
from relay.layers.live import FrameSink
from relay.layers.values import SessionState
from relay.observability import metrics
from relay.protocol import frames
from relay.protocol.cursor import UNKNOWN, Cursor, Resume
from relay.protocol.frames import Frame, FrameKind, ReplayGap, Snapshot

logger = logging.getLogger(__name__)

SEARCHED_FRAMES: Final = 1_000  # of the log, read at once

_RESUMES = {None: "new", True: "recovered", False: "gap"}


Encode = Callable[[list[Frame] | Snapshot], Iterable[Piece]]
"""Writes a batch, one piece at a time. It may keep a state: it gets each frame once, in order."""


class Subscription(ABC):
    """Yields one session's log in order: every frame once, or a snapshot where frames are gone.

    A subscription is a ``FrameSink``: the log pushes new frames to it while it waits.

    Each call of the layer is made for the viewer's ``subject``, and raises ``NotOwner`` where the session is another
    subject's.

    Attributes:
        position: of the last frame that the viewer was given.
        last: the last frame or snapshot that the viewer was given; ``None`` before the first.
        log_epoch: of the session's log, when the subscription started; a client's cursor may be of another.
    """

    def __init__(self, layer: SessionLayer, session_id: str, subject: str | None = None) -> None:
        self.position = UNKNOWN
        self.last: Frame | Snapshot | None = None
        self.log_epoch = ""
        self._layer = layer
        self._session_id = session_id
        self._subject = subject
        self._writer: ClientWriter[Any] | None = None  # of the same pieces as ``_encode``
        self._encode: Encode[Any] | None = None
        self._failure: Exception | None = None  # of ``_encode``, in a push

    async def deliver(self, writer: ClientWriter[Piece], encode: Encode[Piece]) -> None:
        """Write the frames after ``position``, then live ones, until an error ends that.

        Frames that are appended while the writer is ready are written in the call that appends them.

        Raises:
            SessionDeleted, NotOwner: as in ``batches``.
            ClientGone: the client left.
            Exception: whatever ``encode`` raises.
        """
        self._writer, self._encode = writer, encode
        try:
            async with aclosing(self.batches(self)) as batches:
                async for batch in batches:
                    if self._failure is not None:
                        raise self._failure
                    for piece in encode(batch):
                        await writer.send(piece)
        finally:
            self._writer = self._encode = self._failure = None  # they lead back here

    async def batches(self, sink: FrameSink | None = None) -> AsyncGenerator[list[Frame] | Snapshot, None]:
        """Yield the frames after ``position``, and a snapshot wherever frames are gone.

        Args:
            sink: receives frames that are appended while the iterator waits; the iterator does not yield those that it
                accepts.

        Raises:
            SessionDeleted: the session was erased.
            NotOwner: the session belongs to another subject.
        """
        has_started = False
        while True:
            try:
                async with aclosing(self._layer.tail(self._session_id, self.position, sink, self._subject)) as tail:
                    async for batch in tail:
                        if batch[0].offset != self.position.offset + 1:
                            self._report_disorder(batch)
                        self.position = Cursor(self.position.epoch, batch[-1].offset)
                        has_started = True
                        yield batch
                        self.last = batch[-1]
            except ReplayGap as gap:
                if has_started and gap.snapshot.reason == "trimmed":
                    metrics.SLOW_VIEWERS.labels("snapshot").inc()
                self.position = Cursor(gap.snapshot.epoch, gap.snapshot.offset)
                yield with_history(gap.snapshot)
                self.last = msgspec.structs.replace(gap.snapshot, text=None, message=None)  # these may be long

    @abstractmethod
    def encode(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """Write a batch in this viewer's dialect, one text at a time: a slow viewer holds one text, not all.

        Raises:
            TooSlow: frames that this viewer was not given are gone, and its dialect cannot express that.
        """

    def push(self, frames: list[Frame]) -> bool:
        """See ``FrameSink``: write frames in the call that appends them."""
        writer, encode = self._writer, self._encode
        if writer is None or encode is None or self._failure is not None or not writer.can_send_now():
            return False
        try:
            pieces = list(encode(frames))
            if pieces:
                writer.send_now(pieces)
        except Exception as exc:  # raised by ``deliver``, not here: the turn that appends is not concerned
            self._failure = exc
            return False
        self.position = Cursor(self.position.epoch, frames[-1].offset)
        self.last = frames[-1]
        return True

    def _report_disorder(self, batch: list[Frame]) -> None:
        """Report an order that must never occur; the client notices it by the offsets, and comes back."""
        kind = "hole" if batch[0].offset > self.position.offset else "duplicate"
        metrics.DISORDER.labels(kind).inc()
        logger.error("session %s: log disorder: %s", self._session_id, kind)


class PlainSubscription(Subscription):
    """Yields the running turn from its first token, then live frames."""

    _lost_turn: str | None = None  # the log has lost it before its end

    async def start(self) -> None:
        """Start at the running turn, or at the log's end; nothing that is appended after this call is missed."""
        state = await self._layer.ensure(self._session_id, self._subject)
        self.position = Cursor(state.epoch, state.active_after)
        self.log_epoch = state.epoch

    def encode(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """See ``Subscription``."""
        if isinstance(batch, Snapshot):
            return self._snapshot(batch)
        if self._lost_turn is not None:
            self._go_on(batch)
        return (text for frame in batch if (text := frame.plain) is not None)

    def _snapshot(self, snapshot: Snapshot) -> list[str]:
        """Write the text that was trimmed before the viewer came, as one token.

        Raises:
            TooSlow: the viewer was given part of that text already, and plain has no frame that replaces it.
        """
        if snapshot.turn_id is None:  # an idle session made room for others, or the store has lost this one
            self._lost_turn = self._lost_turn or _turn_without_end(self.last)
            return []
        if self.last is not None:
            raise TooSlow
        texts = [frames.token_body(snapshot.text)] if snapshot.text else []
        if snapshot.terminal is not None:  # the turn ended in this very moment
            texts.append(snapshot.terminal.body)
        return texts

    def _go_on(self, batch: list[Frame]) -> None:
        """Go on after the log has lost a turn: its worker may still end it.

        Raises:
            TooSlow: another turn follows. Its text would continue the lost one's on the viewer's screen.
        """
        if batch[0].turn_id != self._lost_turn:
            raise TooSlow
        self._lost_turn = None


class ResumableSubscription(Subscription):
    """Yields the log from a cursor, in the dialect ``gateway.v1``.

    With ``coalesce``, the tokens of one batch are merged.
    """

    def __init__(
        self, layer: SessionLayer, session_id: str, subject: str | None = None, *, coalesce: bool = False
    ) -> None:
        super().__init__(layer, session_id, subject)
        self._coalesce = coalesce

    async def start(self, *, epoch: str = "", offset: str = "") -> dict[str, object]:
        """Start at a client's cursor. Returns the fields of ``welcome``."""
        state = await self._layer.ensure(self._session_id, self._subject)
        start = await resume(self._layer, state, epoch, offset, self._subject)
        self.position = start.after
        self.log_epoch = state.epoch
        metrics.RESUMES.labels(_RESUMES[start.recovered]).inc()
        return welcome_fields(state, start)

    def encode(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """See ``Subscription``."""
        if isinstance(batch, Snapshot):
            return [batch.v1]
        if self._coalesce and len(batch) > 1:
            return (frames.merged_tokens(run) for run in runs(batch))
        return (frame.v1 for frame in batch)


async def resume(
    layer: SessionLayer, state: SessionState, epoch: str, offset: str, subject: str | None = None
) -> Resume:
    """Compare a client's cursor with the log, as ``SessionState.resume``; all of a log starts with a whole turn.

    A client that wants everything gets the log from its oldest whole turn on: an answer without its head is no answer.
    If the log has no whole turn, a snapshot follows.

    Raises:
        NotOwner: the session belongs to another subject.
    """
    start = state.resume(epoch, offset)
    if epoch or not start.recovered or not start.after.offset:
        return start
    after = start.after
    with contextlib.suppress(ReplayGap):  # trimmed meanwhile
        while page := await layer.read(state.session_id, after, SEARCHED_FRAMES, subject):
            for frame in page:
                if frame.kind is FrameKind.USER_MESSAGE:
                    return Resume(Cursor(state.epoch, frame.offset - 1), True)
            after = Cursor(state.epoch, page[-1].offset)
    return Resume(Cursor(state.epoch, 0), False)


def with_history(snapshot: Snapshot) -> Snapshot:
    """Tell a client that ended turns can be read by page, if they can."""
    return msgspec.structs.replace(snapshot, has_history=conf.transcripts)


def welcome_fields(state: SessionState, start: Resume) -> dict[str, object]:
    """Return the members of ``welcome``: a session's state, and where a viewer that resumes at ``start`` continues."""
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
        "pending": pending_fields(state),
        "history": conf.transcripts,
    }


def listed_fields(state: SessionState) -> dict[str, object]:
    """Return a session's members in a list of sessions."""
    fields = welcome_fields(state, state.resume())
    listed = {name: fields[name] for name in ("session_id", "epoch", "offset", "active", "queued")}
    seconds = {"idle_seconds": round(state.idle_seconds, 3), "age_seconds": round(state.age_seconds, 3)}
    return {**listed, "pending": len(state.questions), "viewers": state.viewers, **seconds}


def _turn_without_end(last: Frame | Snapshot | None) -> str | None:
    """Return the turn that a viewer has not seen the end of."""
    if isinstance(last, Snapshot):
        return last.turn_id if last.terminal is None else None
    return None if last is None or last.is_terminal else last.turn_id


def runs(batch: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Group consecutive tokens of one turn; every other frame stands alone."""
    for (is_token, _), run in groupby(batch, key=lambda frame: (frame.kind is FrameKind.TOKEN, frame.turn_id)):
        if is_token:
            yield list(run)
        else:
            yield from ([frame] for frame in run)
