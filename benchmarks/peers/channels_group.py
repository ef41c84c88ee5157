"""A Channels consumer that sends each token to its session's group: in memory, or through Redis."""

from __future__ import annotations

import asyncio
import os

from benchmarks.peers.channels_project import ask, set_up

REDIS_URL = os.environ.get("REDIS_URL")
CAPACITY = 10_000  # the default of 100 loses tokens

set_up(
    {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": CAPACITY}}
)

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class GroupConsumer(AsyncJsonWebsocketConsumer):
    """One socket."""

    async def connect(self) -> None:
        self.session_id = self.scope["url_route"]["kwargs"]["session_id"]
        self.turns: set[asyncio.Task[None]] = set()
        await self.channel_layer.group_add(self.session_id, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.session_id, self.channel_name)
        for turn in self.turns:
            turn.cancel()

    async def receive_json(self, content: dict[str, str]) -> None:
        self.turns.add(asyncio.create_task(self.run_turn(content["content"])))

    async def run_turn(self, content: str) -> None:
        async for event in ask(self.session_id, content):
            await self.channel_layer.group_send(self.session_id, {"type": "token", "event": event})

    async def token(self, message: dict[str, dict[str, str]]) -> None:
        await self.send_json(message["event"])


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws/<str:session_id>/", GroupConsumer.as_asgi())])})
