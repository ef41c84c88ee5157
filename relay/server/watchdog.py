"""Checks connections once a second: time limits of clients, and of applications whose client disconnected.

Most sockets are idle, and to check each of them would cost more than all else that is done for them. So a connection
for which nothing is awaited rests: it is not looked at until the moment that its check has named, or until it wakes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import defaultdict
from typing import Any, Final

from relay.server import limits

logger = logging.getLogger(__name__)

BATCH: Final = 256  # connections checked at once, then other tasks run


class Watchdog:
    """Watches a server's connections, by protocol. No exception ends it: the connection that causes one is aborted.

    A protocol has ``check_timeouts() -> float | None``, which returns until when it may rest (of the monotonic clock),
    ``rests_until``, in which the watchdog keeps that, and ``abort()``.
    """

    def __init__(self, connections: dict[Any, dict[str, Any]]) -> None:
        self._connections = connections
        self._awake: set[Any] = set()
        self._resting: defaultdict[int, set[Any]] = defaultdict(set)  # by the number of the look that ends their rest

    def wake(self, protocol: Any) -> None:
        """Check a connection at each look from the next one on: it is new, or something happens to it."""
        self._end_rest(protocol)
        self._awake.add(protocol)

    def forget(self, protocol: Any) -> None:
        """Hold a connection no more."""
        self._end_rest(protocol)
        self._awake.discard(protocol)

    async def watch(self) -> None:
        """Check the connections that do not rest repeatedly, until cancelled."""
        while True:
            await asyncio.sleep(limits.WATCH_SECONDS)
            self._end_rests(time.monotonic())
            for number, protocol in enumerate(list(self._awake), start=1):
                details = self._connections.get(protocol)
                if details is not None:  # else it has ended during this look
                    self._check(protocol, details)
                if number % BATCH == 0:
                    await asyncio.sleep(0)

    def _check(self, protocol: Any, details: dict[str, Any]) -> None:
        try:
            if "disconnected" in details:
                _end_application(protocol, details)
            elif (until := protocol.check_timeouts()) is not None:
                self._rest(protocol, until)
        except Exception:
            logger.exception("%r: time limits could not be checked", protocol)
            with contextlib.suppress(Exception):
                protocol.abort()

    def _rest(self, protocol: Any, until: float) -> None:
        protocol.rests_until = until
        self._resting[_look_at(until)].add(protocol)
        self._awake.discard(protocol)

    def _end_rest(self, protocol: Any) -> None:
        if protocol.rests_until is not None:
            self._resting[_look_at(protocol.rests_until)].discard(protocol)
            protocol.rests_until = None

    def _end_rests(self, now: float) -> None:
        for look in [look for look in self._resting if look * limits.WATCH_SECONDS <= now]:
            for protocol in self._resting.pop(look):
                protocol.rests_until = None
                self._awake.add(protocol)


def _look_at(moment: float) -> int:
    """Number the first look at a moment or after it, as if looks were on time."""
    return math.ceil(moment / limits.WATCH_SECONDS)


def _end_application(protocol: Any, details: dict[str, Any]) -> None:
    application: asyncio.Task[None] | None = details.get("application_instance")
    if application is None or time.time() - details["disconnected"] < limits.ENDING_SECONDS:
        return
    if not details.get("is_cancelled"):
        logger.warning("%r: application outlived its connection, cancelled", protocol)
    details["is_cancelled"] = True
    application.cancel()  # again each time: it may have caught the last one; the server is called when it has ended
