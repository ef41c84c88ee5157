"""The answers of other front ends, each over HTTP: whatever ends one early breaks it; and whose are refused."""

from __future__ import annotations

import asyncio
import time

import pytest

from relay.adapters.turn_stream import TurnStream
from relay.delivery import http_stream, session_connection
from relay.exceptions import Kicked, SessionDeleted
from relay.process import lifecycle
from tests.api.adapters import opened
from tests.api.test_connection_life import Admitting, disconnects, is_released
from tests.front_end_requests import ADAPTERS, ASKING, WHOLE
from tests.http_clients import HttpClient
from tests.scripted_agent import Event, Final, Stall, Token

TRANSLATORS = {
    "ai-sdk": "relay.adapters.ai_sdk.AiSdkTranslator",
    "ag-ui": "relay.adapters.ag_ui.AgUiTranslator",
    "openai": "relay.adapters.openai.OpenAITranslator",
}


@pytest.fixture(autouse=True)
def _switched_on(configure):
    configure(ADAPTERS=ADAPTERS)


@pytest.fixture(params=ASKING)
def adapter(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["awaited", "send_now"])
def http(application, request):
    """Ask a server that awaits each piece of a body, and one that takes pieces at once."""
    return HttpClient(application, has_send_now=request.param)


@pytest.fixture
def asking(http, adapter):
    """Open the answer of one adapter's client in the session `s`."""
    asked = ASKING[adapter]("s")

    def ask(**options):
        return opened(http, asked.method, asked.path, body=asked.body, headers=asked.headers, **options)

    return ask


async def breaks(reader, adapter):
    raw = await reader.all_bytes()
    assert (WHOLE[adapter] in raw, reader.is_whole) == (False, False)
    await is_released(await lifecycle.current())


async def until_text(reader):
    while "a" not in str(await reader.event()):
        pass


async def the_connection():
    (connection,) = (await lifecycle.current()).connections
    return connection


async def test_whole_answer_is_whole(asking, adapter, agent):
    agent.script = [Token("a"), Final()]
    async with asking() as reader:
        raw = await reader.all_bytes()
    assert (raw.endswith(WHOLE[adapter]), reader.is_whole) == (True, True)


async def test_whole_answer_is_whole_although_the_process_ends_before_its_response(asking, adapter, agent, monkeypatch):
    """A drain has seen that the end was written, and disconnects the client in the same moment."""
    ending, leaving = TurnStream._ending, []

    def end_and_leave(stream):
        leaving.append(asyncio.ensure_future(stream.connection.disconnect()))
        return ending(stream)

    monkeypatch.setattr(TurnStream, "_ending", end_and_leave)
    agent.script = [Token("a"), Final()]
    async with asking() as reader:
        raw = await reader.all_bytes()
    await asyncio.gather(*leaving)
    assert (raw.endswith(WHOLE[adapter]), reader.is_whole, len(leaving)) == (True, True, 1)


@pytest.mark.parametrize("reason", [None, SessionDeleted(), Kicked()], ids=["drain", "deleted", "kicked"])
async def test_answer_that_the_gateway_leaves_breaks_off(asking, adapter, agent, reason):
    agent.script = [Token("a"), Stall()]
    async with asking() as reader:
        await until_text(reader)
        await (await the_connection()).disconnect(reason)
        await breaks(reader, adapter)


async def test_answer_breaks_off_when_its_credential_expires(asking, adapter, agent, clock):
    gateway = await lifecycle.current()
    gateway.policy = Admitting()
    gateway.policy.expires_at = time.time() + 20
    before = disconnects("unauthorized")
    agent.script = [Token("a"), Stall()]
    async with asking(key=None) as reader:
        await until_text(reader)
        clock.advance(20)
        await breaks(reader, adapter)
    assert disconnects("unauthorized") == before + 1


@pytest.mark.parametrize("method", ["on_start", "on_text", "on_event", "on_final"])
async def test_bug_in_a_translator_breaks_the_answer_off(asking, adapter, agent, monkeypatch, method, caplog):
    def fail(*_):
        raise ValueError

    monkeypatch.setattr(f"{TRANSLATORS[adapter]}.{method}", fail)
    agent.script = [Token("a"), Event({"type": "x"}), Final()]
    async with asking() as reader:
        await breaks(reader, adapter)
    assert "event stream failed" in caplog.messages


async def test_client_that_takes_nothing_is_cut(asking, adapter, agent, configure, monkeypatch):
    monkeypatch.setattr(session_connection, "BLOCKED_SECONDS", 0.05)
    monkeypatch.setattr(http_stream, "LEAVE_SECONDS", 0.05)
    configure(HEARTBEAT_SECONDS="0.2")
    before = disconnects("too_slow")
    agent.script = [Token("a"), Stall()]
    async with asking(is_reading=False) as reader:
        await breaks(reader, adapter)
    assert disconnects("too_slow") == before + 1


async def test_message_above_the_rate_is_refused(asking, agent, configure):
    agent.script = [Token("a"), Stall()]
    configure(RATE_LIMIT="1")
    async with asking() as one:
        await until_text(one)
        async with asking() as two:
            assert (two.answer.status, "too quickly" in (await two.all_bytes()).decode()) == (
                429,
                True,
            )
            assert int(two.answer.headers["retry-after"]) >= 1
    assert len(agent.requests) == 1


@pytest.mark.parametrize("limit", ["MAX_SOCKETS", "ADDRESS_MAX_SOCKETS", "ADDRESS_CONNECT_RATE"])
async def test_answer_takes_a_seat_of_its_address(asking, agent, configure, limit):
    gateway = await lifecycle.current()
    gateway.policy = Admitting()
    configure(**{limit: "1"})
    agent.script = [Token("a"), Stall()]
    async with asking(key=None, client=["192.0.2.1", 50_000]) as one:
        await until_text(one)
        async with asking(key=None, client=["192.0.2.1", 50_001]) as two:
            assert (two.answer.status, int(two.answer.headers["retry-after"]) >= 10) == (429, True)
        async with asking(client=["192.0.2.1", 50_002]) as service:  # with the key: not limited by its address
            assert service.answer.status == (429 if limit == "MAX_SOCKETS" else 200)
    assert len(agent.requests) == 1
