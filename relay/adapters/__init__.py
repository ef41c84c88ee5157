"""Protocols of front ends over the sessions. The names in ``__all__`` are for adapters of other projects."""

from relay.adapters.base import (
    ChatRequest,
    Limits,
    Translator,
    forwarded,
    last_message,
    message_id_of,
    session_id_of,
    user_message,
)
from relay.adapters.project import Adapter, AdapterRequest

__all__ = [
    "Adapter",
    "AdapterRequest",
    "ChatRequest",
    "Limits",
    "Translator",
    "forwarded",
    "last_message",
    "message_id_of",
    "session_id_of",
    "user_message",
]
