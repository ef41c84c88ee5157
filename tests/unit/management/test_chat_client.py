"""The client of ``manage.py chat``: how long it goes on without a gateway."""

from __future__ import annotations

import json
import socket

from websockets.asyncio.server import serve

from relay.management.chat_client import SUBPROTOCOL, ChatClient, Closed
from relay.protocol.frames import CloseCode
from tests.clients import LIMIT_SECONDS
from tests.processes import free_port

PATIENCE_SECONDS = 0.2
WELCOME = {"type": "welcome", "heartbeat_seconds": 20.0, "epoch": "e1", "after": 0}


async def frames_until_it_gives_up(port, *, patience_seconds=PATIENCE_SECONDS):
    """Return the frames' types, and the client's last words."""
    url = f"ws://127.0.0.1:{port}"
    client = ChatClient(url, "s", key=None, ticket=None, patience_seconds=patience_seconds)
    found = []
    try:
        async for frame in client.frames():
            found.append(frame["type"])
    except Closed as exc:
        return found, str(exc).replace(url, "ADDRESS")


WORDS = "No gateway answered at ADDRESS for 0.2 s: is it running? Give its address with --url."


async def test_nothing_listens():
    found, words = await frames_until_it_gives_up(free_port())
    assert set(found) == {"lost"}
    assert words == WORDS


async def test_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await frames_until_it_gives_up(listener.getsockname()[1]) == (["lost"], WORDS)


async def test_gateway_that_never_welcomes():
    async def wait(connection):
        await connection.wait_closed()

    async with serve(wait, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
        assert await frames_until_it_gives_up(server.sockets[0].getsockname()[1]) == (["lost"], WORDS)


async def test_gateway_that_comes_and_goes(clock):
    """Its patience starts again with each loss."""
    served = []

    async def welcome_twice(connection):
        served.append(connection)
        if len(served) <= 2:
            await connection.send(json.dumps(WELCOME))
            await connection.close(CloseCode.SERVER_RESTART)
        else:
            clock.advance(LIMIT_SECONDS)
            await connection.wait_closed()

    async with serve(welcome_twice, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
        found, words = await frames_until_it_gives_up(
            server.sockets[0].getsockname()[1], patience_seconds=LIMIT_SECONDS
        )
    assert found == ["welcome", "lost", "welcome", "lost", "lost"]
    assert words == WORDS.replace("0.2 s", f"{LIMIT_SECONDS} s")
