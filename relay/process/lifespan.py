"""The gateway's life: ASGI's lifespan protocol, for servers that speak it, or part of a lifespan of a project's own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from relay.process import lifecycle

logger = logging.getLogger(__name__)

Lifespan = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application of the lifespan scope; hence ``Any``."""


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    """Run the gateway of this event loop: start it, and at the end drain and stop it."""
    await lifecycle.current()
    try:
        yield
    finally:
        await lifecycle.drain()
        await lifecycle.stop()


def make_lifespan(on_started: Callable[[], None] = lambda: None) -> Lifespan:
    """Make the application that serves the lifespan scope (ASGI specification, "Lifespan Protocol").

    Args:
        on_started: is called when the gateway runs, before the server accepts connections.
    """

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if _compresses(receive):
            logger.warning(
                "uvicorn compresses sockets, which costs memory and time for each: start it with"
                " --ws-per-message-deflate=false"
            )
        try:
            await lifecycle.current()
            on_started()
        except Exception:
            logger.exception("gateway failed to start")
            words = "The gateway could not start; its log says why."
            await send({"type": "lifespan.startup.failed", "message": words})
            return
        async with running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return lifespan


lifespan = make_lifespan()


def _compresses(receive: Any) -> bool:
    """Does the server compress messages of sockets? Only uvicorn can be seen to: its ``receive`` knows its settings."""
    config = getattr(getattr(receive, "__self__", None), "config", None)
    return getattr(config, "ws_per_message_deflate", False) is True
