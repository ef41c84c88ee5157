"""Models of clients' messages, over a socket or by REST. They describe them for OpenAPI, AsyncAPI and readers.

Sockets parse their messages elsewhere; tests check that both understand the same ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from relay.protocol.client_messages import DEFAULT_HISTORY_TURNS, MAX_HISTORY_TURNS
from relay.web.schema_fields import AnyTurnId, ClientMessageId, Model, Replaces, TurnCursor


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
    replaces: Replaces = None


class CancelFields(Model):
    """Stops a turn: the named one, otherwise the turn in flight, otherwise the head of the queue."""

    turn_id: AnyTurnId | None = None


class ClientCancel(CancelFields):
    """Stops a turn: the named one, otherwise the turn in flight, otherwise the head of the queue."""

    type: Literal["cancel"]


class ClientHistory(Model):
    """Requests a page of ended turns."""

    type: Literal["history"]
    before: TurnCursor = ""
    limit: Annotated[int, Field(ge=1, le=MAX_HISTORY_TURNS)] = DEFAULT_HISTORY_TURNS
    client_message_id: ClientMessageId = None


# Messages of the plain dialect.


class PlainUserMessage(Model):
    """Starts a turn."""

    type: Literal["user_message"]
    content: str


class PlainCancel(Model):
    """Stops the turn in flight or, if there is none, the head of the queue."""

    type: Literal["cancel"]
