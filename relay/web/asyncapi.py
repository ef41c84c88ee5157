"""The sockets, described for programs: an AsyncAPI document made from models of frames and messages.

Source of the format: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from relay.web import frame_schemas, message_schemas

PLAIN_IN: Final = (message_schemas.PlainUserMessage, message_schemas.PlainCancel)
PLAIN_OUT: Final = (frame_schemas.PlainToken, frame_schemas.PlainFinal, frame_schemas.PlainError)
V1_IN: Final = (message_schemas.ClientUserMessage, message_schemas.ClientCancel, message_schemas.ClientHistory)
COMMON_EVENTS: Final = (
    frame_schemas.Reasoning,
    frame_schemas.ToolCall,
    frame_schemas.ToolResult,
    frame_schemas.Usage,
    frame_schemas.SessionTitle,
    frame_schemas.MessageStart,
)
V1_LOG: Final = (
    frame_schemas.UserMessage,
    frame_schemas.Token,
    frame_schemas.FinalMessage,
    frame_schemas.TurnError,
    *COMMON_EVENTS,
    frame_schemas.AgentEvent,
    frame_schemas.Notice,
    frame_schemas.PendingResolved,
)
V1_OUT: Final = (
    frame_schemas.Welcome,
    frame_schemas.Snapshot,
    *V1_LOG,
    frame_schemas.Accepted,
    frame_schemas.CancelAck,
    frame_schemas.HistoryFrame,
    frame_schemas.Refusal,
    frame_schemas.Ping,
    frame_schemas.OperatorNotice,
    frame_schemas.Disconnect,
)

Models = tuple[type[BaseModel], ...]
Document = dict[str, Any]  # any JSON object


def document() -> Document:
    """Make the document."""
    models = (*PLAIN_IN, *PLAIN_OUT, *V1_IN, *V1_OUT)
    _, described = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Agent Gateway",
            "version": "1",
            "description": "One session over a WebSocket, in two dialects. docs/protocol.md describes the frames.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "plain": _channel("A socket without a subprotocol.", (*PLAIN_IN, *PLAIN_OUT)),
            "gateway.v1": _channel("A socket with the subprotocol gateway.v1.", (*V1_IN, *V1_OUT), is_v1=True),
        },
        "operations": {
            "plainIn": _operation("receive", "plain", PLAIN_IN),
            "plainOut": _operation("send", "plain", PLAIN_OUT),
            "v1In": _operation("receive", "gateway.v1", V1_IN),
            "v1Out": _operation("send", "gateway.v1", V1_OUT),
        },
        "components": {
            "messages": {model.__name__: _message(model) for model in models},
            "schemas": described["$defs"],
        },
    }


def text() -> str:
    """Write the document as it is in the file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _channel(description: str, models: Models, *, is_v1: bool = False) -> Document:
    names = ("epoch", "offset", "coalesce") if is_v1 else ()
    query = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    return {
        "address": "/ws/{session_id}/",
        "description": description,
        "parameters": {"session_id": {"description": "1 to 128 of A-Z a-z 0-9 . _ : ~ @ -, but not . or .."}},
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models},
        "bindings": {"ws": {"method": "GET", **({"query": query} if names else {}), "bindingVersion": "0.1.0"}},
    }


def _operation(action: str, channel: str, models: Models) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{model.__name__}"} for model in models],
    }


def _message(model: type[BaseModel]) -> Document:
    return {
        "name": model.__name__,
        "summary": (model.__doc__ or "").replace("``", "").strip(),
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }
