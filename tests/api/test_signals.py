"""The signals of accepted messages and ended turns, whatever way a message comes."""

import asyncio
import threading

import pytest

from relay.signals import MessageAccepted, TurnEnded, message_accepted, turn_ended
from tests.api.adapters import read
from tests.clients import LIMIT_SECONDS
from tests.http_clients import API
from tests.scripted_agent import Final, Token


class Told:
    """A receiver of both signals."""

    def __init__(self):
        self.signals = []
        self._ended = threading.Semaphore(0)

    def accepted(self, sender, message, **kwargs):
        self.signals.append(message)

    def ended(self, sender, turn, **kwargs):
        self.signals.append(turn)
        self._ended.release()

    async def turn(self):
        """Wait for the end of a turn; return what was told until then."""
        assert await asyncio.to_thread(self._ended.acquire, timeout=LIMIT_SECONDS)
        signals, self.signals = self.signals, []
        return signals


@pytest.fixture
def told(agent):
    agent.script = [Token("Paris."), Final()]
    told = Told()
    message_accepted.connect(told.accepted)
    turn_ended.connect(told.ended)
    yield told
    message_accepted.disconnect(told.accepted)
    turn_ended.disconnect(told.ended)


async def test_a_message_is_told_of_before_the_end_of_its_turn(v1, told):
    async with v1() as browser:
        await browser.ask("Capital of France?")
        accepted, ended = await told.turn()
    assert isinstance(accepted, MessageAccepted)
    assert isinstance(ended, TurnEnded)
    assert (accepted.type, accepted.session_id, accepted.subject) == ("user_message", "s", None)
    assert (accepted.turn_id, accepted.message, accepted.is_cut) == (ended.turn_id, None, False)
    assert accepted.accepted_at <= ended.ended_at


async def test_its_text_is_told_where_that_is_allowed_and_cut_where_it_is_long(v1, told, configure):
    configure(WEBHOOK_CONTENT="true", FORWARD_TYPES="note")
    async with v1() as browser:
        await browser.ask("x" * 8_193)
        cut, _ = await told.turn()
        await browser.send({"type": "note", "text": "mine", "client_message_id": "n"})
        await browser.turn()
        note, _ = await told.turn()
    assert (cut.message, cut.is_cut) == ("x" * 8_192, True)
    assert (note.type, note.message, note.is_cut) == ("note", '{"type":"note","text":"mine"}', False)


async def test_a_message_over_rest_or_an_adapter_is_told_of_and_a_repeated_one_is_not(http, told, configure):
    configure(ADAPTERS="openai")
    for _ in range(2):
        await http.post(f"{API}/s/messages", {"content": "Hi", "client_message_id": "m"})
    assert [type(signal) for signal in await told.turn()] == [MessageAccepted, TurnEnded]
    await read(http, "POST", "/v1/chat/completions", body={"messages": [{"role": "user", "content": "Hi"}]})
    assert [type(signal) for signal in await told.turn()] == [MessageAccepted, TurnEnded]
    assert told.signals == []
