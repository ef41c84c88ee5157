"""What happens when the last viewer of a session leaves: ``ON_DISCONNECT``."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from relay.conf import conf
from relay.layers.base import SessionLayer

logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 1.0  # a page that is reloaded is back by then


class DisconnectPolicy:
    """Sessions whose last viewer has left, until it is clear that nobody comes back."""

    def __init__(self, layer: SessionLayer) -> None:
        self._layer = layer
        self._waiting: set[asyncio.Task[None]] = set()

    def last_viewer_left(self, session_id: str) -> None:
        """Cancel what runs in the session unless somebody watches again soon; if the settings say so."""
        if conf.on_disconnect != "cancel":
            return
        waiting = asyncio.create_task(self._cancel_later(session_id), name=f"departure {session_id}")
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)

    async def stop(self) -> None:
        """Wait no longer."""
        for waiting in self._waiting:
            waiting.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _cancel_later(self, session_id: str) -> None:
        await asyncio.sleep(GRACE_SECONDS)
        try:
            count = await self._layer.cancel_unwatched(session_id)
        except Exception:
            logger.exception("session %s: turns without viewers could not be cancelled", session_id)
        else:
            logger.info("session %s: no viewers, %d turns cancelled", session_id, count)
