"""Kinds of field, each with its description, that the models of frames, of messages and of REST share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from relay.protocol.client_messages import CLIENT_MESSAGE_ID_PATTERN, TURN_CURSOR_PATTERN, is_turn_cursor


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


Epoch = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,32}$", description="Changes when the log starts again.")]
Offset = Annotated[int, Field(ge=0, description="A frame's place in its log: 1, 2, 3 and so on.")]
TurnId = Annotated[str, Field(description="The id of a turn.")]
Words = Annotated[str, Field(description="A sentence for a person.")]
Code = Annotated[str, Field(description="The code of the event, for programs.")]
RetryAfter = Annotated[
    int | None, Field(ge=0, description="Milliseconds after which the same message may succeed; absent if it cannot.")
]
ClientMessageId = Annotated[
    str | None,
    # JSON Schema knows no \Z; its $ is the very end, as Python's \Z.
    Field(pattern=CLIENT_MESSAGE_ID_PATTERN.replace(r"\Z", "$"), description="The client's own id for its message."),
]
Replaces = Annotated[
    str | None,
    Field(min_length=1, max_length=128, description="The turn that this one replaces on the screen."),
]
AnyTurnId = Annotated[  # unlike pydantic's own text it may hold half a character
    str, PlainValidator(_text), WithJsonSchema({"type": "string", "description": "The id of a turn."})
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
            "description": "`next` of the previous page, or empty.",
        }
    ),
]
Moment = Annotated[str | None, Field(description="RFC 3339; null if it is not known yet.")]


class Model(BaseModel):
    """Fields are described; a client ignores those that it does not know."""

    model_config = ConfigDict(extra="ignore")
