"""Models of the frames that go over a socket. They describe them for OpenAPI, AsyncAPI and readers.

Frames are made elsewhere; tests check real frames against these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from relay.agent.protocols.base import RESERVED_TYPES
from relay.layers.values import CancelStatus, TurnStatus
from relay.web.schema_fields import (
    AnyTurnId,
    ClientMessageId,
    Code,
    Epoch,
    Model,
    Moment,
    Offset,
    Replaces,
    RetryAfter,
    TurnId,
    Words,
)

GATEWAYS_TYPES: Final = (
    "assistant_message",
    "error",
    *sorted(RESERVED_TYPES),
)  # of an agent's own event, none of these


CallId = Annotated[str, Field(description="The id of a tool call; its result has the same id.")]
Tokens = Annotated[int | None, Field(ge=0)]


class LogFrame(Model):
    """A frame of a session's log."""

    turn_id: TurnId
    offset: Offset


# Frames of the log.


class UserMessage(LogFrame):
    """Starts a turn: a message of any client of the session. A forwarded type keeps its own fields."""

    type: Literal["user_message"]
    content: str
    client_message_id: ClientMessageId = None
    replaces: Replaces = None


class Token(LogFrame):
    """One token of the answer, or several merged ones, for a client that requested this."""

    type: Literal["assistant_message"]
    token: str
    is_final: Literal[False]
    from_offset: Annotated[Offset | None, Field(description="The first of the merged frames.")] = None


class FinalMessage(LogFrame):
    """Ends a turn."""

    type: Literal["assistant_message"]
    token: Literal[""]
    is_final: Literal[True]
    finish_reason: Annotated[str, Field(description="stop, cancelled, or the agent's own reason.")]


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


# Events of the agent that have the same shape whatever protocol it speaks: relay/agent/protocols/vocabulary.py.


class Reasoning(LogFrame):
    """A piece of the model's reasoning; pieces are joined like tokens."""

    type: Literal["reasoning"]
    token: str


class AskedCall(Model):
    """An earlier tool call about which the agent asks a person."""

    call_id: CallId
    tool_name: str
    arguments: dict[str, Any] | str


class ToolCall(LogFrame):
    """A tool call of the agent, or its question to a person. The same call may be sent again to ask for approval."""

    type: Literal["tool_call"]
    call_id: CallId
    tool_name: str
    arguments: Annotated[dict[str, Any] | str, Field(description="An object, or a string if the agent sent no object.")]
    requires_approval: Annotated[bool | None, Field(description="true: the agent waits for a person.")] = None
    approval_id: Annotated[str | None, Field(description="The agent's id for the approval, if it has one.")] = None
    tool_call: Annotated[AskedCall | None, Field(description="The call that a question is about, if it names one.")] = (
        None
    )


class ToolResult(LogFrame):
    """A tool's result, or the reason why there is none: either ``result`` or ``error``."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["result"]}, {"required": ["error"]}]})

    type: Literal["tool_result"]
    call_id: CallId
    tool_name: str | None = None
    result: Annotated[Any, Field(description="Any JSON.")] = None
    error: Words | None = None


class Usage(LogFrame):
    """The tokens that the answer used. Several such events of one turn are added up."""

    model_config = ConfigDict(extra="allow")

    type: Literal["usage"]
    input_tokens: Tokens = None
    output_tokens: Tokens = None
    total_tokens: Tokens = None
    cached_input_tokens: Annotated[Tokens, Field(description="A part of input_tokens.")] = None
    reasoning_tokens: Annotated[Tokens, Field(description="A part of output_tokens.")] = None


class SessionTitle(LogFrame):
    """The title of the conversation, set by the agent."""

    type: Literal["session_title"]
    title: str


class MessageStart(LogFrame):
    """The tokens that follow belong to another message of the same answer."""

    type: Literal["message_start"]
    message_id: str


class Notice(LogFrame):
    """A message for people. It does not end the turn."""

    type: Literal["notice"]
    code: Code
    content: Words


class PendingResolved(LogFrame):
    """The turn's message answers a question of the agent. Further answers are refused with ``already_decided``."""

    type: Literal["pending_resolved"]
    call_id: CallId


# Frames for one connection only.


class OperatorNotice(Model):
    """A notice from an operator. It is in no log."""

    type: Literal["notice"]
    code: Literal["operator"]
    content: Words


class Active(Model):
    """The turn in flight."""

    turn_id: TurnId
    status: Literal["running", "cancelling"]


class Pending(Model):
    """A question of the agent that no message has answered yet."""

    call_id: CallId
    turn_id: Annotated[TurnId, Field(description="The turn in which it was asked.")]
    tool_name: str
    arguments: Annotated[dict[str, Any] | list[Any] | str | None, Field(description="null: too large, or none.")]
    expires_at: Annotated[str, Field(description="In UTC, as in RFC 3339.", json_schema_extra={"format": "date-time"})]


class SessionInfo(Model):
    """A session at one moment."""

    session_id: str
    epoch: Epoch
    offset: Annotated[Offset, Field(description="The newest frame.")]
    after: Annotated[
        Offset | None, Field(description="The next frames start after this offset; null if a snapshot follows.")
    ]
    recovered: Annotated[bool | None, Field(description="Are all frames after the cursor still kept? null: no cursor.")]
    heartbeat_seconds: float
    retention_seconds: float
    max_message_bytes: int
    active: Active | None
    queued: Annotated[list[TurnId], Field(description="In the order in which they will be run.")]
    pending: Annotated[list[Pending], Field(description="Oldest first.")]
    history: Annotated[
        bool, Field(description="Can ended turns, including those no longer in the log, be read page by page?")
    ]


class Welcome(SessionInfo):
    """The first frame of a connection."""

    type: Literal["welcome"]


class Failure(Model):
    """How a turn failed."""

    code: Code
    content: Words


class Snapshot(Model):
    """The newest turn's text so far. It replaces everything that the client has of that turn."""

    type: Literal["snapshot"]
    epoch: Epoch
    turn_id: TurnId | None
    user_message: Annotated[
        dict[str, Any] | None, Field(description="The turn's message, while it runs; null once it has ended.")
    ]
    content: str | None
    offset: Offset
    reason: Literal["trimmed", "epoch_changed"]
    finish_reason: Annotated[str | None, Field(description="null while the turn runs; error after an error.")]
    error: Failure | None
    history: Annotated[bool, Field(description="Can ended turns be read page by page?")]


class PlacedEvent(Model):
    """An event of an ended turn that is not text."""

    position: Annotated[int, Field(ge=0, description="Code points of the answer before it.")]
    event: Annotated[
        dict[str, object], Field(description="As it was sent; adjacent `reasoning` events are merged into one.")
    ]


class EndedTurn(Model):
    """An ended turn of a session."""

    turn_id: TurnId
    subject: Annotated[str | None, Field(description="Its sender, if known.")]
    message: Annotated[str, Field(description="Its content; for a forwarded type the whole message as JSON.")]
    answer: Annotated[str, Field(description="The answer as far as it was received.")]
    finish_reason: Annotated[str, Field(description="stop, cancelled, error, or the agent's own reason.")]
    error: Failure | None
    events: list[PlacedEvent]
    events_left_out: Annotated[
        int, Field(ge=0, description="The number of events beyond GATEWAY__TRANSCRIPT_EVENTS_BYTES.")
    ]
    started_at: Moment
    ended_at: Moment


class TurnPage(Model):
    """Some of a session's ended turns, newest first; ``next`` is ``before`` of the next page, null on the last."""

    turns: list[EndedTurn]
    next: str | None
    incomplete: Annotated[bool, Field(description="Turns may be missing at the moment: request the page again.")]


class AcceptedFields(Model):
    """A stored message: it will be answered, or end in one error."""

    client_message_id: ClientMessageId
    turn_id: TurnId
    position: Annotated[int | None, Field(ge=0, description="Queued turns ahead of it; null once it has ended.")]
    status: TurnStatus
    duplicate: Annotated[bool, Field(description="The message was already stored; this is its turn.")]


class Accepted(AcceptedFields):
    """The reply to a message, for its sender only."""

    type: Literal["accepted"]


class CancelAckFields(Model):
    """The result of a request to stop a turn; ``turn_id`` is null if there was nothing to stop."""

    turn_id: AnyTurnId | None
    status: CancelStatus


class CancelAck(CancelAckFields):
    """The reply to ``cancel``."""

    type: Literal["cancel_ack"]


class HistoryFrame(TurnPage):
    """The reply to ``history``."""

    type: Literal["history"]
    client_message_id: ClientMessageId


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
    reconnect: Annotated[bool, Field(description="May the client reconnect?")]
    delay_ms: Annotated[int, Field(ge=0, description="Milliseconds to wait before reconnecting.")]


# Frames of the plain dialect.


class PlainToken(Model):
    """One token of the answer."""

    type: Literal["assistant_message"]
    token: str
    is_final: Literal[False]


class PlainFinal(Model):
    """The turn is over, even after a cancel."""

    type: Literal["assistant_message"]
    token: Literal[""]
    is_final: Literal[True]


class PlainError(Model):
    """The turn failed, or a frame was refused; the socket stays open."""

    type: Literal["error"]
    content: Words
