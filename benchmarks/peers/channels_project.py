"""What the Channels peers share: Django's settings and the agent's stream, as a tutorial has them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import django
import httpx
from django.conf import settings


def set_up(channel_layer: dict[str, Any] | None = None) -> None:
    """Make a Django project of nothing but Channels."""
    layers = {"default": channel_layer} if channel_layer is not None else {}
    settings.configure(SECRET_KEY="benchmark", INSTALLED_APPS=["channels"], CHANNEL_LAYERS=layers)
    django.setup()


_client: httpx.AsyncClient | None = None


async def ask(session_id: str, content: str) -> AsyncIterator[dict[str, Any]]:
    """Send a message to the agent and give its events."""
    global _client
    if _client is None:
        limits = httpx.Limits(max_connections=None)
        _client = httpx.AsyncClient(base_url=os.environ["AGENT_URL"], timeout=None, limits=limits, trust_env=False)
    body = {"session_id": session_id, "type": "user_message", "content": content}
    async with _client.stream("POST", "/agent/message/stream", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line[6:])
