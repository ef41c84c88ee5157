"""Limits of waiting for the store, and calls that outlive the request which made them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

from relay.exceptions import StoreUnavailable
from relay.tasks import running_loop

T = TypeVar("T")

STORE_SECONDS: Final = 2.0  # docs/protocol.md: a message that is not stored by then is refused; so is a connection
LATE_SECONDS: Final = 0.05  # after its limit; a wait that is ended later is one of a process that stood still
GRACE_SECONDS: Final = 0.2  # for such a process, to read the reply that came meanwhile, or to send what is waiting


async def within_store_timeout(call: Awaitable[T]) -> T:
    """Wait for a call of the session layer as long as a client may be kept waiting.

    A process that stood still has its time over before it has read the store's reply, and does not refuse for that.

    Raises:
        StoreUnavailable: the call was not done in time; it may still take effect.
    """
    loop = running_loop()
    ends_at = loop.time() + STORE_SECONDS
    try:
        async with asyncio.timeout(None) as limit:
            timer = loop.call_at(ends_at, _end, limit, ends_at)
            try:
                return await call
            finally:
                timer.cancel()
    except TimeoutError as exc:
        raise StoreUnavailable from exc


def _end(limit: asyncio.Timeout, ends_at: float) -> None:
    limit.reschedule(end_of_time(ends_at))


def end_of_time(ends_at: float) -> float:
    """Return when to give up something whose time is over at ``ends_at``: now, or later if the process stood still."""
    now = running_loop().time()
    return now if now - ends_at < LATE_SECONDS else now + GRACE_SECONDS


async def run_to_completion(call: Coroutine[Any, Any, T]) -> T:
    """Wait for a call that must not be left half done: Django cancels the view of a client that disconnects.

    A wait that is cancelled ends only when the call has ended.
    """
    doing = asyncio.create_task(call)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise
