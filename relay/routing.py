"""Which sockets are opened, and in which dialect."""

from __future__ import annotations

from typing import Any

from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import re_path

from relay.client_messages import SESSION_ID_PATTERN
from relay.consumers import SUBPROTOCOL, PlainConsumer, ResumableConsumer

_plain = PlainConsumer.as_asgi()
_resumable = ResumableConsumer.as_asgi()


async def session_socket(scope: Any, receive: Any, send: Any) -> None:
    """Serve a client in the dialect that it asks for; other subprotocols than ours are as good as none."""
    consumer = _resumable if SUBPROTOCOL in scope["subprotocols"] else _plain
    await consumer(scope, receive, send)


class RefusedSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A path that is none of ours: the handshake gets 403. (Without a route Channels would raise: 500.)"""

    async def connect(self) -> None:
        raise DenyConnection


urlpatterns = [
    re_path(rf"^ws/(?P<session_id>{SESSION_ID_PATTERN})/?\Z", session_socket),  # type: ignore[arg-type]  # ASGI
    re_path(r"", RefusedSocket.as_asgi()),
]

sockets = URLRouter(urlpatterns)
