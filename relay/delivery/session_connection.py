"""One client's connection to one session, over whatever transport: from its admission to its end.

A transport is small: how a frame, a sign of life and the end are sent, and how long its client has taken nothing.
Everything else is here, once: limits, admission, presence in the session, heartbeats, expiry, and the end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, Final, Protocol

from prometheus_client import Gauge

from relay.access.auth import admit, redeem
from relay.access.connection_limits import check_session_limit
from relay.conf import conf
from relay.delivery.client_writer import ClientGone
from relay.delivery.subscription import Subscription
from relay.delivery.timeouts import within_store_timeout
from relay.delivery.timer import Timer
from relay.exceptions import Idle, NotOwner, RelayError, ServerRestart, StoreUnavailable, TooSlow, Unauthorized
from relay.layers.base import SessionLayer
from relay.layers.values import Viewer, new_id
from relay.observability import metrics
from relay.policies import Handshake, Identity
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.tasks import cancel_and_wait

BLOCKED_SECONDS: Final = 30.0  # a client that takes nothing for so long is gone, or does harm on purpose

Welcome = dict[str, Any] | None
"""The fields of ``welcome``, any JSON; ``None`` in a dialect without it."""

Subscribe = Callable[[SessionLayer, str, str | None], Awaitable[tuple[Subscription, Welcome]]]
"""Takes up position in a session's log for a subject."""

logger = logging.getLogger(__name__)


class Transport(Protocol):
    """The socket or the response below a connection.

    Attributes:
        gauge: counts the open connections of this kind.
        has_idle_timeout: does ``IDLE_TIMEOUT`` apply?
    """

    gauge: Gauge
    has_idle_timeout: bool

    @property
    def is_gone(self) -> bool:
        """Has the client left, so that nothing reaches it any more?"""

    @property
    def idle_seconds(self) -> float:
        """For how long nothing has been sent."""

    @property
    def blocked_seconds(self) -> float:
        """For how long the client has not taken what is being sent; 0 if nothing waits."""

    async def notify(self, text: str) -> None:
        """Send a frame that is not in the log, if the dialect has such frames."""

    def send_heartbeat_now(self, newest: Cursor) -> bool:
        """Send a heartbeat on a connection that has been idle for an interval, unless that would have to wait.

        Args:
            newest: the newest position of the session's log.

        Returns:
            Whether it is done; if not, nothing has happened: ``send_heartbeat`` does it.
        """

    async def send_heartbeat(self) -> None:
        """Send a heartbeat, as ``send_heartbeat_now``; look for the newest position first, if it matters.

        Raises:
            ClientGone: the client left.
        """

    async def leave(self, reason: RelayError) -> None:
        """Tell the client the reason and close. May return before that is done; called once."""

    async def wait_closed(self) -> None:
        """Wait, within a limit, until what ``leave`` started is done."""


class SessionConnection:
    """The life of one connection: ``open``, then ``start``, and ``end`` in every case.

    Args:
        handshake: presented by the client; ``None`` for an operator whom the admin has admitted.
        network: which network's limits the connection counts against, as ``auth.limited_network`` gives it.
        identity: of a client that was admitted already; by default the policy is asked.
    """

    __slots__ = (
        "_active_at",
        "_beating",
        "_context",
        "_expiry",
        "_handshake",
        "_has_seat",
        "_is_attached",
        "_is_leaving",
        "_is_started",
        "_last_position",
        "_transport",
        "_viewer_id",
        "beats_at",
        "gateway",
        "identity",
        "network",
        "session_id",
        "subscription",
    )

    def __init__(
        self,
        session_id: str,
        transport: Transport,
        handshake: Handshake | None,
        network: str,
        identity: Identity | None = None,
    ) -> None:
        self.session_id = session_id
        self.network = network
        self.identity = identity
        self.gateway: Gateway
        self.subscription: Subscription | None = None
        self._transport = transport
        self._handshake = handshake
        self._viewer_id = new_id()
        self._context: Context  # in which the client connected, for log lines
        self._beating: asyncio.Task[None] | None = None  # a heartbeat that has to wait
        self.beats_at: float | None = None  # see ``Heartbeats``
        self._expiry: Timer | None = None  # most credentials do not expire
        self._has_seat = False  # among the connections of its network
        self._is_attached = False  # among the session's viewers
        self._is_started = False
        self._is_leaving = False
        self._active_at = time.monotonic()
        self._last_position = UNKNOWN  # at the last heartbeat

    @property
    def is_open(self) -> bool:
        """May the client still send messages, and is it still served?"""
        return self._is_started and not self._is_leaving

    @property
    def viewer(self) -> Viewer:
        """Its entry among the session's viewers."""
        return Viewer(self.session_id, self._viewer_id, self.subject)

    @property
    def subject(self) -> str | None:
        """The subject that the policy has admitted; ``None`` if it names none."""
        return self.identity.subject if self.identity is not None else None

    # The start.

    async def open(self, subscribe: Subscribe) -> Welcome:
        """Admit the client, attach it to the session, take up position, and use up its credential.

        Raises:
            RelayError: the client is refused; ``end`` gives back what it has taken until then.
        """
        self.gateway = await lifecycle.current()
        if self.gateway.is_draining:
            raise ServerRestart
        self.gateway.connection_limiter.acquire(self.network)
        self._has_seat = True
        if self.identity is None:
            assert self._handshake is not None  # noqa: S101 - only an operator has none, and has an identity
            self.identity = await admit(self._handshake, self.gateway.policy)
        viewers = await self._attach()
        self._is_attached = True
        check_session_limit(viewers)
        subscribing = subscribe(self.gateway.layer, self.session_id, self.subject)
        subscription, welcome = await within_store_timeout(subscribing)
        if self._handshake is not None:
            await within_store_timeout(redeem(self._handshake, self.gateway.policy, subscription.log_epoch))
        self.subscription = subscription
        return welcome

    async def start(self) -> None:
        """Let drains and operators find the connection, and start heartbeats and expiry."""
        self._is_started = True
        self.gateway.connections.add(self)
        self._transport.gauge.inc()
        self._context = copy_context()
        self.gateway.heartbeats.schedule(self, conf.heartbeat_seconds)
        if self.identity is not None and self.identity.expires_at is not None:
            self._expiry = Timer(self._expire)
            self._expiry.schedule(self.identity.expires_at - time.time())
        if self.gateway.is_draining:  # since ``open`` looked
            await self.leave(ServerRestart())

    def touch(self) -> None:
        """Note that the client has sent something."""
        self._active_at = time.monotonic()

    # The end.

    def has_seen(self, offset: int) -> bool:
        """Was everything up to ``offset`` handed to the server, or has the client left?"""
        if self.subscription is None or not self._is_started or self._transport.is_gone:
            return True
        return self.subscription.position.offset >= offset and not self._transport.blocked_seconds

    async def notify(self, text: str) -> None:
        """Send a frame that is not in the log, if the client's dialect has such frames."""
        await self._transport.notify(text)

    async def disconnect(self, reason: RelayError | None = None) -> None:
        """Tell the client the reason, by default that the server restarts, and close, even within an answer."""
        await self.leave(reason or ServerRestart())
        await self._transport.wait_closed()

    async def leave(self, reason: RelayError) -> None:
        """Start to disconnect the client; the first reason counts."""
        if self._is_leaving:
            return
        self._is_leaving = True
        metrics.DISCONNECTS.labels(reason.code).inc()
        logger.info("client disconnected: %s", reason.code, extra={"session_id": self.session_id})
        await self._transport.leave(reason)

    async def end(self) -> None:
        """Release what the connection has acquired."""
        if self._is_started:
            self._is_started = False
            self.gateway.heartbeats.cancel(self)
            self.gateway.connections.discard(self)
            self._transport.gauge.dec()
        if self._beating is not None:
            await cancel_and_wait(self._beating)
        if self._expiry is not None:
            await self._expiry.stop()
        if self._has_seat:
            self._has_seat = False
            self.gateway.connection_limiter.release(self.network)
        if self._is_attached:
            self._is_attached = False
            await self._detach()

    # Presence in the session, signs of life, and the end of a credential.

    async def _attach(self) -> int:
        return await within_store_timeout(self.gateway.layer.attach(self.session_id, self._viewer_id, self.subject))

    async def _detach(self) -> None:
        try:
            if await within_store_timeout(self.gateway.layer.detach(self.session_id, self._viewer_id)) == 0:
                self.gateway.on_disconnect.last_viewer_left(self.session_id)
        except StoreUnavailable:  # the viewer's entry lapses by itself; the layer logs why
            logger.debug("viewer not detached: store unavailable")
        except Exception as exc:
            logger.warning("viewer not detached: %s", type(exc).__name__)

    def beat(self, newest: Cursor | None) -> None:
        """See ``Beating``. Most heartbeats end within this call; a task makes those that have to wait."""
        if not self._is_started:
            return  # it has ended while the session layer was asked
        try:
            if newest is not None and (not self._needs_sign() or self._transport.send_heartbeat_now(newest)):
                self._schedule_heartbeat()
                return
        except Exception:  # the task meets the same reason
            newest = None
        self._beating = asyncio.get_running_loop().create_task(
            self._beat_alone(is_attached=newest is not None), name="heartbeat", context=self._context
        )

    async def _beat_alone(self, *, is_attached: bool) -> None:
        try:
            if not is_attached:
                await self._attempt(self._attach)
            await self._attempt(self._check_client)
        except ClientGone:
            return
        except RelayError as exc:
            await self.disconnect(exc)
            return
        self._schedule_heartbeat()

    def _schedule_heartbeat(self) -> None:
        interval_seconds = conf.heartbeat_seconds
        next_seconds = interval_seconds - self._transport.idle_seconds
        self.gateway.heartbeats.schedule(self, next_seconds if next_seconds > 0 else interval_seconds)

    async def _attempt(self, step: Callable[[], Awaitable[object]]) -> None:
        """Take a step of a heartbeat. One that fails is left to the next heartbeat, unless it ends the connection."""
        try:
            await step()
        except (ClientGone, Idle, NotOwner, TooSlow):
            raise
        except StoreUnavailable:  # the layer logs why
            logger.debug("heartbeat failed: store unavailable")
        except Exception as exc:
            logger.warning("heartbeat failed: %s", type(exc).__name__)

    async def _check_client(self) -> None:
        """Send a sign of life where nothing else is being sent.

        Raises:
            TooSlow, Idle: as ``_needs_sign``.
            ClientGone: the client left.
        """
        if self._needs_sign():
            await self._transport.send_heartbeat()

    def _needs_sign(self) -> bool:
        """Is nothing else being sent to the client?

        Raises:
            TooSlow: the client has taken nothing for too long.
            Idle: neither side has sent anything for too long.
        """
        transport = self._transport
        if transport.blocked_seconds >= BLOCKED_SECONDS:
            raise TooSlow
        if transport.has_idle_timeout and 0 < conf.idle_timeout_seconds <= self._inactive_seconds():
            raise Idle
        return transport.idle_seconds >= conf.heartbeat_seconds and not transport.blocked_seconds

    def _inactive_seconds(self) -> float:
        """For how long neither a message came nor a frame was sent, as far as heartbeats have seen it."""
        position = self.subscription.position if self.subscription is not None else UNKNOWN
        if position != self._last_position:
            self._last_position, self._active_at = position, time.monotonic()
        return time.monotonic() - self._active_at

    async def _expire(self) -> None:
        expires_at = self.identity.expires_at if self.identity is not None else None
        seconds_left = (expires_at or 0.0) - time.time()
        if seconds_left > 0 and self._expiry is not None:  # a timer does not reach as far as a credential may
            self._expiry.schedule(seconds_left)
        else:
            await self.disconnect(Unauthorized())


def record_refusal(reason: RelayError) -> None:
    """Count and log a client that is refused before its connection has started."""
    metrics.DISCONNECTS.labels(reason.code).inc()
    logger.info("client refused: %s", reason.code)
