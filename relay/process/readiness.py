"""Whether answers can flow through this process: the checks behind ``/ready``.

However often it is asked, each check is made once a second at most, and never twice at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import msgspec

from relay.agent.answer import Agent
from relay.agent.failures import unreachable_cause
from relay.agent.http_request import target_of
from relay.agent.tls import TlsFailed
from relay.agent.transport import UpstreamTransport
from relay.conf import conf
from relay.exceptions import StoreUnavailable
from relay.layers.base import SessionLayer
from relay.observability import metrics, places
from relay.tasks import FairTimeout, cancel_and_wait

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 1.0
LIMIT_SECONDS: Final = 0.9  # a Kubernetes probe waits for one second
HANDSHAKE_SECONDS: Final = 0.6  # of a TLS connection to the agent
_TROUBLES: Final = {
    "store": "No new message or session can be stored.",
    "announcements": "Announcements through the store do not arrive here.",
    "agent": "The agent accepts no connections.",
}


class Check(msgspec.Struct, frozen=True):
    """One check's result; ``detail`` is safe to publish."""

    ok: bool
    detail: str


class Readiness:
    """The checks of one process."""

    def __init__(self, layer: SessionLayer, agent: Agent) -> None:
        self._is_agent_here = agent.is_here
        self._transport = UpstreamTransport(HANDSHAKE_SECONDS)
        self._probes: dict[str, Callable[[], Awaitable[None]]] = {
            "store": layer.check,
            "announcements": layer.check_announcements,
            "agent": self._reach_agent,
        }
        self._checks: dict[str, Check] = {}
        self._checked_at = float("-inf")
        self._checking: asyncio.Task[None] | None = None

    async def checks(self) -> dict[str, Check]:
        """Return each check's result, at most ``CACHE_SECONDS`` old; within ``LIMIT_SECONDS``, and never an error."""
        if time.monotonic() - self._checked_at >= CACHE_SECONDS:
            if self._checking is None:
                self._checking = asyncio.create_task(self._check(), name="readiness")
            await asyncio.shield(self._checking)
        return self._checks

    async def stop(self) -> None:
        """Stop a check that is being made."""
        if self._checking is not None:
            await cancel_and_wait(self._checking)

    async def _reach_agent(self) -> None:
        if not self._is_agent_here:
            await self._transport.reach(target_of(conf.agent_url))

    async def _check(self) -> None:
        try:
            results = await asyncio.gather(*(_made(name, probe) for name, probe in self._probes.items()))
            checks = dict(zip(self._probes, results, strict=True))
            self._tell(checks)
            self._checks, self._checked_at = checks, time.monotonic()
        finally:
            self._checking = None

    def _tell(self, checks: dict[str, Check]) -> None:
        """Set the metrics to the results, and log changes."""
        for name, check in checks.items():
            metrics.READY.labels(name).set(check.ok)
            was_ok = self._checks[name].ok if name in self._checks else True
            if check.ok != was_ok:
                logger.log(
                    logging.INFO if check.ok else logging.WARNING,
                    "ready again: %s" if check.ok else "not ready: %s",
                    name,
                    extra={"detail": check.detail, **_where(name)},
                )


def _where(check: str) -> dict[str, str]:
    """Name what a check is about."""
    if check == "agent":
        return {"agent": places.agent()}
    return {"store": places.store()} if check in ("store", "announcements") else {}


async def _made(name: str, probe: Callable[[], Awaitable[None]]) -> Check:
    started_at = time.monotonic()
    try:
        async with FairTimeout(LIMIT_SECONDS):
            await probe()
    except StoreUnavailable as exc:
        return Check(ok=False, detail=_detail(_TROUBLES[name], exc.reason))
    except TlsFailed as exc:
        return Check(ok=False, detail=f"The agent responds, but {exc}.")
    except httpx.ConnectError as exc:
        return Check(ok=False, detail=_detail(_TROUBLES[name], unreachable_cause(exc)))
    except (TimeoutError, OSError) as exc:
        return Check(ok=False, detail=f"{_TROUBLES[name]} ({type(exc).__name__})")
    except Exception:
        logger.exception("readiness check failed: %s", name)
        return Check(ok=False, detail=_TROUBLES[name])
    return Check(ok=True, detail=f"{(time.monotonic() - started_at) * 1000:.1f} ms")


def _detail(trouble: str, reason: str) -> str:
    """Describe the trouble and, if it is known, its cause."""
    return f"{trouble.removesuffix('.')}: {reason}." if reason else trouble
