"""Kinds of field, each with its description, that the models of frames and of REST share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from relay.protocol.client_messages import CLIENT_MESSAGE_ID_PATTERN, TURN_CURSOR_PATTERN, is_turn_cursor


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


Epoch = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,32}$", description="Names one life of the log.")]
Offset = Annotated[int, Field(ge=0, description="A frame's place in its log: 1, 2, 3 and so on.")]
TurnId = Annotated[str, Field(description="Names a turn.")]
Words = Annotated[str, Field(description="Words for a person.")]
Code = Annotated[str, Field(description="Names the event, for a program.")]
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


def _turn_cursor(text: str) -> str:
    if not is_turn_cursor(text):
        raise ValueError
    return text


TurnCursor = Annotated[
    str,
    AfterValidator(_turn_cursor),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": TURN_CURSOR_PATTERN.replace(r"\Z", "$"),
            "description": "`next` of the page before; or empty.",
        }
    ),
]
Moment = Annotated[str | None, Field(description="RFC 3339; null where it is not known yet.")]


class Model(BaseModel):
    """Fields are described; a client ignores those that it does not know."""

    model_config = ConfigDict(extra="ignore")
