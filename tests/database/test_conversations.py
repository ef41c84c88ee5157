"""Conversations as rows: titles, owners, own lists, and what erases them; over REST, on every database."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from django.db import connection

from relay.models import Conversation, Turn
from relay.policies import Identity, Policy
from relay.process import lifecycle
from relay.transcripts import writer as writer_
from relay.transcripts.conversation_rows import first_words
from tests.api.conftest import agent, application, configure, http, v1
from tests.clients import V1, CommunicatorClient
from tests.database.test_transcripts import LIMIT_SECONDS, execute
from tests.http_clients import API
from tests.scripted_agent import Event, Final, Stall, Token

__all__ = ["agent", "application", "configure", "http", "v1"]  # fixtures

MINE = "/api/v1/me/sessions"


class Named(Policy):
    """Admits everybody by the name that they give."""

    async def admit(self, handshake):
        return Identity(handshake.credential or None)


@pytest.fixture
def gateway(database, application, configure, monkeypatch):
    configure(TRANSCRIPTS="true", WS_AUTH=f"{__name__}.Named")
    monkeypatch.setattr(writer_, "RETRY_SECONDS", (0.01, 0.01))
    return configure


@pytest.fixture
def ask(http):
    """Ask over HTTP as a subject."""

    async def ask(method, path, subject="ada", body=None, status=200):
        answer = await http.request(method, path, body=body, key=None, headers={"Authorization": f"Bearer {subject}"})
        assert answer.status == status, answer.body
        return answer.json() if answer.body else None

    return ask


@pytest.fixture
def say(application, gateway):
    async def say(content, session_id="s", subject="ada"):
        address = f"/ws/{session_id}/?ticket={subject}"
        async with CommunicatorClient(application, address, [V1]) as browser:
            await browser.ask(content)
        async with asyncio.timeout(LIMIT_SECONDS):
            await (await lifecycle.current()).transcripts.flush(LIMIT_SECONDS)

    return say


async def listed(ask, query="", subject="ada"):
    return (await ask("GET", f"{MINE}?{query}", subject))["sessions"]


async def titles(ask, query="", subject="ada"):
    return [each["title"] for each in await listed(ask, query, subject)]


async def test_a_conversation_is_listed_with_its_first_words(ask, say, agent):
    agent.script = [Token("a"), Final()]
    assert await listed(ask) == []
    await say("What is the\ncapital  of France?")
    await say("And of Spain?")
    [mine] = await listed(ask)
    assert (mine["session_id"], mine["title"]) == ("s", "What is the capital of France?")
    assert (mine["active"], mine["pending"], mine["metadata"]) == (None, 0, {})
    assert mine["created"] < mine["updated"]
    assert await listed(ask, subject="eve") == []


async def test_a_turn_in_flight_is_seen_in_the_list(application, ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("hello")
    agent.script = [Token("a"), Stall()]
    async with CommunicatorClient(application, "/ws/s/?ticket=ada", [V1]) as browser:
        await browser.say("again")
        turn_id = (await browser.frame_of("assistant_message"))["turn_id"]
        assert (await listed(ask))[0]["active"] == {"turn_id": turn_id, "status": "running"}


async def test_the_last_used_is_first_and_pages_hold_each_once(ask, say, agent):
    agent.script = [Token("a"), Final()]
    for number in range(5):
        await say(f"q{number}", f"s{number}")
    await say("again", "s1")
    found, cursor = [], ""
    while cursor is not None:
        page = await ask("GET", f"{MINE}?limit=2&cursor={cursor}")
        found += [each["title"] for each in page["sessions"]]
        cursor = page["next"]
    assert found == ["q1", "q4", "q3", "q2", "q0"]


@pytest.mark.parametrize("cursor", ["eA==", "MjAyNiAx", "MjAyNi0wMS0wMVQwMDowMDowMCAteA==", "%00", "x"])
async def test_a_cursor_that_no_page_gave_is_a_bad_request(gateway, ask, cursor):
    answer = await ask("GET", f"{MINE}?cursor={cursor}", status=400)
    assert answer["code"] == "bad_request"


async def test_the_list_is_searched_by_title(ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("Paris in spring", "s1")
    await say("50 % of it", "s2")
    assert await titles(ask, "q=paris") == ["Paris in spring"]
    assert await titles(ask, "q=%25") == ["50 % of it"]
    assert await titles(ask, "q=london") == []


async def test_the_agent_names_the_conversation_and_its_owner_has_the_last_word(ask, say, agent):
    agent.script = [Event({"type": "session_title", "title": "Travel"}), Token("a"), Final()]
    await say("Where to?")
    assert await titles(ask) == ["Travel"]
    changed = await ask("PATCH", f"{API}/s", body={"title": "  My\n journey \u0000"})
    assert changed["title"] == "My journey \ufffd"
    await say("And then?")
    assert await titles(ask) == ["My journey \ufffd"]
    await ask("PATCH", f"{API}/s", body={"title": ""})
    await say("And now?")
    assert await titles(ask) == ["Travel"], "an empty title gives it back to the agent"


async def test_metadata_is_kept_as_any_json(ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("hello")
    metadata = {"pinned": True, "tags": ["a", 1.5, None, {"x": "\u0000"}]}
    changed = await ask("PATCH", f"{API}/s", body={"metadata": metadata})
    assert changed["metadata"] == {**metadata, "tags": ["a", 1.5, None, {"x": "\ufffd"}]}
    assert (await listed(ask))[0]["metadata"] == changed["metadata"]
    assert changed["title"] == "hello"


@pytest.mark.parametrize(
    "body",
    [
        {"title": 1}, {"title": "x" * 201}, {"metadata": []}, {"metadata": "x"}, {"metadata": {"x": "y" * 16_384}},
        b'{"metadata":' + b'{"a":' * 200 + b"1" + b"}" * 201, b'{"title":"\\ud83d"}', [],
    ],
)  # fmt: skip
async def test_wrong_changes_are_refused(ask, say, agent, body):
    agent.script = [Token("a"), Final()]
    await say("hello")
    assert (await ask("PATCH", f"{API}/s", body=body, status=400))["code"] == "bad_request"
    assert await titles(ask) == ["hello"]


async def test_a_session_that_is_made_has_an_id_that_cannot_be_guessed(gateway, ask, say, agent):
    agent.script = [Token("a"), Final()]
    made = [
        await ask("POST", API, body=body, status=201) for body in (None, {}, {"title": "Plans", "metadata": {"x": 1}})
    ]
    assert len({each["session_id"] for each in made}) == 3
    assert all(len(each["session_id"]) == 32 for each in made)
    assert (made[2]["title"], made[2]["metadata"]) == ("Plans", {"x": 1})
    for each in made:
        await say("first words", each["session_id"])
    assert await titles(ask) == ["Plans", "first words", "first words"]


async def test_making_too_many_is_refused(gateway, ask):
    gateway(RATE_LIMIT="1")
    await ask("POST", API, status=201)
    assert (await ask("POST", API, status=429))["code"] == "rate_limited"
    await ask("POST", API, "eve", status=201)


async def test_only_its_owner_changes_or_erases_a_session(ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("hello")
    for is_live in (True, False):
        if not is_live:
            await lifecycle.stop()
            channel_layers.backends = {}
        for method, body in (("PATCH", {"title": "x"}), ("DELETE", None)):
            await ask(method, f"{API}/s", "eve", body, status=403)
    assert await titles(ask) == ["hello"]
    await ask("DELETE", f"{API}/s", status=204)
    assert await listed(ask) == []


async def test_a_client_without_a_name_erases_nothing(gateway, http, ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("hello", subject="")
    assert (await http.delete(f"{API}/s", key=None)).status == 403
    await ask("DELETE", f"{API}/s", "eve", status=204)  # it is live and no one's: eve may open it, and so own it


async def test_of_a_conversation_that_is_over_and_no_ones_nothing_is_changed(gateway, ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("hello", subject="")
    await lifecycle.stop()
    channel_layers.backends = {}
    await ask("PATCH", f"{API}/s", "eve", {"title": "x"}, status=403)


async def test_erasing_takes_log_turns_and_conversation(ask, say, agent, http):
    agent.script = [Token("a"), Final()]
    await say("hello")
    await say("other", "s2")
    await ask("DELETE", f"{API}/s", status=204)
    assert await titles(ask) == ["other"]
    assert (await http.get(f"{API}/s/turns")).json()["turns"] == []
    assert (await http.get(f"{API}/s")).status == 404
    assert await rows(Turn) == await rows(Conversation) == ["s2"]
    await ask("DELETE", f"{API}/s", status=404)


async def test_a_conversation_in_which_nothing_was_said_is_erased_too(gateway, ask):
    made = await ask("POST", API, status=201)
    await ask("DELETE", f"{API}/{made['session_id']}", status=204)
    assert await rows(Conversation) == []


async def test_a_service_reads_its_own_list_and_changes_every_session(gateway, http, ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("ada's")
    made = (await http.post(API, {"title": "a service's"})).json()
    assert [each["title"] for each in (await http.get(MINE)).json()["sessions"]] == ["a service's"]
    assert (await http.request("PATCH", f"{API}/s", body={"title": "x"})).json()["title"] == "x"
    assert (await http.delete(f"{API}/{made['session_id']}")).status == 204


async def test_what_a_service_says_makes_it_no_ones_and_no_one_elses(application, gateway, http, ask, say, agent):
    agent.script = [Token("a"), Final()]
    async with CommunicatorClient(application, "/ws/s/?ticket=ada", [V1]) as browser:
        await browser.frame_of("welcome")
        assert (await http.post(f"{API}/s/messages", {"content": "a reminder"})).status == 202
        await browser.answer()
    async with asyncio.timeout(LIMIT_SECONDS):
        await (await lifecycle.current()).transcripts.flush(LIMIT_SECONDS)
    assert await titles(ask) == ["a reminder"]
    await lifecycle.stop()
    channel_layers.backends = {}
    await say("eve opens it later", subject="eve")
    assert await titles(ask) == ["a reminder"]
    assert await listed(ask, subject="eve") == []
    await lifecycle.stop()
    channel_layers.backends = {}
    for subject, messages in (("ada", ["a reminder"]), ("eve", ["eve opens it later"])):
        page = await ask("GET", f"{API}/s/turns", subject)
        assert [turn["message"] for turn in page["turns"]] == messages
        await lifecycle.stop()
        channel_layers.backends = {}


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_stranger_who_opens_it_later_changes_nothing_in_its_list(gateway, ask, say, agent, is_named):
    made = await ask("POST", API, body={"metadata": {}}, status=201)
    agent.script = [Token("a"), Final()]
    if is_named:
        await say("ada's", made["session_id"])
    await lifecycle.stop()
    channel_layers.backends = {}
    before = await listed(ask)
    agent.script = [Event({"type": "session_title", "title": "eve's secret"}), Token("a"), Final()]
    await say("eve's words", made["session_id"], subject="eve")
    kept = ("session_id", "title", "updated")
    assert [[each[name] for name in kept] for each in await listed(ask)] == [
        [each[name] for name in kept] for each in before
    ]


async def test_a_database_that_fails_is_told(gateway, ask, say, agent):
    agent.script = [Token("a"), Final()]
    await say("hello")
    await execute("ALTER TABLE relay_conversation RENAME TO hidden")
    for method, path in (("GET", MINE), ("POST", API), ("PATCH", f"{API}/s"), ("DELETE", f"{API}/s")):
        assert (await ask(method, path, body={}, status=503))["code"] == "store_unavailable"


async def test_without_transcripts_there_is_no_list_but_an_id(gateway, ask):
    gateway(TRANSCRIPTS="false")
    made = await ask("POST", API, body={"title": "x"}, status=201)
    assert (len(made["session_id"]), made["title"]) == (32, "")
    assert await listed(ask) == []
    await ask("PATCH", f"{API}/{made['session_id']}", body={"title": "x"}, status=404)


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("", ""),
        (" \n ", ""),
        ("a  b\tc", "a b c"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60 + "…"),
        ("word " * 20, " ".join(["word"] * 12) + "…"),
        ("\ud83d \0", "\ufffd \ufffd"),
    ],
)
def test_first_words(message, title):
    assert first_words(message) == title


async def rows(model):
    def read():
        try:
            return list(model.objects.order_by("session_id").values_list("session_id", flat=True))
        finally:
            connection.close()

    return await sync_to_async(read, thread_sensitive=False)()
