"""The arguments and results of a session layer: plain values, the same for every backend."""

from __future__ import annotations

import enum
import secrets
import time
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from relay.protocol import json_text
from relay.protocol.answers import MAX_CALL_ID_CHARACTERS, answers_of
from relay.protocol.client_messages import OnBusy, StartTurn
from relay.protocol.cursor import UNKNOWN, Cursor, Resume, is_epoch, parse_offset
from relay.protocol.frames import CallFrame
from relay.protocol.text import whole_characters
from relay.protocol.trace_context import traceparent

__all__ = [
    "Accepted",
    "AgentPosition",
    "CancelAck",
    "CancelStatus",
    "NewNotification",
    "NewTurn",
    "Notification",
    "Question",
    "Rate",
    "SessionPage",
    "SessionState",
    "Turn",
    "Viewer",
    "new_epoch",
    "new_id",
]

TurnStatus = Literal["queued", "running", "ended"]

MAX_RUN_CHARACTERS: Final = 1_000  # of the agent's name for its run
MAX_CURSOR_CHARACTERS: Final = 256  # of the agent's name for one of its events


class CancelStatus(enum.StrEnum):
    """The result of a request to cancel a turn."""

    CANCELLING = "cancelling"
    QUEUED = "queued"  # it will end without being run
    ALREADY_ENDED = "already_ended"
    UNKNOWN = "unknown"


class NewTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A client's message on its way into the queue.

    Attributes:
        turn_id: made by the caller, so that ``enqueue`` may be repeated.
        body: the message as one JSON object, as in the log's ``user_message`` frame.
        client_message_id: the client's own name for it; ``None`` if it gave none.
        subject: its authenticated sender; ``None``: the sender was not authenticated.
        is_detached: may it continue without viewers, whatever ``ON_DISCONNECT`` says? (Started by REST.)
        traceparent: the client's trace context, valid; ``None`` if it has none.
        answers: the questions of the agent that the message answers, by their ``call_id``.
    """

    turn_id: str
    body: str
    client_message_id: str | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE
    subject: str | None = None
    is_detached: bool = False
    traceparent: str | None = None
    answers: tuple[str, ...] = ()


class Viewer(NamedTuple):
    """A viewer of a session.

    Attributes:
        name: its own, as ``attach`` was told.
        subject: the authenticated one; ``None``: it is not checked.
    """

    session_id: str
    name: str
    subject: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a message that is stored.

    ``position``: queued turns before it, the running one not counted; ``None`` once ended.
    """

    turn_id: str
    position: int | None
    status: TurnStatus
    duplicate: bool


class Appending(Protocol):
    """An append that is in flight, or has failed."""

    async def wait(self) -> int:
        """Wait for its end. Returns the offset of the last frame, or raises what ``append`` raises."""


class AgentPosition(msgspec.Struct, frozen=True):
    """How far an answer is in the log, as its agent counts: where a broken answer continues.

    Attributes:
        run: the agent's name for the answer that it is producing.
        cursor: the agent's name for an event of it; empty: before the first.
        skip: how many frames of what follows that event are in the log already.

    Raises:
        ValueError: a name is too long (``MAX_RUN_CHARACTERS``, ``MAX_CURSOR_CHARACTERS``), or holds a line feed or half
            a character.
    """

    run: str
    cursor: str = ""
    skip: int = 0

    def __post_init__(self) -> None:
        names = self.run + self.cursor
        if len(names) <= MAX_CURSOR_CHARACTERS and names.isascii() and names.isprintable():
            return  # as most are: each token has a position
        if not are_names(self.run, self.cursor):
            raise ValueError("an agent's id for a run or an event is too long, or not a single line of text")


class Turn(msgspec.Struct):
    """A turn in the hands of the worker that holds its lease.

    Attributes:
        lease_id: the lease that every write presents.
        message: goes to the agent: the client's message without ``client_message_id``. Any JSON.
        owner: the subject that the session belonged to when the turn was claimed; ``None``: to no subject.
        is_abandoned: its former worker died, or has released it: the agent is never asked again.
        position: of an abandoned turn, how far its answer is in the log, if every append since has said so; ``None``:
            it cannot continue.
        is_cancelled: it was cancelled before it was claimed.
        waited_seconds: from its acceptance to its first claim.
        ran_seconds: of an abandoned turn, from its first claim to the one that took it over; otherwise 0.
        traceparent: the trace context that goes to the agent: the client's or, with tracing, that of the turn's span.
        append_number: how many appends the layer has confirmed. A repeated append presents the same number, by which
            the layer recognises it; only the layer increments it.
        epoch: of the log in which it started; it distinguishes a store that is behind from one that came back empty.
        appending: an append that was started and not yet awaited; for the layer's own use.
        questions: the ``tool_call`` events that the message answers. Any JSON.
        is_last: no message waited behind it when it ended, so that its worker need not claim the session again; only
            the layer sets it.
    """

    session_id: str
    turn_id: str
    lease_id: str
    message: dict[str, Any]
    subject: str | None = None
    owner: str | None = None
    is_abandoned: bool = False
    position: AgentPosition | None = None
    is_cancelled: bool = False
    waited_seconds: float = 0.0
    ran_seconds: float = 0.0
    traceparent: str | None = None
    append_number: int = 0
    epoch: str = ""
    appending: Appending | None = None
    questions: list[dict[str, Any]] = []  # msgspec copies it
    is_last: bool = False


class NewNotification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification, which the step that ends a turn puts into the outbox under the turn's id.

    Attributes:
        text: if the turn ends as asked; empty: nothing.
        cancelled_text: if it was cancelled meanwhile; empty: nothing.
        if_unwatched: put it there only if no viewer is attached at that moment.
    """

    text: str
    cancelled_text: str
    if_unwatched: bool = False


class Notification(msgspec.Struct, frozen=True):
    """An entry of the outbox, leased to the worker that took it.

    ``age_seconds``: since the turn ended.
    """

    turn_id: str
    session_id: str
    text: str
    age_seconds: float


class CancelAck(msgspec.Struct, frozen=True):
    """The answer to a request to cancel; ``turn_id`` is ``None`` when there was no turn to cancel."""

    turn_id: str | None
    status: CancelStatus


class Question(msgspec.Struct, frozen=True):
    """A question of the agent to a person that no message has answered yet.

    Attributes:
        body: the agent's ``tool_call`` event as one JSON object; ``arguments`` is ``null`` if it was too large.
        seconds_left: until it expires.
    """

    call_id: str
    turn_id: str
    body: str
    seconds_left: float


class SessionState(msgspec.Struct, frozen=True, kw_only=True):
    """A session at one moment.

    Attributes:
        oldest, newest: offsets of the first and the last frame kept; ``newest`` = ``oldest`` − 1 if none is.
        active_turn_id: the turn in flight.
        active_after: the offset before that turn's first frame; ``newest`` without one.
        is_cancelling: was the turn in flight cancelled?
        queued: turn ids, in the order in which they will run.
        viewers: how many are attached.
        is_empty: was no message accepted in it yet? Then it is kept by its viewers alone.
        idle_seconds: since the last append or message; of an empty session as ``age_seconds``.
        age_seconds: since the session started, as an empty one or with its first message.
        questions: that wait for a person's answer, oldest first.
        owner: the subject that the session belongs to; ``None``: to no subject.
    """

    session_id: str
    epoch: str
    oldest: int
    newest: int
    active_turn_id: str | None
    active_after: int
    is_cancelling: bool
    queued: tuple[str, ...]
    viewers: int
    is_empty: bool
    idle_seconds: float
    age_seconds: float
    questions: tuple[Question, ...] = ()
    owner: str | None = None

    @property
    def unended_turn_id(self) -> str | None:
        """The turn in flight, otherwise the one that will be next; ``None`` if there is neither."""
        return self.active_turn_id or next(iter(self.queued), None)

    def resume(self, epoch: str = "", offset: str = "") -> Resume:
        """Compare a client's cursor with the log.

        Args:
            epoch, offset: the query's parameters, unparsed; empty counts as absent. A client without a cursor starts
                at ``active_after``.
        """
        if not epoch and not offset:
            return Resume(Cursor(self.epoch, self.active_after), None)
        position = parse_offset(offset)
        if position is None:
            return Resume(UNKNOWN, False)
        if not epoch:
            return Resume(Cursor(self.epoch, self.oldest - 1), True) if position == 0 else Resume(UNKNOWN, False)
        if not is_epoch(epoch) or (epoch == self.epoch and position > self.newest):
            return Resume(UNKNOWN, False)  # stays a gap even if the log reaches that offset before it is read
        return Resume(Cursor(epoch, position), epoch == self.epoch and self.oldest - 1 <= position)


class SessionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sessions.

    Attributes:
        sessions: of the servers that answered.
        cursor: of the next page; empty if there is none.
        is_all: are there no further sessions on these servers?
        nodes: the servers that keep sessions.
        silent_nodes: how many of them did not answer.
    """

    sessions: list[SessionState]
    cursor: str = ""
    is_all: bool = True
    nodes: int = 1
    silent_nodes: int = 0

    @property
    def warning(self) -> str:
        """A sentence that says how many nodes are missing; empty if none is."""
        if not self.silent_nodes:
            return ""
        return f"{self.silent_nodes} of {self.nodes} nodes of the store did not answer: sessions are missing."


class Rate(msgspec.Struct, frozen=True):
    """``count`` in ``seconds``; ``count`` is also the largest burst."""

    count: float
    seconds: float


def are_names(run: str, cursor: str) -> bool:
    """Can an agent's names for a run and an event be kept with the log? They are bounded, and one line each."""
    return _is_name(run, MAX_RUN_CHARACTERS) and _is_name(cursor, MAX_CURSOR_CHARACTERS)


def _is_name(name: str, max_characters: int) -> bool:
    return len(name) <= max_characters and "\n" not in name and (name.isascii() or whole_characters(name) == name)


def new_id() -> str:
    """Make a random name for a turn or a claim: 32 hexadecimal digits, 128 bits."""
    return secrets.token_hex(16)


def new_epoch() -> str:
    """Make a name for one life of a log: random, 72 bits, and as text above the names that were made before.

    The microseconds come first; the ``t`` sorts above the digits with which names of older versions start.
    """
    return f"t{time.time_ns() // 1_000:013x}{secrets.token_hex(9)}"


def new_turn(
    message: StartTurn, *, subject: str | None = None, is_detached: bool = False, outer_traceparent: str | None = None
) -> NewTurn:
    """Prepare a client's message for the queue, under a new turn id.

    ``outer_traceparent``: of the request or handshake that carried the message; the message's own takes precedence.
    """
    body = message.message
    if message.client_message_id is not None:
        body = {**body, "client_message_id": message.client_message_id}
    return NewTurn(
        turn_id=new_id(),
        body=json_text.encode(body),
        client_message_id=message.client_message_id,
        on_busy=message.on_busy,
        subject=subject,
        is_detached=is_detached,
        traceparent=traceparent(message.traceparent) or traceparent(outer_traceparent),
        answers=tuple(answer.call_id for answer in answers_of(message.message)),
    )


def question_body(frame: CallFrame, max_bytes: int) -> str:
    """Return the event that asks, as a session keeps it; empty if the frame asks nothing."""
    if not frame.is_question:
        return ""
    if len(frame.body.encode("utf-8", "surrogatepass")) <= max_bytes // 2:
        return frame.body
    tool_name = str(json_text.decode(frame.body).get("tool_name", ""))[:MAX_CALL_ID_CHARACTERS]
    kept = {"type": "tool_call", "call_id": frame.call_id, "tool_name": tool_name, "arguments": None}
    return json_text.encode({**kept, "requires_approval": True})


def agent_message(body: str) -> dict[str, Any]:
    """Read the message to the agent from a ``user_message`` frame's body. Any JSON."""
    message: dict[str, Any] = json_text.decode(body)
    message.pop("client_message_id", None)
    return message


def message_text(message: dict[str, Any]) -> str:
    """Return a message (any JSON) as a text: a ``user_message``'s words, the JSON of any other kind."""
    content = message.get("content")
    if message.get("type") == "user_message" and isinstance(content, str):
        return content
    return json_text.encode(message)
