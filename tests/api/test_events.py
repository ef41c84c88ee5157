"""The log as server-sent events: the same frames and offsets as over a socket."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import relay
from relay.delivery import http_stream, session_connection, sse
from relay.delivery.subscription import ResumableSubscription
from relay.exceptions import NotOwner, SessionDeleted
from relay.observability.metrics import EVENT_STREAMS
from relay.process import lifecycle
from relay.protocol.request_headers import FROM_PAGES
from relay.testing.turns import say, start
from tests.api.test_v1 import CURSORS
from tests.clients import LIMIT_SECONDS, CommunicatorClient
from tests.http_clients import API, HttpClient
from tests.processes import KEY
from tests.scripted_agent import Final, Stall, Token, Wait


@pytest.fixture(params=[False, True], ids=["awaited", "send_now"])
def http(application, request):
    """Ask a server that awaits each piece of a body, and one that takes pieces at once."""
    return HttpClient(application, has_send_now=request.param)


async def viewers(session_id: str = "s") -> int:
    layer = (await lifecycle.current()).layer
    return (await layer.ensure(session_id)).viewers


async def test_welcome_is_first_with_a_cursor_and_a_time_to_come_back(http):
    async with http.open("GET", f"{API}/s/events") as (answer, _):
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
    async with http.events() as stream:
        entry = await stream.entry()
        welcome = entry.frame
        assert (welcome["type"], welcome["after"], welcome["recovered"]) == ("welcome", 0, None)
        assert entry.fields.keys() == {"id", "retry", "data"}
        assert entry.id == f"{welcome['epoch']}:0"
        assert 1_000 <= int(entry.fields["retry"]) <= 4_000


async def test_frames_are_those_of_a_socket_and_carry_the_cursor(http, v1, agent):
    agent.script = [Token(""), Token("zwölf 🙂"), Token("\ud83d"), Final("length")]
    async with v1() as browser, http.events() as stream:
        epoch = (await stream.frame())["epoch"]
        assert (await browser.frame())["epoch"] == epoch
        await browser.say("hello", client_message_id="m")
        _accepted, *wanted = await browser.turn()
        for frame in wanted:
            entry = await stream.entry()
            assert entry.fields.keys() == {"id", "data"}
            assert (entry.frame, entry.id) == (frame, f"{epoch}:{frame['offset']}")
        await browser.cancel()
        await browser.frame_of("cancel_ack")
        await browser.ask("again")
        assert (await stream.frame())["type"] == "user_message"  # neither accepted nor cancel_ack


@pytest.mark.parametrize(("query", "recovered", "first"), CURSORS)
async def test_cursor(http, ended, query, recovered, first):
    parameters = dict(part.split("=", 1) for part in query.format(epoch=ended).split("&") if part)
    epoch, offset = parameters.get("epoch", ""), parameters.get("offset", "").replace("%D9%A1%D9%A2", "١٢")
    last_event_id = f"{epoch}:{offset}" if epoch or offset else ""
    async with http.events(**{"Last-Event-ID": last_event_id}) as stream:
        entry = await stream.entry()
        welcome = entry.frame
        assert (welcome["recovered"], welcome["epoch"], welcome["offset"]) == (recovered, ended, 20)
        if recovered is False:
            assert (welcome["after"], entry.id) == (None, None)
            entry = await stream.entry()
            assert (entry.frame["type"], entry.frame["reason"]) == ("snapshot", first)
            assert entry.id == f"{ended}:20"
        else:
            assert entry.id == f"{ended}:{welcome['after']}"
            assert welcome["after"] == (20 if first is None else first - 1)
            for offset in range(welcome["after"] + 1, 21):
                entry = await stream.entry()
                assert (entry.frame["offset"], entry.id) == (offset, f"{ended}:{offset}")


@pytest.mark.parametrize("last_event_id", ["x", ":", "::", "7", "{epoch}", "{epoch}:", "{epoch}:20:", "{epoch}: 20"])
async def test_malformed_id_is_a_malformed_cursor(http, ended, last_event_id):
    async with http.events(**{"Last-Event-ID": last_event_id.format(epoch=ended)}) as stream:
        assert (await stream.frame())["recovered"] is False
        assert (await stream.frame())["reason"] == "epoch_changed"


async def test_header_wins_over_the_query(http, ended):
    async with http.events(query=f"last_event_id={ended}:18") as stream:
        assert (await stream.frame())["after"] == 18
    async with http.events(query=f"last_event_id={ended}:18", **{"Last-Event-ID": f"{ended}:19"}) as stream:
        assert (await stream.frame())["after"] == 19
    async with http.events(query=f"last_event_id={ended}:18", **{"Last-Event-ID": ""}) as stream:
        assert (await stream.frame())["after"] == 18


async def test_coalesced_tokens_carry_their_range_and_the_last_offset_as_cursor(http, ended):
    async with http.events(query="coalesce=1", **{"Last-Event-ID": f"{ended}:4"}) as stream:
        await stream.entry()
        tokens, final = await stream.entry(), await stream.entry()
        assert (tokens.frame["from_offset"], tokens.frame["offset"], tokens.id) == (5, 19, f"{ended}:19")
        assert tokens.frame["token"] == "".join(f"{number} " for number in range(3, 18))
        assert (final.frame["is_final"], final.id) == (True, f"{ended}:20")


async def test_viewer_that_is_behind_gets_the_log_in_bounded_chunks(http, v1, agent, monkeypatch):
    monkeypatch.setattr(sse, "CHUNK_BYTES", 200)
    agent.script = [*(Token("x" * 50) for _ in range(40)), Final()]
    async with v1() as browser:
        await browser.ask("x")
    async with http.open("GET", f"{API}/s/events?last_event_id=:0") as (_, chunks):
        sizes = [len(await anext(chunks)) for _ in range(10)]
        assert max(sizes) < 1_000


async def test_gap_while_watching_is_a_snapshot_with_a_cursor(http, v1, agent, configure):
    configure(BUFFER_SIZE="16")
    agent.script = [*(Token(f"{number} ") for number in range(100)), Final()]
    async with http.events() as stream, v1() as browser:
        await stream.frame()
        await browser.ask("x")
        seen = []
        while not seen or not (seen[-1].get("is_final") or seen[-1].get("finish_reason")):
            seen.append(await stream.frame())
        assert [frame["offset"] for frame in seen][-1] == 102


@pytest.fixture
async def watched(http):
    """A stream whose viewer has everything, the turn in flight, and its layer."""
    layer = (await lifecycle.current()).layer
    async with http.open("GET", f"{API}/s/events") as (_, chunks):
        await anext(chunks)
        turn = await start(layer, session_id="s")
        assert b"user_message" in await anext(chunks)
        yield chunks, turn, layer


async def test_no_task_is_made_for_an_event(watched):
    chunks, turn, layer = watched
    loop, made = asyncio.get_running_loop(), []

    def make(loop, work, **options):
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(make)
    for text in "abc":
        await say(layer, turn, text)
        assert b'"token":"%s"' % text.encode() in await anext(chunks)
    loop.set_task_factory(None)
    assert set(made) == {"Queue.get"}  # the reader's own


@pytest.mark.parametrize("http", [False], indirect=True, ids=["awaited"])
async def test_events_of_one_iteration_are_one_piece(watched):
    chunks, turn, layer = watched
    for text in "abc":
        await say(layer, turn, text)
    assert (await anext(chunks)).count(b"data: ") == 3


async def test_heartbeat_is_a_comment_and_keeps_the_viewer_entered(http, v1, configure):
    configure(HEARTBEAT_SECONDS="0.2")
    async with v1() as browser:
        await browser.ask("x")  # a session without messages would end if the viewer's entry lapsed
    async with http.events() as stream:
        await stream.entry()
        for _ in range(5):  # longer than an entry lasts
            assert (await stream.entry()).comment == ""
        async with asyncio.timeout(LIMIT_SECONDS):
            while await viewers() != 1:  # it lapses if all stands still for long; the next heartbeat heals that
                assert (await stream.entry()).comment == ""


async def test_heartbeat_between_frames_loses_none(http, v1, agent, configure):
    configure(HEARTBEAT_SECONDS="0.2")
    agent.script = [*(step for number in range(8) for step in (Token(f"{number} "), Wait(0.07))), Final()]
    async with v1() as browser, http.events() as stream:
        await browser.say("x")
        assert await stream.answer() == "0 1 2 3 4 5 6 7 "


@pytest.mark.usefixtures("attaching_heartbeats")
async def test_heartbeat_survives_an_outage_of_the_store(http, configure, monkeypatch):
    configure(HEARTBEAT_SECONDS="0.2")
    async with http.events() as stream:
        await stream.entry()
        layer = (await lifecycle.current()).layer
        monkeypatch.setattr(layer, "attach", _fail)
        assert (await stream.entry()).comment == ""
        assert (await stream.entry()).comment == ""


async def test_leaving_detaches_at_once(http):
    async with http.events() as one:
        await one.entry()
        async with http.events() as two:
            await two.entry()
            assert await viewers() == 2
        assert await viewers() == 1
    assert await viewers() == 0


async def test_failing_detach_is_survived(http, monkeypatch):
    async with http.events() as stream:
        await stream.entry()
        layer = (await lifecycle.current()).layer
        monkeypatch.setattr(layer, "detach", _fail)


async def test_client_that_takes_nothing_is_given_up(http, configure, monkeypatch):
    monkeypatch.setattr(session_connection, "BLOCKED_SECONDS", 0.05)
    monkeypatch.setattr(http_stream, "LEAVE_SECONDS", 0.05)
    configure(HEARTBEAT_SECONDS="0.2")
    async with http.open("GET", f"{API}/s/events", is_reading=False) as (_, chunks):
        assert [chunk async for chunk in chunks][1:] == []
        assert await viewers() == 0


@pytest.mark.parametrize("leaving", [True, False])
async def test_last_viewers_leaving_cancels_if_so_set(http, v1, agent, configure, leaving, monkeypatch):
    monkeypatch.setattr("relay.turns.on_disconnect.GRACE_SECONDS", 0.01)
    configure(ON_DISCONNECT="cancel")
    agent.script = [Token("a"), Stall()]
    async with http.events() as stream:
        async with v1() as browser:
            await browser.say("x")
            await browser.frame_of("assistant_message")
        assert [(await stream.frame())["type"] for _ in range(3)][-1] == "assistant_message"
        if not leaving:
            return
    await agent.wait_disconnected(1)


# Leaving on purpose.


async def test_deleted_session_says_so_and_is_not_come_back_to(http):
    async with http.events() as stream:
        first = await stream.entry()
        assert await (await lifecycle.current()).layer.delete("s")
        entry = await stream.entry()
        frame = entry.frame
        assert (frame["type"], frame["code"], frame["reconnect"]) == ("disconnect", "session_deleted", False)
        assert await stream.rest() == b""
        for last_event_id in (stream.last_event_id, first.id):
            for headers, query in (({"Last-Event-ID": last_event_id}, ""), ({}, f"?last_event_id={last_event_id}")):
                answer = await http.get(f"{API}/s/events{query}", headers=headers)
                assert (answer.status, answer.body) == (204, b"")
    async with http.events() as stream:  # somebody else's session of that name
        assert (await stream.frame())["epoch"] not in first.id


async def test_limit_for_the_last_event_starts_when_those_before_it_are_taken(http):
    reads = asyncio.Event()
    async with http.open("GET", f"{API}/s/events", reads=reads) as (_, chunks):
        assert b"welcome" in await anext(chunks)
        gateway = await lifecycle.current()
        (connection,) = gateway.connections
        assert await gateway.layer.delete("s")
        for _ in range(10):  # more iterations than the end of the log needs to be known
            await asyncio.sleep(0)
        assert connection.is_open
        reads.set()
        assert b"session_deleted" in await anext(chunks)


async def test_deleted_epochs_are_remembered_within_a_bound(http, monkeypatch):
    monkeypatch.setattr(sse, "MAX_DELETED_EPOCHS", 2)
    sse._deleted_epochs.clear()
    for _ in range(3):
        async with http.events() as stream:
            await stream.entry()
            await (await lifecycle.current()).layer.delete("s")
            await stream.rest()
    assert len(sse._deleted_epochs) == 2


async def test_deletion_before_the_cursor_is_known_closes_nobody_elses_stream(http, monkeypatch):
    async def deleted(*_: object) -> AsyncIterator[None]:
        raise SessionDeleted
        yield

    monkeypatch.setattr(ResumableSubscription, "batches", deleted)
    async with http.events(**{"Last-Event-ID": "malformed"}) as stream:
        assert (await stream.frame_of("disconnect"))["code"] == "session_deleted"
    assert (await http.get(f"{API}/s/events?last_event_id=")).status == 200


async def test_draining_gateway_sends_away_with_the_cursor_kept(http, v1, agent):
    async with v1() as browser, http.events() as stream:
        await stream.entry()
        await browser.ask("x")
        await stream.turn()
        gateway = await lifecycle.current()
        connection = next(
            connection for connection in gateway.connections if connection._transport.gauge is EVENT_STREAMS
        )
        assert (connection.has_seen(4), connection.has_seen(5)) == (True, False)
        await connection.disconnect()
        entry = await stream.entry()
        frame = entry.frame
        assert (frame["code"], frame["reconnect"], entry.id) == ("server_restart", True, None)
        assert stream.last_event_id.endswith(":4")
        assert await stream.rest() == b""


@pytest.mark.usefixtures("attaching_heartbeats")
async def test_viewer_of_a_session_that_is_somebody_elses_now_is_sent_away_for_good(http, configure, monkeypatch):
    async def attach(*_: object) -> int:
        raise NotOwner

    configure(HEARTBEAT_SECONDS="0.2")
    async with http.events() as stream:
        await stream.frame_of("welcome")
        monkeypatch.setattr((await lifecycle.current()).layer, "attach", attach)
        frame = await stream.frame_of("disconnect")
        assert (frame["code"], frame["reconnect"]) == ("forbidden", False)
        assert await stream.rest() == b""


async def test_client_that_takes_nothing_does_not_hold_up_a_drain(http, monkeypatch):
    monkeypatch.setattr(http_stream, "LEAVE_SECONDS", 0.05)
    async with http.open("GET", f"{API}/s/events", is_reading=False):
        await (next(iter((await lifecycle.current()).connections))).disconnect()


@pytest.mark.parametrize("since", ["before", "meanwhile"])
async def test_client_that_comes_while_draining_is_sent_away(http, monkeypatch, since):
    gateway = await lifecycle.current()

    async def attach(*_: object) -> int:
        gateway.is_draining = True
        return 1

    gateway.is_draining = since == "before"
    monkeypatch.setattr(gateway.layer, "attach", attach)
    async with http.events() as stream:
        assert (await stream.frame_of("disconnect"))["code"] == "server_restart"


async def test_store_without_room_sends_away_for_a_while(http, v1, agent, configure):
    configure(MAX_SESSIONS="1")
    agent.script = [Token("a"), Stall()]
    async with v1("busy") as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        async with http.events() as stream:
            entry = await stream.entry()
            frame = entry.frame
            assert (frame["code"], frame["reconnect"], entry.id) == ("store_unavailable", True, None)
            assert 1_000 <= frame["delay_ms"] == int(entry.fields["retry"])
            assert await stream.rest() == b""


async def test_somebody_elses_session_is_forbidden_and_not_come_back_to(http, monkeypatch):
    async def refuse(*_: object) -> None:
        raise NotOwner

    monkeypatch.setattr((await lifecycle.current()).layer, "attach", refuse)
    async with http.events() as stream:
        frame = await stream.frame()
        assert (frame["code"], frame["reconnect"]) == ("forbidden", False)
        assert await stream.rest() == b""
    assert (await http.get(f"{API}/s/events", headers={"Last-Event-ID": stream.last_event_id})).status == 204


async def test_bug_of_ours_ends_the_stream_and_nothing_else(http, monkeypatch, caplog):
    monkeypatch.setattr((await lifecycle.current()).layer, "attach", _fail)
    async with http.open("GET", f"{API}/s/events") as (answer, chunks):
        assert (answer.status, [chunk async for chunk in chunks]) == (200, [b""])
    assert "event stream failed" in caplog.text


# Who may, and what is no stream.


async def test_without_the_key_nothing_is_told(http):
    answer = await http.get(f"{API}/s/events", key=None)
    assert (answer.status, answer.json()) == (401, {"detail": "unauthorized"})


@pytest.mark.parametrize("session_id", ["..", ".", "%2e%2e", "a%20b", "a%2fb", "%0a", "a%0a", "x" * 129, "ü", ""])
async def test_wrong_id_is_not_found(http, session_id):
    answer = await http.get(f"{API}/{session_id}/events")
    assert (answer.status, answer.json()) == (404, {"detail": "not found"})


async def test_id_is_decoded_once(http):
    async with http.events("a%3Ab%7e") as stream:
        assert (await stream.frame())["session_id"] == "a:b~"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused(http, method):
    answer = await http.request(method, f"{API}/s/events")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


# CORS.


async def test_allowed_origin_may_read_also_a_refusal(http, settings):
    settings.CORS_ALLOWED_ORIGIN_REGEXES = [r"\Ahttps://chat\.example\Z"]
    origin = {"Origin": "https://chat.example"}
    async with http.open("GET", f"{API}/s/events", headers=origin) as (answer, _):
        assert answer.headers["access-control-allow-origin"] == "https://chat.example"
    refused = await http.get(f"{API}/s/events", key=None, headers=origin)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://chat.example")


async def test_preflight_needs_no_key(http, settings):
    settings.CORS_ALLOWED_ORIGIN_REGEXES = [r"\Ahttps://chat\.example\Z"]
    headers = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST"}
    answer = await http.request("OPTIONS", f"{API}/s/messages", key=None, headers=headers)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://chat.example")
    allowed = answer.headers["access-control-allow-headers"]
    assert {"content-type", "authorization", *FROM_PAGES} <= set(allowed.split(", "))
    assert {"traceparent", "tracestate", "x-request-id", "x-internal-auth", "last-event-id"} <= set(FROM_PAGES)


def test_each_header_that_the_code_reads_may_come_from_a_page():
    """A header read by its text escapes the list; these few any page may send, or only a browser."""
    by_text = re.compile(r'request\.headers(?:\.get\(|\[)"([^"]+)"|(?:handshake|self)\.header\("([^"]+)"')
    found = set()
    for path in Path(relay.__file__).parent.rglob("*.py"):
        found |= {name.lower() for names in by_text.findall(path.read_text()) for name in names if name}
    assert found <= {"accept", "authorization", "cookie"}


def sent_away(code):
    return REGISTRY.get_sample_value("gateway_disconnects_total", {"code": code}) or 0.0


async def test_a_stream_or_socket_that_is_refused_at_the_door_is_counted(http, application, configure):
    before = sent_away("unauthorized"), sent_away("forbidden")
    assert (await http.get(f"{API}/s/events", key=None)).status == 401
    configure(WS_AUTH="ticket", ALLOWED_ORIGINS="https://chat.example")
    evil = {"Origin": "https://evil.example"}
    assert (await http.get(f"{API}/s/events", key=None, headers=evil)).status == 403
    async with CommunicatorClient(application, "/ws/s/", headers=[(b"origin", b"https://evil.example")]) as browser:
        assert not browser.is_accepted
    assert (sent_away("unauthorized"), sent_away("forbidden")) == (before[0] + 1, before[1] + 2)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://chat.example", "https://chat.example.evil", "null"])
async def test_other_origins_may_read_nothing(http, settings, origin):
    settings.CORS_ALLOWED_ORIGIN_REGEXES = [r"\Ahttps://chat\.example\Z"]
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for method, key in (("OPTIONS", None), ("GET", None)):
        answer = await http.request(method, f"{API}/s", key=key, headers=headers)
        assert "access-control-allow-origin" not in answer.headers


async def test_only_the_api_answers_to_other_origins(http, settings):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    for path in ("/health", "/x", "/xapi/v1/sessions"):
        answer = await http.get(path, headers={"Origin": "https://chat.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_a_stream_that_its_server_cancels_leaves_neither_a_task_nor_a_file_behind(application):
    """As at the end of a process, with a client that reads nothing."""
    unseen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context["message"]))
    before = asyncio.all_tasks()
    gone, is_sending = asyncio.Event(), asyncio.Event()
    requests = [{"type": "http.request", "body": b""}]

    async def receive():
        if requests:
            return requests.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            is_sending.set()
            await asyncio.Event().wait()

    headers = {"Host": "test", "X-Internal-Auth": KEY}
    scope = {
        "type": "http", "method": "GET", "path": f"{API}/s/events", "query_string": b"", "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    serving = asyncio.create_task(application(scope, receive, send))
    async with asyncio.timeout(LIMIT_SECONDS):
        await is_sending.wait()
    serving.cancel()
    gone.set()
    await asyncio.gather(serving, return_exceptions=True)
    left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
    assert not {name for name in left if "ASGIHandler" in name}
    del serving  # it holds the request, and so the file that its body is in; one that is left open warns when it goes
    gc.collect()
    assert unseen == []
    assert await viewers() == 0


async def _fail(*_: object) -> None:
    raise ValueError("a bug, or a store that is down")
