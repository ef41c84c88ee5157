"""Checks every connection once a second: time limits of clients, and of applications whose client disconnected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Final

from relay.server import limits

logger = logging.getLogger(__name__)

BATCH: Final = 256  # connections checked at once, then other tasks run


class Watchdog:
    """Watches a server's connections, by protocol. No exception ends it: the connection that causes one is aborted."""

    def __init__(self, connections: dict[Any, dict[str, Any]]) -> None:
        self._connections = connections

    async def watch(self) -> None:
        """Check all connections repeatedly, until cancelled."""
        while True:
            await asyncio.sleep(limits.WATCH_SECONDS)
            for number, (protocol, details) in enumerate(list(self._connections.items()), start=1):
                self._check(protocol, details)
                if number % BATCH == 0:
                    await asyncio.sleep(0)

    def _check(self, protocol: Any, details: dict[str, Any]) -> None:
        try:
            if "disconnected" not in details:
                protocol.check_timeouts()
            else:
                _end_application(protocol, details)
        except Exception:
            logger.exception("%r: time limits could not be checked", protocol)
            with contextlib.suppress(Exception):
                protocol.abort()


def _end_application(protocol: Any, details: dict[str, Any]) -> None:
    application: asyncio.Task[None] | None = details.get("application_instance")
    if application is None or time.time() - details["disconnected"] < limits.ENDING_SECONDS:
        return
    if not details.get("is_cancelled"):
        logger.warning("%r: application outlived its connection, cancelled", protocol)
    details["is_cancelled"] = True
    application.cancel()  # again each time: it may have caught the last one; the server is called when it has ended
