"""Routes of WebSockets, and the ASGI application that serves them beside HTTP.

A project adds ``websocket_urlpatterns`` to its own router, under any prefix, and gives that to ``application``.
"""

from __future__ import annotations

from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import get_script_prefix
from django.urls import Resolver404, re_path

from relay.access.origin_check import is_handshake_allowed
from relay.adapters.ag_ui_socket import serve_runs
from relay.adapters.ai_sdk_socket import AI_SDK
from relay.adapters.consumer import Application, chat_sockets
from relay.conf import conf
from relay.delivery.consumer import SessionConsumer
from relay.exceptions import Forbidden
from relay.observability import metrics
from relay.process.gc_tuning import freeze_startup_objects
from relay.process.lifespan import lifespan, make_lifespan, running
from relay.protocol.client_messages import SESSION_ID_PATTERN
from relay.web.asgi_handler import OwningHandler, break_off

__all__ = ["application", "lifespan", "running", "websocket_urlpatterns"]

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
    if is_handshake_allowed(scope) and "//" not in scope["path"]:  # which Channels' routers take for one slash
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
websocket_urlpatterns = [
    re_path(rf"^(?:api/v1/)?ws/(?P<session_id>{SESSION_ID_PATTERN})/?\Z", session_socket),  # type: ignore[arg-type]  # ASGI
    re_path(r"^api/v1/ai-sdk/ws/?\Z", adapter_socket("ai-sdk", chat_sockets(AI_SDK))),  # type: ignore[arg-type]  # ASGI
    re_path(r"^api/v1/ag-ui/ws/?\Z", adapter_socket("ag-ui", serve_runs)),  # type: ignore[arg-type]  # ASGI
]


def application(
    http: Application | None = None, websocket: Application | None = None, *, tune_gc: bool = False
) -> ProtocolTypeRouter:
    """Make a project's ASGI application: HTTP, sockets, and the gateway's start, drain and stop by lifespan.

    Under a server without lifespan the first connection starts the gateway; ``manage.py serve`` drains it by itself.

    Args:
        http: Django's, as ``get_asgi_application`` gives it; the gateway's own handler if it is not given.
        websocket: a router of sockets, ``websocket_urlpatterns`` among them; those alone if it is not given.
        tune_gc: may the start set Python's garbage collection for the whole process? See ``relay.process.gc_tuning``.

    Raises:
        ImproperlyConfigured: a setting of the gateway is wrong.
    """
    errors = [message for message in run_checks(tags=["relay"]) if message.is_serious() and not message.is_silenced()]
    if errors:
        raise ImproperlyConfigured("\n".join(map(str, errors)))
    parts = {
        "http": _below_root(OwningHandler() if http is None else break_off(http)),
        "websocket": _below_root(_routed(websocket or URLRouter(websocket_urlpatterns))),
        "lifespan": make_lifespan(freeze_startup_objects) if tune_gc else lifespan,
    }
    return ProtocolTypeRouter(parts)


def _below_root(serve: Application) -> Application:
    """Put the root path before a path from which a proxy took it off: in ASGI, and for Django, it is a part of it."""

    async def serve_whole(scope: Any, receive: Any, send: Any) -> None:
        root = get_script_prefix(scope)
        if root and not f"{scope['path']}/".startswith(f"{root}/"):
            scope = {**scope, "path": root + scope["path"]}
        await serve(scope, receive, send)

    return serve_whole


def _routed(router: Application) -> Application:
    """Route under the root path, as Django does for HTTP, and refuse in ASGI's words what has no route."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(get_script_prefix(scope))
        if path.startswith("//"):  # Channels would ignore the number of leading slashes; a proxy's rules do not
            await refuse(scope, receive, send)
            return
        try:
            await router({**scope, "path_remaining": path}, receive, send)
        except Resolver404:
            await refuse(scope, receive, send)

    return serve
