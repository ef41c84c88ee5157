"""Groups and channels of one process, as the Channels specification has them, at constant cost a call."""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer


class MemoryChannels(BaseChannelLayer):  # type: ignore[misc]  # Channels has no types
    """Send, receive and groups in memory.

    The layer of Channels itself looks at every channel on each message, and takes a channel out of all its groups
    when one message expires; this one does neither. Messages are channel-layer dicts of any content, hence ``Any``.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self._channels: dict[str, _Channel] = {}
        self._groups: dict[str, dict[str, float]] = {}

    async def new_channel(self, prefix: str = "specific") -> str:
        return f"{prefix}.{secrets.token_hex(8)}!{secrets.token_hex(8)}"

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if not isinstance(message, dict):
            raise TypeError("a channel message is a dict")
        self.require_valid_channel_name(channel)
        if "__asgi_channel__" in message:
            raise ValueError("__asgi_channel__ is a reserved name")
        queue = self._channels.setdefault(channel, _Channel())
        queue.expire(self._now())
        if len(queue.messages) >= self.get_capacity(channel):
            raise ChannelFull(channel)
        queue.put(self._now() + self.expiry, copy.deepcopy(message))

    async def receive(self, channel: str) -> dict[str, Any]:
        self.require_valid_channel_name(channel)
        queue = self._channels.setdefault(channel, _Channel())
        try:
            return await queue.get(self._now)
        finally:
            if queue.is_unused and self._channels.get(channel) is queue:
                del self._channels[channel]

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self._groups.setdefault(group, {})[channel] = self._now() + self.group_expiry

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        members = self._groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self._groups.pop(group, None)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.require_valid_group_name(group)
        now = self._now()
        members = self._groups.get(group, {})
        for channel, expires_at in list(members.items()):
            if expires_at <= now:
                await self.group_discard(group, channel)
                continue
            try:
                await self.send(channel, message)
            except ChannelFull:
                continue  # the specification: a full channel loses a group's message, the others do not

    async def flush(self) -> None:
        self._channels.clear()
        self._groups.clear()

    async def close(self) -> None:
        """Nothing to let go of."""

    def _now(self) -> float:
        return time.monotonic()


class _Channel:
    """One channel's messages and those who wait for them."""

    def __init__(self) -> None:
        self.messages: deque[tuple[float, dict[str, Any]]] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def is_unused(self) -> bool:
        return not self.messages and not self._waiters

    def expire(self, now: float) -> None:
        while self.messages and self.messages[0][0] <= now:
            self.messages.popleft()

    def put(self, expires_at: float, message: dict[str, Any]) -> None:
        self.messages.append((expires_at, message))
        self._wake_one()

    async def get(self, now: Callable[[], float]) -> dict[str, Any]:
        self.expire(now())
        while not self.messages:
            await self._wait()
            self.expire(now())
        return self.messages.popleft()[1]

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake_one()  # woken and cancelled at once: the message is for the next
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
