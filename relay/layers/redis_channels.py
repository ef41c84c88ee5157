"""Groups and channels over Redis' pub/sub, by ``channels_redis``; a channel of a socket is made without I/O.

All channels of a process share one subscription: a message to ``specific.<process>!<socket>`` goes to the process,
which hands it on. As with every pub/sub layer, what nobody receives at the moment is lost.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any, Final

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 10.0  # between looks at a quiet line
_ADDRESSEE: Final = "__asgi_channel__"


class RedisChannels(RedisPubSubChannelLayer):  # type: ignore[misc]  # channels_redis has no types
    """The layer of ``channels_redis``, with a loop layer of ours. Messages are dicts of any content, hence ``Any``."""

    def _get_layer(self) -> ProcessChannels:
        loop = asyncio.get_running_loop()
        layer: ProcessChannels | None = self._layers.get(loop)
        if layer is None:
            layer = self._layers[loop] = ProcessChannels(*self._args, **self._kwargs, channel_layer=self)
        return layer

    async def close(self) -> None:
        """Hang up on this loop."""
        layer = self._layers.pop(asyncio.get_running_loop(), None)
        if layer is not None:
            await layer.close()


class ProcessChannels(RedisPubSubLoopLayer):  # type: ignore[misc]  # channels_redis has no types
    """The channels of one event loop."""

    def __init__(self, *args: Any, capacity: int = 100, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hosts: list[Any] = [shard.host for shard in self._shards]
        self._shards: list[_Shard] = [_Shard(host, self) for host in hosts]
        self._capacity = capacity
        self._process = f"{self.prefix}.{secrets.token_hex(8)}!"
        self._subscribing: asyncio.Task[None] | None = None

    async def new_channel(self, prefix: str = "specific") -> str:
        channel = f"{self._process}{prefix}{secrets.token_hex(8)}"
        self.channels[channel] = _Queue(self._capacity)
        return channel

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if channel in self.channels:
            self.channels[channel].put_nowait(self.channel_layer.serialize(message))
        elif "!" in channel:
            process = channel[: channel.index("!") + 1]
            await super().send(process, {**message, _ADDRESSEE: channel})
        else:
            await super().send(channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        if not channel.startswith(self._process):
            received: dict[str, Any] = await super().receive(channel)
            return received
        if self._subscribing is None:
            self.channels[self._process] = _Sorter(self)
            self._subscribing = asyncio.create_task(self._get_shard(self._process).subscribe(self._process))
        queue = self.channels.setdefault(channel, _Queue(self._capacity))
        try:
            message: dict[str, Any] = self.channel_layer.deserialize(await queue.get())
        except asyncio.CancelledError:
            self.channels.pop(channel, None)  # the socket ends
            raise
        return message

    async def close(self) -> None:
        """Hang up."""
        if self._subscribing is not None:
            self._subscribing.cancel()
            await asyncio.gather(self._subscribing, return_exceptions=True)
            self._subscribing = None
        await self.flush()


class _Shard(RedisSingleShardConnection):  # type: ignore[misc]  # channels_redis has no types
    """A connection that takes an outage calmly: the original writes a stack trace each second."""

    async def _do_receiving(self) -> None:
        while True:
            try:
                if self._pubsub is not None and self._pubsub.subscribed:
                    self._receive_message(
                        await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=IDLE_SECONDS)
                    )
                else:
                    await asyncio.sleep(0.1)
            except (RedisError, OSError) as exc:
                logger.debug("no connection for groups and channels: %s", type(exc).__name__)
                await asyncio.sleep(1)


class _Queue(asyncio.Queue[bytes]):
    """A channel's messages; one over the capacity is dropped, as the specification lets a layer do."""

    def put_nowait(self, item: bytes) -> None:
        if not self.full():
            super().put_nowait(item)


class _Sorter:
    """Takes what comes for the process, and hands it to the channel that it is for."""

    def __init__(self, layer: ProcessChannels) -> None:
        self._layer = layer

    def put_nowait(self, data: bytes) -> None:
        message = self._layer.channel_layer.deserialize(data)
        queue = self._layer.channels.get(message.pop(_ADDRESSEE, None))
        if queue is not None:
            queue.put_nowait(self._layer.channel_layer.serialize(message))
