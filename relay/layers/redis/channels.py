"""Groups and channels over Redis: the pub/sub layer of ``channels_redis``, under the names of one deployment.

Its prefix is part of the names of groups and of new channels. A channel that the application names itself is published
under that bare name, which any other deployment on the server may use too: so every name of a channel that goes in has
the deployment's namespace in front, and what comes out has it taken off.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from channels.layers import BaseChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.asyncio.connection import parse_url

from relay.addresses.cluster import parse_cluster_url
from relay.addresses.store import parse_sentinel_url
from relay.layers.redis.any_node import any_node
from relay.layers.redis.foreign import ForeignMessages
from relay.layers.redis.keys import namespace


class RedisChannels(BaseChannelLayer):  # type: ignore[misc]  # Channels has no types
    """Messages are dicts of any content, hence ``Any``. A message without a receiver at the moment is lost.

    Args:
        options: keywords of ``RedisPubSubChannelLayer``.
    """

    def __init__(self, url: str, prefix: str, **options: Any) -> None:
        super().__init__()
        self._url = url
        self._options = options
        self._namespace = f"{namespace(prefix, url)}:channels:"
        self._foreign = ForeignMessages()

    @cached_property
    def _layer(self) -> RedisPubSubChannelLayer:
        """The layer, made when it is used first: it changes the ``close`` of each event loop that it runs on."""
        return RedisPubSubChannelLayer(hosts=[channel_host(self._url)], prefix=self._namespace, **self._options)

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel: str = await self._layer.new_channel(prefix)
        return channel.removeprefix(self._namespace)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self.require_valid_channel_name(channel)
        await self._layer.send(self._namespace + channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Receive the next message; others under the channel's name are passed over."""
        self.require_valid_channel_name(channel)
        while True:
            try:
                message = await self._layer.receive(self._namespace + channel)
            except ValueError:  # of msgpack or json: the bytes are not theirs
                message = None
            if isinstance(message, dict):
                return message
            self._foreign.report(f"channel {channel}", "format")

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._layer.group_add(group, self._namespace + channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._layer.group_discard(group, self._namespace + channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.require_valid_group_name(group)
        await self._layer.group_send(group, message)

    async def flush(self) -> None:
        """Forget all channels and groups, and close the running loop's connections."""
        if "_layer" in vars(self):
            await self._layer.flush()

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self.flush()


def channel_host(url: str) -> str | dict[str, Any]:
    """Return a store's address as ``channels_redis`` takes it: keywords where there are several servers."""
    cluster_url = parse_cluster_url(url)
    if cluster_url is not None:
        return any_node(cluster_url)
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
