"""A gateway as a team writes it when a relay is not enough: FastAPI, httpx, a list of frames for each session.

A task runs each turn, a queue feeds each viewer, and a viewer that reconnects names the offset that it has seen.
Everything is kept in this process, without any limit.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

AGENT_URL = os.environ["AGENT_URL"]
EPOCH = os.urandom(4).hex()


class Session:
    """One conversation: its frames, its viewers, and the messages that wait to be answered."""

    def __init__(self, session_id: str, agent: httpx.AsyncClient) -> None:
        self.frames: list[dict[str, Any]] = []
        self.viewers: set[asyncio.Queue[dict[str, Any]]] = set()
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._session_id = session_id
        self._agent = agent
        self._task = asyncio.create_task(self._run_turns())

    def append(self, frame: dict[str, Any]) -> None:
        """Keep a frame, and hand it to every viewer."""
        frame["offset"] = len(self.frames) + 1
        self.frames.append(frame)
        for viewer in self.viewers:
            viewer.put_nowait(frame)

    async def _run_turns(self) -> None:
        while True:
            message = await self.messages.get()
            body = {"session_id": self._session_id, **message}
            async with self._agent.stream("POST", "/agent/message/stream", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        self.append(json.loads(line[6:]))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Share one client among all sessions."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=AGENT_URL, timeout=None, limits=limits, trust_env=False) as client:
        app.state.agent = client
        app.state.sessions = {}
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws/{session_id}/")
async def view(socket: WebSocket, session_id: str, offset: int | None = None) -> None:
    """Show a session, from an offset on if the viewer names one, and take its messages."""
    sessions = app.state.sessions
    if session_id not in sessions:
        sessions[session_id] = Session(session_id, app.state.agent)
    session = sessions[session_id]
    asked = (socket.headers.get("sec-websocket-protocol") or "").split(",")[0] or None
    await socket.accept(asked)
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for frame in session.frames[offset:] if offset is not None else []:
        queue.put_nowait(frame)
    session.viewers.add(queue)
    if asked is not None:
        await socket.send_json({"type": "welcome", "epoch": EPOCH, "offset": len(session.frames)})
    sending = asyncio.create_task(_send(socket, queue))
    with suppress(WebSocketDisconnect):
        while True:
            session.messages.put_nowait(await socket.receive_json())
    session.viewers.discard(queue)
    sending.cancel()


async def _send(socket: WebSocket, queue: asyncio.Queue[dict[str, Any]]) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.send_json(await queue.get())
