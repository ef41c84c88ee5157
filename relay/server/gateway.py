"""The gateway's own server: it runs ``relay.process.lifecycle`` instead of lifespan, with limits from the settings."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from django.conf import settings

from relay.conf import conf
from relay.process import gc_tuning, lifecycle
from relay.process.scrape import report_of
from relay.process.supervision import parent
from relay.server import limits
from relay.server.server import HardenedServer

logger = logging.getLogger(__name__)


class GatewayServer(HardenedServer):
    """The server of ``manage.py serve`` and ``manage.py runserver``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take daphne's arguments; sizes come from the settings."""
        super().__init__(*args, **options)
        self._parent = parent()
        self.trusted_proxies = conf.trusted_proxies
        self.max_body_bytes = conf.max_request_bytes + limits.BODY_ROOM_BYTES
        self.max_messages = limits.MAX_MESSAGES
        self.max_message_bytes = max(4 * conf.max_message_bytes, limits.MIN_MESSAGE_LIMIT_BYTES, conf.max_request_bytes)

    async def on_start(self) -> None:
        """Start layer, agent client, runner and sweeper before the server accepts connections."""
        if self._parent is not None:
            await self._parent.open(
                report=partial(report_of, self._parent),
                on_end=partial(self.drain, has_successor=False),
                on_parent_lost=partial(self.drain, has_successor=True),
            )
        await lifecycle.current()
        gc_tuning.freeze_startup_objects()

    def on_listening(self, addresses: list[str]) -> None:
        """Log the addresses, and tell the parent; ``relay.process.lifecycle`` has logged the limits."""
        if self._parent is not None:
            self._parent.ready()
        logger.info("listening on %s", ", ".join(addresses))
        if not (conf.chat_page or settings.DEBUG):
            logger.info("chat page off: GATEWAY__CHAT_PAGE=true opens it at /")
        if not self.trusted_proxies and not all(address.startswith("http://") for address in addresses):
            logger.warning(
                "clients on a Unix socket have no address, so the limits for each address count them as one: "
                "set GATEWAY__TRUSTED_PROXIES=1 if a proxy writes X-Forwarded-For"
            )

    async def on_drain(self, deadline: asyncio.Event) -> None:
        """Finish turns and disconnect clients; see ``relay.process.drain``."""
        if self._parent is not None:
            self._parent.leaving()
        await lifecycle.drain(deadline)

    async def on_stop(self) -> None:
        """Stop what ``on_start`` started."""
        await lifecycle.stop()
        if self._parent is not None:
            await self._parent.close()


def log_access(protocol: str, action: str, details: dict[str, Any]) -> None:
    """Log each request that was answered, and each socket that was opened, refused or closed."""
    if action == "complete":
        extra = {"client": details["client"], "bytes": details["size"], "seconds": round(details["time_taken"], 4)}
        logger.info("%s %s %s", details["method"], details["path"], details["status"], extra=extra)
    elif action != "connecting":
        logger.info("%s %s %s", protocol, details["path"], action, extra={"client": details["client"]})
