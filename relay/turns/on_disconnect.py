"""``ON_DISCONNECT``: cancel a session's turns once its last viewer has left."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from relay.conf import conf
from relay.layers.base import SessionLayer
from relay.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 1.0  # a page that is reloaded is connected again by then


class DisconnectPolicy:
    """Waits after a session's last viewer has left, and cancels its turns unless a viewer comes back."""

    def __init__(self, layer: SessionLayer) -> None:
        self._layer = layer
        self._waiting: set[asyncio.Task[None]] = set()

    def last_viewer_left(self, session_id: str) -> None:
        """Cancel the session's turns unless a viewer comes back within ``GRACE_SECONDS``, if the settings say so."""
        if conf.on_disconnect != "cancel":
            return
        waiting = asyncio.create_task(self._cancel_later(session_id), name=f"cancel unwatched {session_id}")
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)

    async def stop(self) -> None:
        """Stop waiting; nothing is cancelled any more."""
        await cancel_and_wait(*self._waiting)

    async def _cancel_later(self, session_id: str) -> None:
        await asyncio.sleep(GRACE_SECONDS)
        try:
            count = await self._layer.cancel_unwatched(session_id)
        except Exception:
            logger.exception("session %s: turns without viewers could not be cancelled", session_id)
        else:
            logger.info("session %s: no viewers, %d turns cancelled", session_id, count)
