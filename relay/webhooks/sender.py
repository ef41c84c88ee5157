"""Sends the notifications of the outbox as webhooks: at least once each, by any process, for a day.

A notification is due when its turn ends, and again after each failure, later and later. A process that dies leaves its
notifications to the others; the memory layer's end with their process, which tries each once more in its drain.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx

from relay.agent import tls
from relay.agent.failures import unreachable_cause
from relay.conf import conf
from relay.exceptions import StoreUnavailable
from relay.layers.outbox import MAX_NOTIFICATIONS, Outbox
from relay.layers.values import Notification
from relay.observability import metrics
from relay.observability.outage_log import OutageLog
from relay.tasks import BackgroundTask
from relay.webhooks.signing import signed_headers

logger = logging.getLogger(__name__)

BATCH: Final = 16  # notifications that a process sends at once
SEND_SECONDS: Final = 15.0  # for one attempt, whatever the receiver does
LEASE_SECONDS: Final = 60.0  # longer than an attempt, and a call of the store after it
LOOK_SECONDS: Final = 2.0  # between looks for notifications that are due again, or of a process that died
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 3_600.0
DAY_SECONDS: Final = 86_400.0
FLUSH_SECONDS: Final = 3.0  # at the end of a drain
LAST_SECONDS: Final = 1.0  # at the end of the process, for turns that ended since


class Webhooks:
    """Sends one event loop's share of the webhooks. Without ``WEBHOOK_URL`` it does nothing."""

    def __init__(self, outbox: Outbox, *, survives_process: bool) -> None:
        self.is_on = bool(conf.webhook_url)
        self._outbox = outbox
        self._survives_process = survives_process
        self._woken = asyncio.Event()
        self._ended: set[str] = set()  # sessions in which a turn has ended here since the last look
        self._task = BackgroundTask()
        self._outages = OutageLog(logger)
        self._is_failing = False
        self._http: httpx.AsyncClient | None = None

    def start(self) -> None:
        """Start to send, if webhooks are on."""
        if self.is_on:
            self._http = httpx.AsyncClient(
                trust_env=False,  # no proxy of the environment
                follow_redirects=False,
                verify=ssl.create_default_context(),
                timeout=None,  # noqa: S113 - ``_post`` limits the whole attempt
                limits=httpx.Limits(max_connections=BATCH),
                headers={"content-type": "application/json", "user-agent": f"agent-gateway/{conf.version}"},
            )
            self._task.start(self._send_for_ever(), "send webhooks")

    def wake(self, session_id: str) -> None:
        """Look at once: a turn of this session has ended here."""
        self._ended.add(session_id)
        self._woken.set()

    async def flush(self, seconds: float) -> None:
        """Try each notification once more, if none of them outlives this process, up to a limit."""
        if not self.is_on or self._survives_process:
            return
        await self._task.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while batch := await self._outbox.take(BATCH, 2 * DAY_SECONDS, ahead_seconds=DAY_SECONDS):
                    await asyncio.gather(*map(self._try, batch))

    async def stop(self) -> None:
        """Stop sending; say what is lost with this process."""
        await self._task.stop()
        if self.is_on and not self._survives_process:
            await self.flush(LAST_SECONDS)
            if lost := len(await self._outbox.take(MAX_NOTIFICATIONS, 0, ahead_seconds=3 * DAY_SECONDS)):
                metrics.WEBHOOKS.labels("lost").inc(lost)
                logger.error("webhooks lost with this process: %d", lost)
        if self._http is not None:
            await self._http.aclose()

    async def _send_for_ever(self) -> None:
        look_at = time.monotonic()  # at those of all sessions
        while True:
            self._woken.clear()
            ended, self._ended = self._ended, set()
            is_due = time.monotonic() >= look_at
            if is_due:
                look_at = time.monotonic() + LOOK_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - no secret
            try:
                batch = await self._outbox.take(BATCH, LEASE_SECONDS, session_ids=None if is_due else ended)
                await asyncio.gather(*map(self._send, batch))
            except Exception:
                logger.exception("webhooks failed; the next look follows")
                batch = []
            if len(batch) == BATCH:
                look_at = time.monotonic()  # there may be more
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(look_at - time.monotonic()):
                    await self._woken.wait()

    async def _send(self, notification: Notification) -> None:
        """Try once; then remove the notification, or make it due again."""
        try:
            if await self._try(notification):
                return
            if notification.age_seconds < DAY_SECONDS:
                await self._outbox.postpone(notification, _pause_seconds(notification.age_seconds))
                return
            await self._outbox.remove(notification)
            metrics.WEBHOOKS.labels("expired").inc()
            self._outages.failed("webhook given up: %s", "the receiver did not accept it within a day", host=_host())
        except StoreUnavailable:
            pass  # it is due again after its lease

    async def _try(self, notification: Notification) -> bool:
        """Try once, and remove a notification that was taken. Returns whether it was."""
        failure = await self._post(notification)
        if failure:
            self._is_failing = True
            metrics.WEBHOOKS.labels("failed").inc()
            self._outages.failed("webhook not delivered, tried again later: %s", failure, host=_host())
            return False
        metrics.WEBHOOKS.labels("delivered").inc()
        if self._is_failing:
            self._is_failing = False
            logger.info("webhooks delivered again", extra={"host": _host()})
        await self._outbox.remove(notification)
        return True

    async def _post(self, notification: Notification) -> str:
        """Send a webhook. Returns why the receiver did not take it; empty if it did."""
        assert self._http is not None  # noqa: S101 - for mypy: ``start`` made it
        body = notification.text.encode()
        headers = signed_headers(conf.webhook_secrets, notification.turn_id, int(time.time()), body)
        try:
            async with (
                asyncio.timeout(SEND_SECONDS),
                self._http.stream("POST", conf.webhook_url, content=body, headers=headers) as response,
            ):
                return "" if response.is_success else f"it answers {_status(response.status_code)}"
        except TimeoutError:
            return "it does not answer in time"
        except httpx.HTTPError as exc:
            return f"it cannot be reached: {_cause(exc)}"


def _pause_seconds(age_seconds: float) -> float:
    """Choose at random when to try again: the longest pause doubles about with each failure ("full jitter").

    It follows from the age alone, so no attempts are counted.
    """
    longest = min(max(age_seconds, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    return random.uniform(0, longest)  # noqa: S311 - no secret


def _cause(exc: BaseException) -> str:
    """Name the cause of an exchange that did not come about: in DNS, in TLS or in the connection."""
    links = [exc]
    while (further := links[-1].__cause__ or links[-1].__context__) is not None:
        links.append(further.exceptions[0] if isinstance(further, BaseExceptionGroup) else further)
    for link in links:
        if isinstance(link, ssl.SSLError):
            return str(tls.failure(link))
    return unreachable_cause(links[-1])


def _host() -> str:
    return urlsplit(conf.webhook_url).hostname or ""


def _status(code: int) -> str:
    """Name a status, with few values: each is remembered."""
    return str(code) if code in {*HTTPStatus} else "another status"
