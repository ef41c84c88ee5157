"""AG-UI's runs: each is found by its id alone, and streamed behind any event of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from relay.adapters.ag_ui import EventId, parse_event_id, with_ids
from relay.adapters.base import message_id_of
from relay.adapters.turn_stream import TurnStream
from relay.conf import conf
from relay.delivery.subscription import Subscription
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import AnswerGone, ParameterInvalid, RunUnknown
from relay.layers.limits import Limits
from relay.policies import Handshake, Identity
from relay.protocol.event_stream import encode_event
from relay.protocol.frames import Frame, Snapshot

FROM_THE_START: Final = "-1"  # as an ``offset``
MAX_RUN_SECONDS: Final = 3_600.0  # for which a run is found by its id alone


class Run(NamedTuple):
    """The turn behind a run."""

    turn_id: str
    session_id: str


async def remember_run(limits: Limits, run_id: str, run: Run) -> None:
    """Let every process find a run by its id alone; the first run of an id counts."""
    seconds = min(conf.buffer_ttl_seconds, MAX_RUN_SECONDS)
    await within_store_timeout(limits.use_once(_key(run_id), seconds, f"{run.turn_id} {run.session_id}"))


async def find_run(limits: Limits, run_id: str) -> Run:
    """Find a run by its id.

    Raises:
        RunUnknown: no process has seen it, or not for long.
    """
    known = await within_store_timeout(limits.used_for(_key(run_id))) if run_id else None
    if known is None:
        raise RunUnknown
    turn_id, _, session_id = known.partition(" ")
    return Run(turn_id, session_id)


async def name_run(limits: Limits, run: Run, preferred: Any) -> str | None:
    """Return an id by which every process finds a run: a preferred one (any JSON), otherwise its turn's."""
    for run_id in (preferred, run.turn_id):
        if isinstance(run_id, str) and run_id:
            await remember_run(limits, run_id, run)
            if await find_run(limits, run_id) == run:
                return run_id
    return None


def _key(run_id: str) -> str:
    return f"run:{message_id_of(run_id)}"


def offset_in(query: Mapping[str, str]) -> str:
    """Return the cursor in an address; empty if it says "from the start"."""
    offset = query.get("offset", FROM_THE_START)
    return "" if offset == FROM_THE_START else offset


def read_cursor(text: str, name: str) -> EventId | None:
    """Read the id of the last event that a client has; ``None`` if it wants all.

    Raises:
        ParameterInvalid: it is no event's.
    """
    cursor = parse_event_id(text)
    if text and cursor is None:
        raise ParameterInvalid(f"{name} must be one that an event had.")
    return cursor


class RunStream(TurnStream):
    """One viewer of one run: each event has an id, and those up to the cursor are left out.

    They are translated nevertheless, so that the messages open at the cursor are known.
    """

    def __init__(self, session_id: str, handshake: Handshake, identity: Identity, cursor: EventId | None) -> None:
        super().__init__(session_id, handshake, identity)
        self._cursor = cursor

    def write(self, event_id: EventId, event: str) -> bytes:
        """Write one event."""
        return encode_event(event, event_id=str(event_id))

    def check_cursor(self) -> None:
        """Refuse a cursor of a log that is gone.

        Raises:
            AnswerGone: it is of another epoch.
        """
        if self._cursor is not None and self._cursor.epoch != self._subscription.log_epoch:
            raise AnswerGone

    @property
    def takes_snapshot(self) -> bool:
        """See ``TurnStream``: a client behind a cursor has a part."""
        return self._cursor is None and super().takes_snapshot

    def encode_frame(self, frame: Frame, events: list[str]) -> bytes:
        """Write the events behind the cursor, each with its id.

        Raises:
            ParameterInvalid: the cursor is not of this run; an end without its events would look like an answer.
        """
        if frame.is_terminal and self._cursor is not None and self._cursor.offset > frame.offset:
            raise ParameterInvalid("the cursor is beyond the run's end.")
        return b"".join(self._with_ids(frame, events))

    def encode_snapshot(self, snapshot: Snapshot, events: list[str]) -> bytes:
        """Write the whole text, each event with an id."""
        ids = (EventId(snapshot.epoch, snapshot.offset, before) for before in reversed(range(len(events))))
        return b"".join(self.write(event_id, event) for event_id, event in zip(ids, events, strict=True))

    def _with_ids(self, frame: Frame, events: list[str]) -> Iterator[bytes]:
        for event_id, event in with_ids(self._subscription.position.epoch, frame, events):
            if self._cursor is None or event_id.is_behind(self._cursor):
                yield self.write(event_id, event)

    @property
    def _subscription(self) -> Subscription:
        subscription = self.connection.subscription
        assert subscription is not None  # noqa: S101 - the connection is open
        return subscription
