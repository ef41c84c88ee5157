"""What goes over the wire, described: for OpenAPI, AsyncAPI and readers. The frames themselves are made elsewhere.

Tests check true frames against these models, so a description that is not true does not last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from relay.agent.protocols.agent import RESERVED_TYPES
from relay.layers.values import CancelStatus, TurnStatus
from relay.policies.handshake import is_subject
from relay.protocol.client_messages import CLIENT_MESSAGE_ID_PATTERN, is_session_id

MAX_LIMIT: Final = 1_000  # of a page, whatever is on it
MAX_TICKET_SECONDS: Final = 86_400

# What a parameter must be, for the one who sent another; those that may be any text are not refused.
EXPECTED: Final = {
    "session_id": "1 to 128 of A-Z a-z 0-9 . _ : ~ @ -, but not a dot or two alone",
    "subject": "1 to 255 printable ASCII characters",
    "expires_in": f"a whole number of seconds, 1 to {MAX_TICKET_SECONDS}",
    "limit": f"a whole number, 1 to {MAX_LIMIT}",
}

GATEWAYS_TYPES: Final = (
    "assistant_message",
    "error",
    *sorted(RESERVED_TYPES),
)  # of an agent's own event, none of these


def _checked(is_valid: Callable[[str], bool]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not is_valid(text):
            raise ValueError
        return text

    return check


Epoch = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,32}$", description="Names one life of the log.")]
Offset = Annotated[int, Field(ge=0, description="A frame's place in its log: 1, 2, 3 and so on.")]
TurnId = Annotated[str, Field(description="Names a turn.")]
Words = Annotated[str, Field(description="Words for a person.")]
Code = Annotated[str, Field(description="What happened, for a program.")]
RetryAfter = Annotated[
    int | None, Field(ge=0, description="Milliseconds after which the same message may succeed; absent if never.")
]
ClientMessageId = Annotated[
    str | None,
    # JSON Schema knows no \Z; its $ is the very end, as Python's \Z.
    Field(pattern=CLIENT_MESSAGE_ID_PATTERN.replace(r"\Z", "$"), description="The client's own name for its message."),
]
SessionId = Annotated[
    str, AfterValidator(_checked(is_session_id)), Field(description="1 to 128 of A-Z a-z 0-9 . _ : ~ @ -")
]
Subject = Annotated[
    str,
    AfterValidator(_checked(is_subject)),
    Field(description="Whom the ticket makes its holder: 1 to 255 printable ASCII characters."),
]


class Model(BaseModel):
    """Fields are described; a client ignores those that it does not know."""

    model_config = ConfigDict(extra="ignore")


class LogFrame(Model):
    """A frame of a session's log."""

    turn_id: TurnId
    offset: Offset


# What the log holds.


class UserMessage(LogFrame):
    """Begins a turn: what some client of the session sent. Forwarded kinds come as they were sent."""

    type: Literal["user_message"]
    content: str
    client_message_id: ClientMessageId = None


class Token(LogFrame):
    """One token of the answer, or several that were merged for a client that asked for that."""

    type: Literal["assistant_message"]
    token: str
    is_final: Literal[False]
    from_offset: Annotated[Offset | None, Field(description="The first of the merged frames.")] = None


class FinalMessage(LogFrame):
    """Ends a turn."""

    type: Literal["assistant_message"]
    token: Literal[""]
    is_final: Literal[True]
    finish_reason: Annotated[str, Field(description="stop, cancelled, or what the agent said.")]


class TurnError(LogFrame):
    """Ends a turn without its answer."""

    type: Literal["error"]
    content: Words
    code: Code
    retry_after_ms: RetryAfter = None


class AgentEvent(LogFrame):
    """Another object of the agent, passed on as it came."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(GATEWAYS_TYPES)}})]


class Notice(LogFrame):
    """Something that a person should know and that ends nothing."""

    type: Literal["notice"]
    code: Code
    content: Words


# What only one connection gets.


class OperatorNotice(Model):
    """An operator's words, in no log."""

    type: Literal["notice"]
    code: Literal["operator"]
    content: Words


class Active(Model):
    """The turn in flight."""

    turn_id: TurnId
    status: Literal["running", "cancelling"]


class SessionInfo(Model):
    """A session at one moment."""

    session_id: str
    epoch: Epoch
    offset: Annotated[Offset, Field(description="The newest frame.")]
    after: Annotated[Offset | None, Field(description="What follows begins behind it; null if a snapshot follows.")]
    recovered: Annotated[
        bool | None, Field(description="Is every frame behind the cursor still there? null: no cursor.")
    ]
    heartbeat_seconds: float
    retention_seconds: float
    max_message_bytes: int
    active: Active | None
    queued: Annotated[list[TurnId], Field(description="In the order in which they will run.")]


class Welcome(SessionInfo):
    """The first frame of a connection."""

    type: Literal["welcome"]


class Failure(Model):
    """How a turn failed."""

    code: Code
    content: Words


class Snapshot(Model):
    """The newest turn's text so far: put it in place of what is shown of that turn."""

    type: Literal["snapshot"]
    epoch: Epoch
    turn_id: TurnId | None
    content: str | None
    offset: Offset
    reason: Literal["trimmed", "epoch_changed"]
    finish_reason: Annotated[str | None, Field(description="null while the turn runs; error after an error.")]
    error: Failure | None


class AcceptedFields(Model):
    """A message that is stored: it will be answered, or end in one error."""

    client_message_id: ClientMessageId
    turn_id: TurnId
    position: Annotated[int | None, Field(ge=0, description="Queued turns before it; null once it has ended.")]
    status: TurnStatus
    duplicate: Annotated[bool, Field(description="It was known already; this is its turn.")]


class Accepted(AcceptedFields):
    """The answer to a message, for its sender only."""

    type: Literal["accepted"]


class CancelAckFields(Model):
    """What became of a wish to stop a turn; ``turn_id`` is null when there was nothing to stop."""

    turn_id: TurnId | None
    status: CancelStatus


class CancelAck(CancelAckFields):
    """The answer to ``cancel``."""

    type: Literal["cancel_ack"]


class Ping(Model):
    """A sign of life: where this connection stands."""

    type: Literal["ping"]
    epoch: Epoch
    offset: Offset


class Refusal(Model):
    """A message was refused. Not in the log; it has no ``turn_id``."""

    type: Literal["error"]
    content: Words
    code: Code
    retry_after_ms: RetryAfter = None
    client_message_id: ClientMessageId = None


class Disconnect(Model):
    """The last frame before the server closes on purpose."""

    type: Literal["disconnect"]
    code: Code
    content: Words
    reconnect: Annotated[bool, Field(description="Come back?")]
    delay_ms: Annotated[int, Field(ge=0, description="Come back after so long.")]


# What clients say.


class Message(Model):
    """Starts a turn. Kinds that the gateway forwards go to the agent whole, with whatever fields they have."""

    content: str
    type: str = "user_message"
    client_message_id: ClientMessageId = None
    on_busy: Literal["enqueue", "reject", "interrupt"] = "enqueue"
    traceparent: Annotated[str | None, Field(description="W3C trace context; the agent gets it as a header.")] = None


class ClientUserMessage(Message):
    """Starts a turn."""

    type: Literal["user_message"]


class CancelFields(Model):
    """Stops a turn; without ``turn_id`` the one in flight, else the queue's head."""

    turn_id: TurnId | None = None


class ClientCancel(CancelFields):
    """Stops a turn; without ``turn_id`` the one in flight, else the queue's head."""

    type: Literal["cancel"]


# What plain clients say and get.


class PlainUserMessage(Model):
    """Starts a turn."""

    type: Literal["user_message"]
    content: str


class PlainCancel(Model):
    """Stops the turn in flight, else the queue's head."""

    type: Literal["cancel"]


class PlainToken(Model):
    """One token of the answer."""

    type: Literal["assistant_message"]
    token: str
    is_final: Literal[False]


class PlainFinal(Model):
    """The turn is over, also after a cancel."""

    type: Literal["assistant_message"]
    token: Literal[""]
    is_final: Literal[True]


class PlainError(Model):
    """The turn failed, or a frame was refused; the socket stays open."""

    type: Literal["error"]
    content: Words


# What REST gives beside these.


class ListedSession(Model):
    """A session in a list."""

    session_id: str
    epoch: Epoch
    offset: Offset
    active: Active | None
    queued: list[TurnId]
    viewers: Annotated[int, Field(ge=0)]
    idle_seconds: Annotated[float, Field(description="Since the last frame or message.")]
    age_seconds: Annotated[float, Field(description="Since the session was begun.")]


class SessionPage(Model):
    """Some of the sessions; ``next`` is the cursor of the next page, null on the last."""

    sessions: list[ListedSession]
    next: str | None


class ClearedQueue(Model):
    """What became of a queue."""

    cancelled: Annotated[int, Field(ge=0, description="Turns that will end without being run.")]


class DisconnectedViewers(Model):
    """Who is being sent away."""

    viewers: Annotated[int, Field(ge=0, description="How many watched.")]


class NoticeRequest(Model):
    """Shows words to everybody, or to those who watch one session."""

    content: Words
    session_id: str | None = None


class DrainRequest(Model):
    """Ends a process in order, or all of them."""

    everywhere: bool = False


class FramePage(Model):
    """Frames of the log, as a ``gateway.v1`` client gets them; empty at the newest."""

    epoch: Epoch
    frames: list[dict[str, object]]


class SnapshotPage(Model):
    """What there is instead of frames that are gone."""

    epoch: Epoch
    snapshot: Snapshot


class TicketRequest(Model):
    """Asks for a ticket."""

    session_id: SessionId
    subject: Subject | None = None
    expires_in: Annotated[
        int | None,
        Field(strict=True, ge=1, le=MAX_TICKET_SECONDS, description="Seconds; absent: GATEWAY__TICKET_SECONDS."),
    ] = None


class IssuedTicket(Model):
    """A ticket: hand it to the browser that is to open the session."""

    ticket: str
    expires_in: Annotated[int, Field(description="Seconds.")]


class Detail(Model):
    """What is wrong with a request that is not about a message."""

    detail: str
