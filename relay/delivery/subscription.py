"""A session's log as one viewer sees it: texts of frames in its dialect, first what is there, then what comes."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from itertools import groupby

from relay.conf import conf
from relay.exceptions import TooSlow
from relay.layers.base import SessionLayer
from relay.layers.values import SessionState
from relay.observability import metrics
from relay.protocol import frames, json_text
from relay.protocol.cursor import UNKNOWN, Cursor, Resume, resume
from relay.protocol.frames import Frame, FrameKind, ReplayGap, Snapshot

logger = logging.getLogger(__name__)

TextSink = Callable[[str], bool]
"""Shows a text at once and says so, or says no; it never raises, and never waits."""

_RESUMES = {None: "new", True: "recovered", False: "gap"}


class Subscription(ABC):
    """Sees one session's log in order: every frame once, or a snapshot where some are gone.

    Each look at the session is for the viewer's ``subject``, and raises ``NotOwner`` where the session is another's.

    Attributes:
        position: where the viewer stands: the last frame that it was given.
        log_epoch: of the session's log, when the viewer took up position; a client's cursor may be of another.
    """

    def __init__(self, layer: SessionLayer, session_id: str, subject: str | None = None) -> None:
        self.position = UNKNOWN
        self.log_epoch = ""
        self._layer = layer
        self._session_id = session_id
        self._subject = subject
        self._show: TextSink = _take_nothing

    async def batches(self, show: TextSink | None = None) -> AsyncGenerator[list[Frame] | Snapshot, None]:
        """Give the frames after ``position``, and a snapshot wherever some are gone.

        Args:
            show: is offered the text of a frame that comes alone while the iterator waits; a text that it takes is
                not given any more.

        Raises:
            SessionDeleted: the session was erased.
            NotOwner: the session belongs to another subject.
        """
        take = None
        if show is not None:
            self._show, take = show, self._take
        has_begun = False
        while True:
            try:
                async with aclosing(self._layer.tail(self._session_id, self.position, take, self._subject)) as tail:
                    async for batch in tail:
                        if batch[0].offset != self.position.offset + 1:
                            self._report_disorder(batch)
                        self.position = Cursor(self.position.epoch, batch[-1].offset)
                        has_begun = True
                        yield batch
            except ReplayGap as gap:
                if has_begun and gap.snapshot.reason == "trimmed":
                    metrics.SLOW_VIEWERS.labels("snapshot").inc()
                self.position = Cursor(gap.snapshot.epoch, gap.snapshot.offset)
                yield gap.snapshot

    @abstractmethod
    def encode(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """Write a batch in this viewer's dialect, one text at a time: a slow viewer holds one, not all.

        Raises:
            TooSlow: frames that this viewer has not seen are gone, and its dialect has no words for that.
        """

    @abstractmethod
    def encode_frame(self, frame: Frame) -> str | None:
        """Write a frame in this viewer's dialect; ``None`` if it does not know such frames."""

    def _take(self, frame: Frame) -> bool:
        """Show a frame in the call that appends it, if that can be done at once."""
        try:
            text = self.encode_frame(frame)
            if text is not None and not self._show(text):
                return False
        except Exception:  # not the appending turn's trouble: whoever iterates meets it again
            return False
        self.position = Cursor(self.position.epoch, frame.offset)
        return True

    def _report_disorder(self, batch: list[Frame]) -> None:
        """Tell of what must never happen; the client sees it by the offsets, and comes back."""
        kind = "hole" if batch[0].offset > self.position.offset else "duplicate"
        metrics.DISORDER.labels(kind).inc()
        logger.error("session %s: log disorder: %s", self._session_id, kind)


class PlainSubscription(Subscription):
    """Sees the turn in flight from its first token, then what comes."""

    _has_begun = False

    async def begin(self) -> None:
        """Take up position, so that nothing that is said from now on is missed."""
        state = await self._layer.ensure(self._session_id, self._subject)
        self.position = Cursor(state.epoch, state.active_after)
        self.log_epoch = state.epoch

    def encode(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """See ``Subscription``."""
        is_first, self._has_begun = not self._has_begun, True
        if isinstance(batch, Snapshot):
            return _plain_snapshot(batch, is_first)
        return (text for frame in batch if (text := frame.plain) is not None)

    def encode_frame(self, frame: Frame) -> str | None:
        """See ``Subscription``."""
        self._has_begun = True
        return frame.plain


class ResumableSubscription(Subscription):
    """Sees the log from a cursor, in the dialect ``gateway.v1``.

    ``coalesce`` merges the tokens of a viewer that is behind.
    """

    def __init__(
        self, layer: SessionLayer, session_id: str, subject: str | None = None, *, coalesce: bool = False
    ) -> None:
        super().__init__(layer, session_id, subject)
        self._coalesce = coalesce

    async def begin(self, *, epoch: str = "", offset: str = "") -> str:
        """Take up position at a client's cursor and give the ``welcome`` frame."""
        state = await self._layer.ensure(self._session_id, self._subject)
        start = resume(
            epoch,
            offset,
            log_epoch=state.epoch,
            oldest=state.oldest,
            newest=state.newest,
            live_after=state.active_after,
        )
        self.position = start.after
        self.log_epoch = state.epoch
        metrics.RESUMES.labels(_RESUMES[start.recovered]).inc()
        return json_text.encode(welcome_fields(state, start))

    def encode(self, batch: list[Frame] | Snapshot) -> Iterable[str]:
        """See ``Subscription``."""
        if isinstance(batch, Snapshot):
            return [batch.v1]
        if self._coalesce and len(batch) > 1:
            return (frames.merged_tokens(run) for run in runs(batch))
        return (frame.v1 for frame in batch)

    def encode_frame(self, frame: Frame) -> str | None:
        """See ``Subscription``."""
        return frame.v1


def _take_nothing(text: str) -> bool:
    return False


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


def listed_fields(state: SessionState) -> dict[str, object]:
    """Describe a session in a list."""
    live = resume(
        "", "", log_epoch=state.epoch, oldest=state.oldest, newest=state.newest, live_after=state.active_after
    )
    fields = welcome_fields(state, live)
    shown = {name: fields[name] for name in ("session_id", "epoch", "offset", "active", "queued")}
    seconds = {"idle_seconds": round(state.idle_seconds, 3), "age_seconds": round(state.age_seconds, 3)}
    return {**shown, "viewers": state.viewers, **seconds}


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
