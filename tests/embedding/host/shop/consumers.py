"""A socket of the shop's own."""

from channels.generic.websocket import AsyncWebsocketConsumer


class Prices(AsyncWebsocketConsumer):
    """Says what it hears."""

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)
