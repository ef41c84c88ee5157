"""The usual way to write a relay: FastAPI, httpx, ``aiter_lines``, ``send_json``. Nothing is kept."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

AGENT_URL = os.environ["AGENT_URL"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Share one client among all sockets."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=AGENT_URL, timeout=None, limits=limits, trust_env=False) as client:
        app.state.agent = client
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws/{session_id}/")
async def relay(socket: WebSocket, session_id: str) -> None:
    """Answer each message with what the agent streams."""
    await socket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            message = await socket.receive_json()
            body = {"session_id": session_id, **message}
            async with socket.app.state.agent.stream("POST", "/agent/message/stream", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        await socket.send_json(json.loads(line[6:]))
