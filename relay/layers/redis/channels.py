"""Groups and channels over Redis' pub/sub, by ``channels_redis``; a channel of a socket is made without I/O.

All channels of a process share one subscription: a message to ``specific.<process>!<socket>`` goes to the process,
which hands it on. As with every pub/sub layer, what nobody receives at the moment is lost.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError

from relay.addresses.store import parse_sentinel_url
from relay.layers.redis.foreign import ForeignMessages

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 5.0  # a line is quiet for so long, then it is asked, then it is given up
RETRY_SECONDS: Final = 1.0
_ADDRESSEE: Final = "__asgi_channel__"


def channel_host(url: str) -> str | dict[str, Any]:
    """Name a store as ``channels_redis`` wants it: keywords of any type where sentinels know it."""
    sentinel_url = parse_sentinel_url(url)
    if sentinel_url is None:
        return url
    options: dict[str, Any] = dict(parse_url(sentinel_url.store_url))
    known: dict[str, Any] = {name: options[name] for name in ("db", "username", "password") if name in options}
    return {
        "sentinels": list(sentinel_url.sentinels),
        "master_name": sentinel_url.service,
        "sentinel_kwargs": {"password": sentinel_url.password},
        "ssl": urlsplit(url).scheme.startswith("rediss"),
        **known,
    }


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

    def __init__(self, *args: Any, namespaces: Sequence[str], capacity: int = 100, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hosts: list[Any] = [shard.host for shard in self._shards]
        self._shards: list[_Shard] = [
            _Shard(host, self, namespace) for host, namespace in zip(hosts, namespaces, strict=True)
        ]
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
            self._subscribing = asyncio.create_task(self._subscribe())
        queue = self.channels.setdefault(channel, _Queue(self._capacity))
        try:
            message: dict[str, Any] = self.channel_layer.deserialize(await queue.get())
        except asyncio.CancelledError:
            self.channels.pop(channel, None)  # the socket ends
            raise
        return message

    async def _subscribe(self) -> None:
        while True:
            try:
                await self._get_shard(self._process).subscribe(self._process)
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def close(self) -> None:
        """Hang up."""
        if self._subscribing is not None:
            self._subscribing.cancel()
            await asyncio.gather(self._subscribing, return_exceptions=True)
            self._subscribing = None
        await self.flush()


class _Shard(RedisSingleShardConnection):  # type: ignore[misc]  # channels_redis has no types
    """A connection that takes an outage calmly, notices a dead line, and keeps to the names of its deployment.

    The original writes a stack trace each second of an outage, waits on a dead line for ever, and publishes to a
    channel under the bare name that the application gave it, which every other deployment on the server may use too.
    """

    def __init__(self, host: Any, layer: ProcessChannels, namespace: str) -> None:
        super().__init__(host, layer)
        self._namespace = f"{namespace}:"
        self._foreign = ForeignMessages()

    async def publish(self, channel: str, message: bytes) -> None:
        await super().publish(self._namespace + channel, message)

    async def subscribe(self, channel: str) -> None:
        await super().subscribe(self._namespace + channel)

    async def unsubscribe(self, channel: str) -> None:
        await super().unsubscribe(self._namespace + channel)

    def _receive_message(self, message: dict[str, Any]) -> None:
        name = message["channel"].decode().removeprefix(self._namespace)
        if _is_dict(self.channel_layer.channel_layer, message["data"]):
            super()._receive_message({**message, "channel": name})
        else:
            self._foreign.report(f"channel {name}", "format")

    async def _do_receiving(self) -> None:
        is_asked = False  # whether it is still there
        while True:
            try:
                if self._pubsub is None or not self._pubsub.subscribed:
                    await asyncio.sleep(0.1)  # as the original: nothing tells of the first subscription
                    continue
                message = await self._pubsub.get_message(timeout=IDLE_SECONDS)
                if message is not None:
                    is_asked = False
                    if message["type"] == "message":
                        self._receive_message(message)
                elif is_asked:
                    is_asked = False
                    await self._pubsub.connection.disconnect()  # the next look connects, and subscribes again
                else:
                    is_asked = True
                    await self._pubsub.ping()
            except (RedisError, OSError) as exc:
                is_asked = False
                logger.debug("no connection for groups and channels: %s", type(exc).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> None:
        """Hang up, on sentinels too: the original forgets them."""
        pool = None if self._redis is None else self._redis.connection_pool
        await super().flush()
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()


def _is_dict(serializer: RedisChannels, data: bytes) -> bool:
    """Is it a message of the channel layer? One that cannot be read would end the task that receives all others."""
    try:
        return isinstance(serializer.deserialize(data), dict)
    except Exception:  # of whatever kind, by its bytes
        return False


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
