"""Models of what goes over the wire, for OpenAPI, AsyncAPI and readers. They also check REST's bodies and answers.

Frames are made elsewhere; tests check real frames against these models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from ninja import Body, Path
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)

from relay.agent.protocols.base import RESERVED_TYPES
from relay.conf import conf
from relay.layers.values import CancelStatus, TurnStatus
from relay.policies.handshake import is_subject
from relay.protocol.client_messages import CLIENT_MESSAGE_ID_PATTERN, is_session_id

MAX_LIMIT: Final = 1_000  # of a page, whatever is on it
MAX_TICKET_SECONDS: Final = 86_400

# What a field must be, in words for the caller. Any other invalid field makes the whole body an invalid message.
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


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


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
AnyTurnId = Annotated[  # unlike pydantic's own text it may hold half a character
    str, PlainValidator(_text), WithJsonSchema({"type": "string", "description": "Names a turn."})
]
_SESSION_ID_SCHEMA: Final = WithJsonSchema(
    {
        "type": "string",
        "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._:~@-]{1,128}$",
        "description": "1 to 128 of A-Z a-z 0-9 . _ : ~ @ -, but not a dot or two alone.",
    }
)
SessionId = Annotated[str, AfterValidator(_checked(is_session_id)), _SESSION_ID_SCHEMA]
SessionPath = Annotated[str, _SESSION_ID_SCHEMA, Path()]  # the path's converter has checked it
SESSION: Final = "/sessions/{session_id:session_id}"
PageCursor = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "pattern": "^([A-Za-z0-9_-]{4})*$", "description": "`next` of the page before; or empty."}
    ),
]
Subject = Annotated[
    str,
    AfterValidator(_checked(is_subject)),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[!-~]([ -~]{0,253}[!-~])?$",
            "description": "The ticket's holder: 1 to 255 printable ASCII characters, no space at either end.",
        }
    ),
]


class Model(BaseModel):
    """Fields are described; a client ignores those that it does not know."""

    model_config = ConfigDict(extra="ignore")


class LogFrame(Model):
    """A frame of a session's log."""

    turn_id: TurnId
    offset: Offset


# Frames of the log.


class UserMessage(LogFrame):
    """Starts a turn: a message of any client of the session. A forwarded kind keeps its own fields."""

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
    """Another object of the agent, passed on unchanged."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(GATEWAYS_TYPES)}})]


class Notice(LogFrame):
    """A message for people. It ends nothing."""

    type: Literal["notice"]
    code: Code
    content: Words


# Frames for one connection only.


class OperatorNotice(Model):
    """An operator's words. They are in no log."""

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
    after: Annotated[Offset | None, Field(description="The next frames start after it; null if a snapshot follows.")]
    recovered: Annotated[bool | None, Field(description="Is every frame after the cursor still kept? null: no cursor.")]
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
    """The newest turn's text so far. It replaces all that the client has of that turn."""

    type: Literal["snapshot"]
    epoch: Epoch
    turn_id: TurnId | None
    content: str | None
    offset: Offset
    reason: Literal["trimmed", "epoch_changed"]
    finish_reason: Annotated[str | None, Field(description="null while the turn runs; error after an error.")]
    error: Failure | None


class AcceptedFields(Model):
    """A stored message: it will be answered, or end in one error."""

    client_message_id: ClientMessageId
    turn_id: TurnId
    position: Annotated[int | None, Field(ge=0, description="Queued turns before it; null once it has ended.")]
    status: TurnStatus
    duplicate: Annotated[bool, Field(description="The message was stored before; this is its turn.")]


class Accepted(AcceptedFields):
    """The answer to a message, for its sender only."""

    type: Literal["accepted"]


class CancelAckFields(Model):
    """The outcome of a request to stop a turn; ``turn_id`` is null when there was nothing to stop."""

    turn_id: AnyTurnId | None
    status: CancelStatus


class CancelAck(CancelAckFields):
    """The answer to ``cancel``."""

    type: Literal["cancel_ack"]


class Ping(Model):
    """A heartbeat: the position of this connection."""

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
    reconnect: Annotated[bool, Field(description="May the client come back?")]
    delay_ms: Annotated[int, Field(ge=0, description="Milliseconds to wait before coming back.")]


# Messages of clients.


class Message(Model):
    """Starts a turn."""

    content: str
    type: Literal["user_message"] = "user_message"
    client_message_id: ClientMessageId = None
    on_busy: Literal["enqueue", "reject", "interrupt"] = "enqueue"
    traceparent: Annotated[str | None, Field(description="W3C trace context; the agent gets it as a header.")] = None


class ClientUserMessage(Message):
    """Starts a turn."""

    type: Literal["user_message"]


class CancelFields(Model):
    """Stops a turn: the named one, or else the turn in flight, or else the queue's head."""

    turn_id: AnyTurnId | None = None


class ClientCancel(CancelFields):
    """Stops a turn: the named one, or else the turn in flight, or else the queue's head."""

    type: Literal["cancel"]


# The plain dialect: messages and frames.


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


# REST only.


class ListedSession(Model):
    """A session in a list."""

    session_id: str
    epoch: Epoch
    offset: Offset
    active: Active | None
    queued: list[TurnId]
    viewers: Annotated[int, Field(ge=0)]
    idle_seconds: Annotated[float, Field(description="Since the last frame or message.")]
    age_seconds: Annotated[float, Field(description="Since the session was started.")]


class SessionPage(Model):
    """Some of the sessions; ``next`` is the cursor of the next page, null on the last."""

    sessions: list[ListedSession]
    next: str | None


class ClearedQueue(Model):
    """The outcome of clearing a queue."""

    cancelled: Annotated[int, Field(ge=0, description="Turns that will end without running.")]


class DisconnectedViewers(Model):
    """The viewers that are being disconnected."""

    viewers: Annotated[int, Field(ge=0, description="The number of viewers.")]


class NoticeRequest(Model):
    """Sends words to every client, or to the clients of one session."""

    content: Annotated[str, Field(pattern=r"\S", description="Words for a person.")]
    session_id: SessionId | None = None


class DrainRequest(Model):
    """Ends one process in order, or every process."""

    everywhere: Annotated[bool, Field(strict=True)] = False


class FramePage(Model):
    """Frames of the log, as a ``gateway.v1`` client gets them; empty at the newest."""

    epoch: Epoch
    frames: list[dict[str, object]]


class SnapshotPage(Model):
    """A snapshot, in place of frames that are gone."""

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
    """A ticket, for the browser that is to open the session."""

    ticket: str
    expires_in: Annotated[int, Field(description="Seconds.")]


class Detail(Model):
    """The error of a request that has nothing to do with messages."""

    detail: str


# Bodies and answers of REST.

CANCEL: Final = CancelFields()
DRAIN_HERE: Final = DrainRequest()


class _DescribedBy:
    """Describe a body by models, where it is read as a plain object because its text may hold half a character."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Give the models' schema."""
        return self._describe()


def _message_schema() -> dict[str, Any]:
    """Describe what starts a turn: a user message, or one of the kinds that this gateway forwards."""
    message = Message.model_json_schema()
    if not conf.forward_types:
        return message
    properties = {**message["properties"], "content": {}, "type": {"enum": sorted(conf.forward_types)}}
    return {"oneOf": [message, {**message, "title": "Forwarded", "properties": properties, "required": ["type"]}]}


MessageBody = Annotated[dict[Any, Any], _DescribedBy(_message_schema), Body()]
NoticeBody = Annotated[dict[Any, Any], _DescribedBy(NoticeRequest.model_json_schema), Body()]


def answers(success: dict[int, Any], *refusals: int, in_session: bool = True) -> dict[int, Any]:
    """List an operation's answers by status, for ninja: models of success, and how it may be refused.

    Args:
        refusals: statuses that come with the error frame. 401, and in a session 404, come with a detail.
    """
    details = (401, 404) if in_session else (401,)
    return {**success, **dict.fromkeys(details, Detail), **dict.fromkeys(refusals, Refusal)}
