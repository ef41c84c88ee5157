"""Limits of waiting for the store, and calls that outlive the request which made them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

from relay.exceptions import StoreUnavailable
from relay.tasks import FairTimeout

T = TypeVar("T")

STORE_SECONDS: Final = 2.0  # docs/protocol.md: a message that is not stored by then is refused; so is a connection


async def within_store_timeout(call: Awaitable[T]) -> T:
    """Wait for a call of the session layer as long as a client may be kept waiting.

    A process that stood still has its time over before it has read the store's reply, and does not refuse for that.

    Raises:
        StoreUnavailable: the call was not done in time; it may still take effect.
    """
    try:
        async with FairTimeout(STORE_SECONDS):
            return await call
    except TimeoutError as exc:
        raise StoreUnavailable from exc


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
