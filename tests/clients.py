"""Clients that speak in frames, over a communicator or over a real socket."""

from __future__ import annotations

import abc
import asyncio
import json
from typing import Any, Self

from channels.testing import WebsocketCommunicator
from websockets.asyncio.client import ClientConnection, connect

from tests import log_search

LIMIT_SECONDS = 60
V1 = "gateway.v1"


class Client(abc.ABC):
    """One socket of one front end."""

    @abc.abstractmethod
    async def send_text(self, text: str) -> None: ...

    @abc.abstractmethod
    async def send_bytes(self, data: bytes) -> None: ...

    @abc.abstractmethod
    async def text(self) -> str:
        """The next frame as it came."""

    async def send(self, frame: Any) -> None:
        await self.send_text(json.dumps(frame))

    async def say(self, content: str, **fields: Any) -> None:
        log_search.look_for(content)
        await self.send({"type": "user_message", "content": content, **fields})

    async def cancel(self, **fields: Any) -> None:
        await self.send({"type": "cancel", **fields})

    async def frame(self) -> dict[str, Any]:
        """The next frame, decoded."""
        return json.loads(await self.text())

    async def frame_of(self, kind: str) -> dict[str, Any]:
        """The next frame of one type; others before it are passed over."""
        while (frame := await self.frame())["type"] != kind:
            pass
        return frame

    async def turn(self) -> list[dict[str, Any]]:
        """The frames up to and with the next terminal one (an error without a turn in ``gateway.v1`` is none).

        Without heartbeats: a slow machine has more of them.
        """
        frames = []
        while True:
            frame = await self.frame()
            if frame["type"] != "ping":
                frames.append(frame)
            if frame.get("is_final") or frame["type"] == "error":
                return frames

    async def answer(self) -> str:
        """The text of the next whole answer; an error fails the test."""
        frames = await self.turn()
        assert frames[-1].get("is_final"), frames[-1]
        text = text_of(frames)
        log_search.look_for(text)
        return text

    async def ask(self, content: str, **fields: Any) -> str:
        await self.say(content, **fields)
        return await self.answer()

    async def error(self) -> str:
        """The words of the next error; whatever comes before it is passed over."""
        return (await self.frame_of("error"))["content"]


def text_of(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["token"] for frame in frames if frame["type"] == "assistant_message")


class SocketClient(Client):
    """A client on a real socket, by the independent ``websockets`` library."""

    def __init__(self, url: str, subprotocols: list[str] | None = None, **options: Any) -> None:
        # No bound on what waits to be read: at one it reads no more, and its close waits ten seconds for the answer.
        self._connecting = connect(
            url,
            subprotocols=subprotocols,
            max_size=None,
            max_queue=None,
            proxy=None,
            open_timeout=LIMIT_SECONDS,
            **options,
        )
        self.connection: ClientConnection

    async def __aenter__(self) -> Self:
        self.connection = await self._connecting.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connecting.__aexit__(*exc)

    async def send_text(self, text: str) -> None:
        await self.connection.send(text)

    async def send_bytes(self, data: bytes) -> None:
        await self.connection.send(data)

    async def text(self) -> str:
        async with asyncio.timeout(LIMIT_SECONDS):
            text = await self.connection.recv()
        assert isinstance(text, str), "the gateway sends text frames"
        return text

    async def close_code(self) -> int | None:
        """Wait until the server has closed, and give its code."""
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.connection.wait_closed()
        return self.connection.close_code


class CommunicatorClient(Client):
    """A client without a server: Channels' communicator."""

    def __init__(self, application: Any, path: str, subprotocols: list[str] | None = None, **options: Any) -> None:
        self.communicator = WebsocketCommunicator(application, path, subprotocols=subprotocols, **options)
        self.is_accepted = False
        self.subprotocol: str | int | None = None

    async def __aenter__(self) -> Self:
        self.is_accepted, self.subprotocol = await self.communicator.connect(timeout=LIMIT_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.communicator.disconnect(timeout=LIMIT_SECONDS)

    async def send_text(self, text: str) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "bytes": data})

    async def text(self) -> str:
        message = await self.communicator.receive_output(LIMIT_SECONDS)
        assert message["type"] == "websocket.send", message
        return message["text"]

    async def close_code(self) -> int:
        message = await self.communicator.receive_output(LIMIT_SECONDS)
        assert message["type"] == "websocket.close", message
        return message.get("code", 1000)

    async def is_quiet(self) -> bool:
        """Has the gateway nothing to say?"""
        return await self.communicator.receive_nothing()
