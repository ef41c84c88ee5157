"""Routes of WebSockets."""

from __future__ import annotations

from typing import Any

from channels.routing import URLRouter
from django.urls import re_path

from relay.access.origin_check import is_handshake_allowed
from relay.adapters.ag_ui_socket import serve_runs
from relay.adapters.ai_sdk_socket import AI_SDK
from relay.adapters.consumer import Application, chat_sockets
from relay.conf import conf
from relay.delivery.consumer import SessionConsumer
from relay.exceptions import Forbidden
from relay.observability import metrics
from relay.protocol.client_messages import SESSION_ID_PATTERN

_consumer = SessionConsumer.as_asgi()


async def session_socket(scope: Any, receive: Any, send: Any) -> None:
    """Serve a client on a session, unless its page's origin is not allowed."""
    await (_consumer if _is_allowed(scope) else refuse)(scope, receive, send)


def adapter_socket(adapter: str, application: Application) -> Application:
    """Serve the clients of an adapter that is switched on, if their pages' origins are allowed."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        is_on = adapter in conf.adapters
        await (application if is_on and _is_allowed(scope) else refuse)(scope, receive, send)

    return serve


def _is_allowed(scope: Any) -> bool:
    if is_handshake_allowed(scope):
        return True
    metrics.DISCONNECTS.labels(Forbidden.code).inc()
    return False


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Refuse the handshake with 403, for a wrong path, Host or origin.

    (Without a route Channels would raise: 500.)
    """
    await receive()  # ASGI: websocket.connect
    await send({"type": "websocket.close"})


# The second path is where other front ends of this protocol connect.
urlpatterns = [
    re_path(rf"^(?:api/v1/)?ws/(?P<session_id>{SESSION_ID_PATTERN})/?\Z", session_socket),  # type: ignore[arg-type]  # ASGI
    re_path(r"^api/v1/ai-sdk/ws/?\Z", adapter_socket("ai-sdk", chat_sockets(AI_SDK))),  # type: ignore[arg-type]  # ASGI
    re_path(r"^api/v1/ag-ui/ws/?\Z", adapter_socket("ag-ui", serve_runs)),  # type: ignore[arg-type]  # ASGI
    re_path(r"", refuse),  # type: ignore[arg-type]  # ASGI
]

_router = URLRouter(urlpatterns)


async def sockets(scope: Any, receive: Any, send: Any) -> None:
    """Find the socket at a path. (Channels would ignore the number of leading slashes; a proxy's rules do not.)"""
    has_two_slashes = scope["path"].startswith("//")
    await (refuse if has_two_slashes else _router)(scope, receive, send)
