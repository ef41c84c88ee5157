"""A session's history by page: log and transcripts joined, over REST, on every database."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from django.db import connection

from relay.models import Turn
from relay.policies import ticket_signing
from relay.process import lifecycle
from relay.transcripts import writer as writer_
from tests.api.conftest import agent, application, configure, http, v1
from tests.clients import V1, CommunicatorClient
from tests.database.test_transcripts import LIMIT_SECONDS, execute, in_thread
from tests.http_clients import API
from tests.scripted_agent import Event, Final, Status, Token

__all__ = ["agent", "application", "configure", "http", "v1"]  # fixtures

CALL = {"type": "tool_call", "call_id": "c1", "tool_name": "search", "arguments": {"q": "\u0000 Paris"}}


@pytest.fixture
def gateway(database, application, configure, monkeypatch):
    """The application, with transcripts in this database."""
    configure(TRANSCRIPTS="true")
    monkeypatch.setattr(writer_, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(writer_, "READ_SECONDS", LIMIT_SECONDS)
    return configure


async def say(v1, *contents, session_id="s"):
    async with v1(session_id) as browser:
        for content in contents:
            await browser.ask(content)


async def written():
    async with asyncio.timeout(LIMIT_SECONDS):
        await (await lifecycle.current()).transcripts.flush(LIMIT_SECONDS)


async def turns(http, query="", session_id="s"):
    answer = await http.get(f"{API}/{session_id}/turns?{query}")
    assert answer.status == 200, answer.body
    return answer.json()


async def all_turns(http, limit, session_id="s"):
    """Every turn, page by page, the newest first."""
    found, before = [], ""
    while before is not None:
        page = await turns(http, f"limit={limit}&before={before}", session_id)
        assert not page["incomplete"]
        assert len(page["turns"]) <= limit
        found += page["turns"]
        before = page["next"]
    return found


def said(page):
    return [turn["message"] for turn in page]


async def restart():
    """End the gateway; the next request starts another, whose memory is empty."""
    await lifecycle.stop()
    channel_layers.backends = {}


async def test_a_turn_is_the_same_from_the_log_and_from_the_transcripts(gateway, v1, http, agent):
    agent.script = [Token("a😀"), Event(CALL), Token('b"'), Final()]
    await say(v1, "What?")
    [live] = (await turns(http))["turns"]
    await written()
    [joined] = (await turns(http))["turns"]
    await restart()
    [kept] = (await turns(http))["turns"]
    assert kept == joined
    assert {**live, "started_at": kept["started_at"], "ended_at": kept["ended_at"]} == kept
    assert kept["started_at"] <= kept["ended_at"]
    assert (kept["message"], kept["answer"], kept["finish_reason"], kept["error"]) == ("What?", 'a😀b"', "stop", None)
    assert kept["events"] == [{"position": 2, "event": CALL}]


async def test_a_failed_turn_says_what_the_client_was_told(gateway, v1, http, agent):
    agent.script = [Status(500, {"Content-Type": "application/json"}, b'{"error":"secret words"}')]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    [live] = (await turns(http))["turns"]
    await written()
    await restart()
    [kept] = (await turns(http))["turns"]
    assert live["error"] == kept["error"]
    assert (kept["error"]["code"], kept["finish_reason"]) == ("upstream_error", "error")


async def test_a_conversation_outlives_a_restart_and_goes_on(gateway, v1, http, agent):
    agent.script = [Token("a"), Final()]
    for number in range(0, 6, 2):
        await say(v1, f"q{number}", f"q{number + 1}")
        await written()
        await restart()
    await say(v1, "q6", "q7")  # the newest are in the log, and perhaps not written
    for limit in (1, 2, 3, 8, 50):
        assert said(await all_turns(http, limit)) == [f"q{number}" for number in reversed(range(8))]


async def test_the_log_has_lost_the_oldest_and_the_writer_has_not_got_the_newest(gateway, v1, http, agent, monkeypatch):
    gateway(BUFFER_SIZE="16")
    agent.script = [Token("a"), Token("b"), Final()]
    await say(v1, *(f"q{number}" for number in range(6)))
    await written()
    monkeypatch.setattr(writer_.Transcripts, "keep", lambda self, turn: None)
    await say(v1, "q6", "q7")
    assert await in_thread(Turn.objects.count) == 6
    for limit in (1, 3, 50):
        assert said(await all_turns(http, limit)) == [f"q{number}" for number in reversed(range(8))]


async def test_a_cursor_stays_good_while_turns_end_and_the_log_is_trimmed(gateway, v1, http, agent):
    gateway(BUFFER_SIZE="16")
    agent.script = [Token("a"), Token("b"), Final()]
    await say(v1, *(f"q{number}" for number in range(5)))
    page = await turns(http, "limit=2")
    assert said(page["turns"]) == ["q4", "q3"]
    await written()
    await say(v1, *(f"later{number}" for number in range(6)))
    await restart()
    page = await turns(http, f"limit=9&before={page['next']}")
    assert (said(page["turns"]), page["next"]) == (["q2", "q1", "q0"], None)


async def test_turns_of_an_older_version_are_before_all_others_and_in_their_order(gateway, v1, http, agent):
    agent.script = [Token("a"), Final()]
    await say(v1, *(f"q{number}" for number in range(5)))
    await written()
    await restart()
    await execute("UPDATE relay_turn SET place = '', events = '', finish_reason = ''")
    await say(v1, "new")
    for limit in (1, 2, 50):
        assert said(await all_turns(http, limit)) == ["new", *(f"q{number}" for number in reversed(range(5)))]


async def test_without_a_database_the_log_is_given_and_the_page_says_that_it_is_incomplete(gateway, v1, http, agent):
    agent.script = [Token("a"), Final()]
    await say(v1, "q0", "q1")
    await written()
    await execute("ALTER TABLE relay_turn RENAME TO hidden")
    page = await turns(http)
    assert (said(page["turns"]), page["incomplete"]) == (["q1", "q0"], True)
    await execute("ALTER TABLE hidden RENAME TO relay_turn")
    assert not (await turns(http))["incomplete"]


async def test_a_turn_whose_head_the_log_has_lost_and_that_is_not_written_is_missed(
    gateway, v1, http, agent, monkeypatch
):
    gateway(BUFFER_SIZE="16")
    agent.script = [*(Token("a") for _ in range(20)), Final()]
    monkeypatch.setattr(writer_.Transcripts, "keep", lambda self, turn: None)
    await say(v1, "long")
    assert await turns(http) == {"turns": [], "next": None, "incomplete": True}


async def test_an_unknown_session_has_no_turns_and_reading_starts_none(gateway, http):
    assert await turns(http) == {"turns": [], "next": None, "incomplete": False}
    assert await (await lifecycle.current()).layer.get("s") is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "before=%00", "before=../x", "before=" + 65 * "a"]
)
async def test_a_wrong_parameter_is_named(gateway, http, query):
    answer = await http.get(f"{API}/s/turns?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert query.partition("=")[0] in answer.json()["content"]


async def test_a_thousand_turns_by_page(gateway, http):
    def make():
        Turn.objects.bulk_create(
            [
                Turn(
                    turn_id=f"t{number}", session_id="s", message=f"q{number}", answer="a", reason="answered",
                    worker="w", ended_at="2026-01-01T00:00:00Z", place=f"t1{number:015d}",
                )
                for number in range(1_000)
            ]
        )  # fmt: skip
        connection.close()

    await sync_to_async(make, thread_sensitive=False)()
    assert said(await all_turns(http, 60)) == [f"q{number}" for number in reversed(range(1_000))]


async def test_a_page_ends_where_its_turns_are_long(gateway, v1, http, agent, monkeypatch):
    monkeypatch.setattr("relay.transcripts.history.MAX_PAGE_CHARACTERS", 100)
    agent.script = [Token("a" * 60), Final()]
    await say(v1, "q0", "q1", "q2")
    await written()
    await restart()
    assert len((await turns(http))["turns"]) == 1
    assert said(await all_turns(http, 50)) == ["q2", "q1", "q0"]


# Over a socket.


async def test_a_socket_gets_the_page_that_rest_gives(gateway, v1, http, agent):
    agent.script = [Token("a"), Event(CALL), Final()]
    await say(v1, "q0", "q1", "q2")
    await written()
    await restart()
    async with v1() as browser:
        assert (await browser.frame())["history"] is True
        await browser.send({"type": "history", "limit": 2, "client_message_id": "h-1"})
        first = await browser.frame_of("history")
        await browser.send({"type": "history", "before": first["next"], "client_message_id": "h-2"})
        second = await browser.frame_of("history")
    assert (first.pop("type"), first.pop("client_message_id")) == ("history", "h-1")
    assert first == await turns(http, "limit=2")
    assert (said(second["turns"]), second["next"], second["client_message_id"]) == (["q0"], None, "h-2")


@pytest.mark.parametrize("fields", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"before": "\0"}, {"before": 1}])
async def test_a_wrong_request_over_a_socket_is_refused(gateway, v1, fields):
    async with v1() as browser:
        await browser.frame_of("welcome")
        await browser.send({"type": "history", "client_message_id": "h-1", **fields})
        assert (await browser.frame_of("error"))["code"] == "bad_request"


async def test_too_many_requests_for_a_history_are_refused_by_name(gateway, v1, http):
    gateway(RATE_LIMIT="1")
    async with v1() as browser:
        await browser.frame_of("welcome")
        for name in ("h-1", "h-2"):
            await browser.send({"type": "history", "client_message_id": name})
        assert (await browser.frame_of("history"))["client_message_id"] == "h-1"
        error = await browser.frame_of("error")
        assert (error["code"], error["client_message_id"]) == ("rate_limited", "h-2")
    assert (await http.get(f"{API}/s/turns")).status == 200, "a service is not limited"


async def test_a_database_that_stands_still_delays_no_message(gateway, v1, agent, monkeypatch):
    agent.script = [Token("a"), Final()]
    reading = asyncio.Event()

    async def stand_still(self, do):
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(writer_.Transcripts, "_read", stand_still)
    async with v1() as browser:
        await browser.frame_of("welcome")
        await browser.send({"type": "history"})
        await reading.wait()
        await browser.ask("x")


async def test_an_agents_own_event_of_that_name_passes(gateway, v1, agent):
    agent.script = [Event({"type": "history", "x": 1}), Final()]
    async with v1() as browser:
        await browser.say("x")
        frame = await browser.frame_of("history")
    assert frame["x"] == 1
    assert frame["offset"]


# Who reads what.


def ticket(subject, session_id="s"):
    return ticket_signing.issue(session_id, subject, 60)


@pytest.fixture
async def conversation(gateway, application, http, agent):
    """A session of ada's with a message of hers and one of a service."""
    gateway(WS_AUTH="ticket")
    agent.script = [Token("a"), Final()]
    async with CommunicatorClient(application, f"/ws/s/?ticket={ticket('ada')}", [V1]) as browser:
        await browser.ask("ada's")
        assert (await http.post(f"{API}/s/messages", {"content": "a service's"})).status == 202
        await browser.answer()
    await written()


async def read_as(application, http, subject):
    """The messages that a subject reads over REST and over a socket, each with a ticket of its own."""
    answer = await http.get(f"{API}/s/turns", key=None, headers={"Authorization": f"Bearer {ticket(subject)}"})
    async with CommunicatorClient(application, f"/ws/s/?ticket={ticket(subject)}", [V1]) as browser:
        if (await browser.frame())["type"] == "disconnect":
            assert answer.status == 403
            return None
        await browser.send({"type": "history"})
        page = await browser.frame_of("history")
    assert said(page["turns"]) == said(answer.json()["turns"])
    return said(page["turns"])


async def test_a_live_sessions_history_is_its_owners(conversation, application, http):
    assert await read_as(application, http, "ada") == ["a service's", "ada's"]
    assert await read_as(application, http, "eve") is None
    assert said((await turns(http))["turns"]) == ["a service's", "ada's"]


async def test_after_a_restart_another_subject_that_opens_the_session_reads_no_ones_turns(
    conversation, application, http
):
    await restart()
    assert "ada's" not in await read_as(application, http, "eve")
    await restart()
    assert await read_as(application, http, "ada") == ["a service's", "ada's"]
    assert said((await turns(http))["turns"]) == ["a service's", "ada's"]


async def test_a_ticket_reads_one_page(conversation, http):
    headers = {"Authorization": f"Bearer {ticket('ada')}"}
    assert (await http.get(f"{API}/s/turns", key=None, headers=headers)).status == 200
    for path in ("turns", "events"):
        assert (await http.get(f"{API}/s/{path}", key=None, headers=headers)).status == 401


async def test_without_a_credential_nothing_is_read(conversation, http):
    for headers in ({}, {"Authorization": f"Bearer {ticket('ada', 'other')}"}):
        assert (await http.get(f"{API}/s/turns", key=None, headers=headers)).status == 401


async def test_the_open_policy_admits_sockets_to_the_history_but_no_http(gateway, v1, http, agent):
    agent.script = [Token("a"), Final()]
    await say(v1, "x")
    assert (await http.get(f"{API}/s/turns", key=None)).status == 401
    async with v1() as browser:
        await browser.send({"type": "history"})
        assert said((await browser.frame_of("history"))["turns"]) == ["x"]
