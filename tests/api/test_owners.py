"""A session changes hands between the moment a client is let in and the call that acts for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relay.layers.memory.layer import MemorySessionLayer
from relay.policies import ticket_signing
from relay.process import lifecycle
from relay.testing.turns import log, message
from tests.clients import V1, CommunicatorClient
from tests.http_clients import API, EventReader, HttpClient

SECRET = "what the new owner says"


@pytest.fixture(autouse=True)
def ticketed(configure: Callable[..., None]) -> None:
    configure(WS_AUTH="ticket")


def socket(application: Any, subprotocols: list[str] | None = None) -> CommunicatorClient:
    return CommunicatorClient(application, f"/ws/s/?ticket={ticket_signing.issue('s', 'ada', 60)}", subprotocols)


async def change_hands(layer: MemorySessionLayer) -> None:
    """Make the session another's, as after a deletion of which this client has not been told yet."""
    layer._index.remove(layer._index.get("s"))
    await layer.attach("s", "eve's", "eve")
    await layer.enqueue("s", message(SECRET, subject="eve"))
    await layer.claim("s", "eve's worker")


@pytest.fixture
async def before(application: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the session change hands just before the next call of this name."""
    layer: Any = (await lifecycle.current()).layer

    def patch(name: str) -> None:
        call = getattr(layer, name)

        async def changed(*arguments: Any) -> Any:
            monkeypatch.setattr(layer, name, call)
            await change_hands(layer)
            return await call(*arguments)

        monkeypatch.setattr(layer, name, changed)

    return patch


async def is_forbidden(client: CommunicatorClient) -> None:
    frame = await client.frame()
    assert (frame["type"], frame["code"], frame["reconnect"]) == ("disconnect", "forbidden", False)
    assert await client.close_code() == 4403


async def logged() -> list[str]:
    return await log((await lifecycle.current()).layer, "s")


async def test_welcome_of_anothers_session_is_not_told(application, before):
    before("ensure")
    async with socket(application, [V1]) as browser:
        await is_forbidden(browser)
    before("ensure")
    async with socket(application) as old:
        assert not old.is_accepted


async def test_message_is_not_put_into_anothers_session(application, before):
    async with socket(application, [V1]) as browser:
        await browser.frame_of("welcome")
        before("enqueue")
        await browser.say("mine?", on_busy="interrupt")
        await is_forbidden(browser)
    assert await logged() == [f"user:{SECRET}"]


async def test_message_of_a_plain_client_is_not_put_into_anothers_session(application, before):
    async with socket(application) as old:
        before("enqueue")
        await old.say("mine?")
        assert await old.close_code() == 4403
    assert await logged() == [f"user:{SECRET}"]


async def test_turn_of_anothers_session_is_not_cancelled(application, before):
    async with socket(application, [V1]) as browser:
        await browser.frame_of("welcome")
        before("cancel")
        await browser.cancel()
        await is_forbidden(browser)
    assert not (await (await lifecycle.current()).layer.ensure("s")).is_cancelling


async def watch_is_forbidden(client: CommunicatorClient | EventReader) -> None:
    """What is the new owner's is not shown, neither as frames nor as a snapshot."""
    await client.frame_of("welcome")
    layer: Any = (await lifecycle.current()).layer
    former = layer._index.get("s")
    await change_hands(layer)
    former.forget()
    frame = await client.frame()
    assert (frame["type"], frame["code"]) == ("disconnect", "forbidden")


async def test_log_of_anothers_session_is_not_shown_on_a_socket(application):
    async with socket(application, [V1]) as browser:
        await watch_is_forbidden(browser)
        assert await browser.close_code() == 4403


async def stream(application: Any) -> AsyncIterator[bytes]:
    ticket = ticket_signing.issue("s", "ada", 60)
    async with HttpClient(application).open("GET", f"{API}/s/events?ticket={ticket}", key=None) as (_, chunks):
        async for chunk in chunks:
            yield chunk


async def test_log_of_anothers_session_is_not_shown_in_an_event_stream(application):
    reader = EventReader(stream(application))
    await watch_is_forbidden(reader)
    assert await reader.rest() == b""


async def test_welcome_of_anothers_session_is_not_told_in_an_event_stream(application, before):
    before("ensure")
    reader = EventReader(stream(application))
    assert (await reader.frame())["code"] == "forbidden"
    assert await reader.rest() == b""
