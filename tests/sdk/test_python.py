"""The Python package on its own: cancellation that is ignored, keys, requests that break off."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
import relay_agent

from tests.server.conftest import until

SCOPE = {"type": "http", "method": "POST", "headers": [(b"x-internal-auth", b"key")]}
BODY = {"type": "http.request", "body": json.dumps({"session_id": "s"}).encode()}
GONE = {"type": "http.disconnect"}


class Client:
    """An ASGI server's side of one request."""

    def __init__(self, *parts: dict[str, Any]) -> None:
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        for part in parts:
            self.coming.put_nowait(part)

    def ask(self, app: relay_agent.AgentApp) -> asyncio.Task[None]:
        return asyncio.create_task(app(SCOPE, self.coming.get, self.send))

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def data(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def test_body_may_come_in_parts_and_the_answer_ends_in_one_event():
    @relay_agent.agent("key")
    async def app(message, session):
        yield session.session_id

    body = BODY["body"]
    parts = ({**BODY, "body": body[:5], "more_body": True}, {**BODY, "body": body[5:]})
    client = Client(*parts)
    await client.ask(app)
    assert client.data().count(b'"token": "s"') == 1
    assert client.data().endswith(b'"is_final": true}\n\n')
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_answer_that_ignores_its_cancellation_is_left(monkeypatch, caplog):
    monkeypatch.setattr(relay_agent, "CANCEL_SECONDS", 0.01)
    may_end = asyncio.Event()

    @relay_agent.agent("key")
    async def app(message, session):
        yield "Waiting"
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                ignored.set()
        yield "Never sent"

    ignored = asyncio.Event()
    client = Client(BODY)
    asked = client.ask(app)
    await until(lambda: b"Waiting" in client.data())
    with caplog.at_level(logging.WARNING, "relay_agent"):
        client.coming.put_nowait(GONE)
        await asked
    assert ignored.is_set()
    assert caplog.messages == ["answer does not end"]
    (left,) = app._answering
    may_end.set()
    await asyncio.wait({left})
    assert b"Never" not in client.data()


async def test_error_of_the_server_is_raised():
    @relay_agent.agent("key")
    async def app(message, session):
        yield "Hello"

    class Broken(Client):
        async def send(self, message):
            if message.get("body"):
                raise OSError("the connection is lost")

    with pytest.raises(OSError, match="lost"):
        await Broken(BODY).ask(app)
    assert app._answering == set()


async def test_server_that_stops_cancels_the_answer():
    cancelled = asyncio.Event()

    @relay_agent.agent("key")
    async def app(message, session):
        yield "Waiting"
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    client = Client(BODY)
    asked = client.ask(app)
    await until(lambda: b"Waiting" in client.data())
    asked.cancel()
    await asyncio.wait({asked})
    assert asked.cancelled()
    assert cancelled.is_set()


@pytest.mark.parametrize("keys", [(), ("",), ("key", "")])
def test_agent_without_a_key_is_not_made(keys):
    with pytest.raises(ValueError, match="INTERNAL_API_KEY"):
        relay_agent.agent(*keys)(None)


async def test_other_connections_than_http_are_refused():
    with pytest.raises(NotImplementedError):
        await relay_agent.agent("key")(None)({"type": "websocket"}, None, None)


async def test_request_that_breaks_off_is_refused():
    client = Client(GONE)
    await client.ask(relay_agent.agent("key")(None))
    assert client.sent[0]["status"] == 400
