"""A Channels consumer that sends each token straight to its socket. Nothing is kept."""

from __future__ import annotations

from benchmarks.peers.channels_project import ask, set_up

set_up()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class DirectConsumer(AsyncJsonWebsocketConsumer):
    """One socket."""

    async def receive_json(self, content: dict[str, str]) -> None:
        session_id = self.scope["url_route"]["kwargs"]["session_id"]
        async for event in ask(session_id, content["content"]):
            await self.send_json(event)


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws/<str:session_id>/", DirectConsumer.as_asgi())])})
