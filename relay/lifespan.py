"""ASGI's lifespan protocol, for servers that speak it: start and stop of ``relay.lifecycle``."""

from __future__ import annotations

import logging
from typing import Any

from relay import garbage, lifecycle

logger = logging.getLogger(__name__)


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Serve the lifespan scope (ASGI specification, "Lifespan Protocol")."""
    await receive()
    try:
        await lifecycle.current()
        garbage.settle()
    except Exception:
        logger.exception("the gateway could not start")
        await send({"type": "lifespan.startup.failed", "message": "The gateway could not start; its log says why."})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await lifecycle.drain()
    await lifecycle.stop()
    await send({"type": "lifespan.shutdown.complete"})
