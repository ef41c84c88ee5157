"""ASGI's lifespan protocol, for servers that speak it: start and stop of ``relay.process.lifecycle``."""

from __future__ import annotations

import logging
from typing import Any

from relay.process import gc_tuning, lifecycle

logger = logging.getLogger(__name__)


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Serve the lifespan scope (ASGI specification, "Lifespan Protocol")."""
    await receive()
    if _compresses(receive):
        logger.warning(
            "uvicorn compresses sockets, which costs memory and time for each: start it with"
            " --ws-per-message-deflate=false"
        )
    try:
        await lifecycle.current()
        gc_tuning.freeze_startup_objects()
    except Exception:
        logger.exception("gateway failed to start")
        await send({"type": "lifespan.startup.failed", "message": "The gateway could not start; its log says why."})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await lifecycle.drain()
    await lifecycle.stop()
    await send({"type": "lifespan.shutdown.complete"})


def _compresses(receive: Any) -> bool:
    """Does the server compress messages of sockets? Only uvicorn can be seen to: its ``receive`` knows its settings."""
    config = getattr(getattr(receive, "__self__", None), "config", None)
    return getattr(config, "ws_per_message_deflate", False) is True
