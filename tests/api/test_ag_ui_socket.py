"""AG-UI on a shared socket: what TanStack AI's `webSocket` sends and gets."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import REGISTRY

from relay.adapters import consumer, socket_chat
from relay.exceptions import Kicked
from relay.process import lifecycle
from tests.api import test_ai_sdk_socket as ai_sdk
from tests.api.adapters import read
from tests.api.test_ag_ui_adapter import PATH as HTTP_PATH
from tests.api.test_ag_ui_adapter import SCRIPT, asked
from tests.clients import CommunicatorClient
from tests.processes import KEY
from tests.scripted_agent import Event, Final, Stall, Token, Wait

PATH = f"{HTTP_PATH}/ws"
LAST = ("RUN_FINISHED", "RUN_ERROR")


class RunClient(CommunicatorClient):
    """A client of runs; ``ids`` are those of the events that it has read."""

    def __init__(self, application, query="", headers=()):
        super().__init__(application, PATH + query, headers=list(headers))
        self.ids = []

    async def run(self, words="Hi", run_id="r1", **more):
        await self.send(asked(words, run_id, **more))

    async def abort(self, run_id="r1"):
        await self.send({"type": "abort", "runId": run_id})

    async def event(self):
        """The next event; pings are passed over."""
        while (frame := await self.frame()).get("type") == "ping":
            pass
        if "chunk" not in frame:
            return frame
        self.ids.append(frame["id"])
        return frame["chunk"]

    async def until(self, delta):
        while (await self.event()).get("delta") != delta:
            pass

    async def rest(self):
        """All events up to the end of a run."""
        events = [await self.event()]
        while events[-1]["type"] not in LAST:
            events.append(await self.event())
        return events

    async def closed(self):
        """The close code and its words."""
        message = await self.communicator.receive_output(60)
        assert message["type"] == "websocket.close", message
        return message["code"], message.get("reason", "")


@pytest.fixture(autouse=True)
def _switched_on(configure):
    configure(ADAPTERS="ag-ui")


@pytest.fixture
def runs(application):
    return lambda *args, **options: RunClient(application, *args, **options)


def text_of(events):
    return "".join(event.get("delta", "") for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


async def test_run_has_the_events_and_ids_of_its_http_twin(runs, agent, http):
    agent.script = SCRIPT
    async with runs("?runId=r1") as client:
        await client.run()
        events = await client.rest()
    _, twin = await read(http, "POST", HTTP_PATH, body=asked())
    assert (events, client.ids) == (twin.events, twin.ids)
    assert len(agent.requests) == 1
    assert await ai_sdk.held() == (0, {})


async def test_socket_stays_open_for_further_runs_of_any_thread(runs, agent):
    agent.script = [Token("a"), Final()]
    async with runs() as client:
        for number, thread_id in enumerate(("s", "s", "t")):
            await client.run(run_id=f"r{number}", threadId=thread_id)
            events = await client.rest()
            assert (events[0]["threadId"], events[-1]["runId"], text_of(events)) == (thread_id, f"r{number}", "a")
    assert len(agent.requests) == 3


async def test_two_threads_on_one_socket_do_not_wait_for_each_other(runs, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with runs() as client:
        await client.run(run_id="r1", threadId="one")
        await client.until("a")
        agent.script = [Token("b"), Final()]
        await client.run(run_id="r2", threadId="two")
        assert (await client.rest())[-1]["runId"] == "r2"
        gate.until.set()
        assert (await client.rest())[-1]["runId"] == "r1"


async def test_agent_gets_the_input_but_no_credential(runs, agent):
    agent.script = [Token("a"), Final()]
    props = {"model": "m", "ticket": "secret"}
    async with runs() as client:
        await client.run(forwardedProps=props, data=props, tools=[1])
        await client.rest()
    (request,) = agent.requests
    assert (request.json["forwardedProps"], request.json["data"]) == ({"model": "m"}, {"model": "m"})
    assert (request.json["run_id"], request.json["tools"]) == ("r1", [1])
    assert "secret" not in json.dumps(request.json)


async def test_same_run_again_is_answered_once(runs, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Token("b"), Final()]
    async with runs() as client, runs() as another:
        await client.run()
        await client.until("a")
        await client.run()  # is being answered here
        await another.run()
        gate.until.set()
        events = await client.rest()
        assert text_of(await another.rest()) == "ab"
        await client.run(run_id="r2", words="next")
        assert (text_of(events), text_of(await client.rest())) == ("b", "ab")
        await client.run()
        assert text_of(await client.rest()) == "ab"
    assert len(agent.requests) == 2


async def test_other_run_of_an_id_in_use_is_refused(runs, agent):
    agent.script = [Token("a"), Stall()]
    async with runs() as client:
        await client.run()
        await client.until("a")
        await client.run(threadId="another")
        assert await client.event() == {
            "type": "RUN_ERROR",
            "runId": "r1",
            "message": "Invalid request: runId is in use.",
            "code": "bad_request",
        }


async def test_abort_cancels_the_run_and_is_its_last_word(runs, v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser, runs() as client:
        await client.run()
        await client.until("a")
        await client.abort("unknown")
        await client.abort()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        agent.script = [Token("b"), Final()]
        await client.run("next", "r2")
        events = await client.rest()  # the end of the first run would be taken for this one's
        assert ([event["runId"] for event in (events[0], events[-1])], text_of(events)) == (["r2", "r2"], "b")
        await client.run()
        assert (await client.rest())[-1]["outcome"] == {"type": "cancelled"}


async def test_abort_before_its_message_is_stored_cancels_it_too(runs, v1, agent, monkeypatch):
    is_asked, admit = asyncio.Event(), socket_chat.admit

    async def admit_later(*args):
        await is_asked.wait()
        return await admit(*args)

    agent.script = [Stall()]
    async with v1() as browser, runs() as client:
        monkeypatch.setattr(socket_chat, "admit", admit_later)
        await client.run()
        await client.abort()
        await client.send({})
        assert (await client.event())["type"] == "RUN_ERROR"  # so the frames before it were handled
        is_asked.set()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"


async def test_error_names_its_run(runs, agent):
    agent.script = [Token("a"), Event({"type": "error", "content": "no quota"})]
    async with runs() as client:
        await client.run()
        last = (await client.rest())[-1]
    assert (last["message"], last["runId"], last["threadId"]) == ("no quota", "r1", "s")


async def test_quiet_socket_is_pinged(runs, configure):
    configure(HEARTBEAT_SECONDS="0.2")
    async with runs() as client:
        assert [await client.frame() for _ in range(2)] == [{"type": "ping"}] * 2


# Frames that are refused.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, "Invalid request: messages must have a message."),
        ({"threadId": ""}, "Invalid request: threadId is missing."),
        ({"threadId": "x" * 200}, "Invalid request: threadId must be at most"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "Invalid request: the last message must be the user's.",
        ),
        ({"forwardedProps": {"ticket": 7}}, "Invalid request: forwardedProps.ticket must be a text."),
        ({"messages": [{"role": "user", "content": "x" * 1_025}]}, "This message is too long"),
        ({"runId": ""}, "Invalid request: runId is missing."),
        ({"runId": None}, "Invalid request: runId is missing."),
        ({"runId": "x" * 255}, "Invalid request: runId must have at most 256 bytes."),
    ],
)
async def test_bad_input_is_refused_in_words(runs, agent, configure, fields, words):
    configure(MAX_MESSAGE_BYTES="1024")
    async with runs() as client:
        await client.run(**{"run_id": "r1", **fields})
        event = await client.event()
        assert (event["type"], event["message"].startswith(words), agent.requests) == ("RUN_ERROR", True, [])
        assert ("runId" in event) == ("runId" not in fields)
        agent.script = [Token("a"), Final()]
        await client.run(run_id="r2")  # the socket lives
        assert text_of(await client.rest()) == "a"


@pytest.mark.parametrize(
    "text", ["{", "[]", "7", '{"runId":1e999}', '{"type":1e999,"runId":"r"}', " " * 9_000_000, b"x"]
)
async def test_frame_that_is_none_is_refused_in_words(runs, text):
    async with runs() as client:
        await (client.send_bytes if isinstance(text, bytes) else client.send_text)(text)
        event = await client.event()
        assert (event["type"], "runId" in event, bool(event["message"])) == ("RUN_ERROR", False, True)


async def test_forwarded_members_of_any_kind_are_the_agents(runs, agent):
    agent.script = [Token("a"), Final()]
    async with runs() as client:
        await client.run(forwardedProps=7, data=None)
        await client.rest()
    assert (agent.requests[0].json["forwardedProps"], agent.requests[0].json["data"]) == (7, None)


# Access.


async def test_with_tickets_each_run_shows_its_own(runs, configure, http, agent):
    agent.script = [Token("a"), Final()]
    configure(WS_AUTH="ticket")

    async def ticket(session_id="s"):
        return (await http.post("/api/v1/tickets", {"session_id": session_id, "subject": "ann"})).json()["ticket"]

    async with runs() as client:
        await client.run()
        assert (await client.event())["code"] == "unauthorized"
        first = await ticket()
        await client.run(forwardedProps={"ticket": first})
        assert text_of(await client.rest()) == "a"
        for number, wrong in enumerate((first, await ticket("another"))):
            await client.run("next", f"w{number}", forwardedProps={"ticket": wrong})
            assert (await client.event())["code"] == "unauthorized"
    assert len(agent.requests) == 1
    for query, code in (("", 4401), (f"&ticket={first}", 4401), (f"&ticket={await ticket('another')}", 4401)):
        async with runs(f"?runId=r1&offset=-1{query}") as client:
            assert await client.close_code() == code
    async with runs(f"?runId=r1&offset=-1&ticket={await ticket()}") as client:
        assert text_of(await client.rest()) == "a"
        assert await client.close_code() == 1000


async def test_policy_is_asked_at_the_handshake_for_each_run_and_for_each_replay(runs, configure, agent):
    configure(WS_AUTH=f"{ai_sdk.__name__}.NamedPolicy")
    agent.script = [Token("a"), Stall()]
    for query in ("", "?ticket=nobody"):
        async with runs(query) as client:
            assert not client.is_accepted
    async with runs("?ticket=ann") as ann, runs("?ticket=bob") as bob:
        await ann.run()
        await ann.until("a")
        await bob.run("mine", "r2")
        assert (await bob.event())["message"] == "This conversation belongs to another user."
        async with runs("?ticket=bob&runId=r1&offset=-1") as replay:
            assert await replay.closed() == (4403, "This conversation belongs to another user.")
        await bob.abort()
        await bob.send({})
        await bob.event()
        async with runs("?ticket=ann&runId=r1&offset=-1") as replay:
            await replay.until("a")
    assert len(agent.requests) == 1


async def test_run_ends_with_its_credential(runs, configure, agent):
    configure(WS_AUTH=f"{ai_sdk.__name__}.NamedPolicy")
    agent.script = [Stall()]
    async with runs("?ticket=ann") as client:
        await client.run(forwardedProps={"ticket": "soon"})
        last = (await client.rest())[-1]
    assert (last["type"], last["code"]) == ("RUN_ERROR", "unauthorized")


@pytest.mark.parametrize("query", ["", "?runId=r1&offset=-1"])
async def test_page_of_another_origin_is_refused(runs, configure, query):
    configure(ALLOWED_ORIGINS="https://chat.example")
    async with runs(query, headers=[(b"origin", b"https://evil.example")]) as client:
        assert not client.is_accepted


async def test_path_exists_with_its_adapter_alone(runs, configure):
    configure(ADAPTERS="ai-sdk")
    async with runs(headers=[(b"x-internal-auth", KEY.encode())]) as client:
        assert not client.is_accepted


async def test_socket_each_run_and_each_replay_count_as_connections(runs, configure, agent):
    agent.script = [Token("a"), Stall()]
    configure(ADDRESS_MAX_SOCKETS="3")
    async with runs() as client:
        await client.run()
        await client.until("a")
        async with runs("?runId=r1&offset=-1") as replay:
            code, words = await replay.closed()
            assert (code, "Too many connections" in words) == (4429, True)
        await client.run(run_id="r2", threadId="two")
        await client.until("a")
        async with runs() as another:
            assert not another.is_accepted
        assert REGISTRY.get_sample_value("gateway_sockets", {"dialect": "ag-ui"}) == 1
        assert REGISTRY.get_sample_value("gateway_socket_chats") == 2
    assert await ai_sdk.held() == (0, {})


async def test_rate_counts_messages(runs, agent, configure):
    agent.script = [Token("a"), Final()]
    configure(RATE_LIMIT="1")
    async with runs() as client:
        await client.run()
        await client.rest()
        await client.run("next", "r2")
        assert (await client.event())["code"] == "rate_limited"


# Replays.


async def test_replay_gives_a_run_from_its_start_or_behind_each_event_and_closes(runs, agent):
    agent.script = SCRIPT
    async with runs() as client:
        await client.run()
        events = await client.rest()
    for seen, offset in enumerate(["-1", "", *client.ids[:-1]]):
        async with runs(f"?runId=r1&offset={offset}") as replay:
            await replay.run("no run of its own", "r2")  # it is not read
            assert await replay.rest() == events[max(seen - 1, 0) :]
            assert replay.ids == client.ids[max(seen - 1, 0) :]
            assert await replay.close_code() == 1000
    async with runs(f"?runId=r1&offset={client.ids[-1]}") as replay:
        assert await replay.close_code() == 1000
    assert len(agent.requests) == 1


async def test_run_in_flight_is_replayed_to_its_end(runs, agent):
    agent.script = [Token("a"), Token("b"), gate := Wait(asyncio.Event()), Token("c"), Final()]
    async with runs() as client:
        await client.run()
        await client.until("a")
    async with runs(f"?runId=r1&offset={client.ids[-1]}") as replay:
        await replay.until("b")
        gate.until.set()
        assert text_of(await replay.rest()) == "c"
        assert await replay.close_code() == 1000


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("?offset=-1", 1011, "This run is unknown"),
        ("?offset=-1&runId=unknown", 1011, "This run is unknown"),
        ("?offset=x&runId=r1", 1011, "Invalid request: offset must be one that an event had."),
        ("?offset=00000000000000000000000000000000:3&runId=r1", 1011, "This message was already answered"),
    ],
)
async def test_replay_that_is_refused_is_closed_with_its_words(runs, agent, query, code, words):
    agent.script = SCRIPT
    async with runs() as client:
        await client.run()
        await client.rest()
    async with runs(query) as replay:
        if "offset=-1" not in query:  # its client has a part, comes back again and again, and shows no close
            event = await replay.event()
            assert (event["type"], event["message"].startswith(words)) == ("RUN_ERROR", True)
        found, reason = await replay.closed()
        assert (found, reason.startswith(words)) == (code, True)


async def test_replay_of_a_deleted_session_is_no_success(runs, agent):
    agent.script = [Token("a"), Stall()]
    async with runs() as client:
        await client.run()
        await client.until("a")
        async with runs("?runId=r1&offset=-1") as replay:
            await replay.until("a")
            await (await lifecycle.current()).layer.delete("s")
            assert (await replay.rest())[-1]["message"] == "This conversation was deleted."
            assert await replay.close_code() == 1011
        assert (await client.rest())[-1]["message"] == "This conversation was deleted."


async def test_bug_in_a_replay_is_no_success(runs, agent, monkeypatch):
    def fail(*_):
        raise ValueError

    agent.script = [Token("a"), Final()]
    async with runs() as client:
        await client.run()
        await client.rest()
    monkeypatch.setattr("relay.adapters.ag_ui.AgUiTranslator.on_final", fail)
    async with runs(f"?runId=r1&offset={client.ids[0]}") as replay:
        assert (await replay.rest())[-1]["code"] == "internal"
        assert await replay.close_code() == 1011
    monkeypatch.setattr("relay.adapters.ag_ui_socket.find_run", fail)
    async with runs("?runId=r1&offset=-1") as replay:
        assert await replay.close_code() == 1011


async def test_replay_with_a_hole_is_an_error(runs, v1, agent, configure):
    configure(BUFFER_SIZE="16")
    tokens = [Token(f"{number} ") for number in range(40)]
    agent.script = [Token("a "), gate := Wait(asyncio.Event()), *tokens, Stall()]
    async with runs() as client:
        await client.run()
        await client.until("a ")
    async with v1() as browser:
        gate.until.set()
        while not (frame := await browser.frame()).get("token", frame.get("content", "")).endswith("39 "):
            pass
    async with runs(f"?runId=r1&offset={client.ids[-1]}") as replay:
        assert [event["code"] for event in await replay.rest()] == ["too_slow"]
        assert await replay.close_code() == 4508
    async with runs("?runId=r1&offset=-1") as replay:
        text = [(await replay.event()).get("delta") for _ in range(3)][-1]
        assert (text.startswith("a 0 "), text.endswith("39 ")) == (True, True)


# Ends.


async def test_operator_ends_a_run_and_not_its_neighbour(runs, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with runs() as client:
        for run_id in ("one", "two"):
            await client.run(run_id=run_id, threadId=run_id)
            await client.until("a")
        await (await ai_sdk.connection_of("one")).disconnect(Kicked())
        last = (await client.rest())[-1]
        assert (last["runId"], last["message"]) == ("one", "An operator disconnected you.")
        gate.until.set()
        last = (await client.rest())[-1]
        assert (last["runId"], last["type"]) == ("two", "RUN_FINISHED")


async def test_drain_lets_runs_and_replays_end_and_closes_then(runs, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with runs() as client, runs() as idle:
        await client.run()
        await client.until("a")
        async with runs("?runId=r1&offset=-1") as replay:
            await replay.until("a")
            draining = asyncio.create_task(lifecycle.drain(asyncio.Event()))
            assert await idle.close_code() == 1012
            await client.run(run_id="r2", threadId="two")
            assert (await client.event())["message"] == "The server is restarting. Reconnect in a moment."
            gate.until.set()
            assert (await replay.rest())[-1]["type"] == "RUN_FINISHED"
            assert await replay.close_code() == 1000
        assert (await client.rest())[-1]["type"] == "RUN_FINISHED"
        assert await client.close_code() == 1012
        await draining
        async with runs("?runId=r1&offset=-1") as late:
            assert not late.is_accepted


@pytest.mark.parametrize("query", ["", "?runId=r1&offset=-1"])
async def test_run_that_a_drain_cuts_short_has_no_end(runs, agent, query):
    agent.script = [Token("a"), Stall()]
    async with runs() as first:
        await first.run()
        await first.until("a")
    async with runs(query) as client:
        if not query:
            await client.run()
        await client.until("a")
        await (await ai_sdk.connection_of("s")).disconnect()
        assert await client.close_code() == 1012
    assert await ai_sdk.held() == (0, {})


async def test_idle_socket_is_closed(runs, configure):
    configure(IDLE_TIMEOUT="0.1", HEARTBEAT_SECONDS="0.2")
    async with runs() as client:
        assert await client.close_code() == 4408


@pytest.mark.parametrize("query", [b"", b"runId=r1&offset=-1"])
async def test_client_that_reads_nothing_is_disconnected(application, runs, configure, agent, monkeypatch, query):
    agent.script = [Token("a"), Stall()]
    async with runs() as client:
        await client.run()
        await client.until("a")
    monkeypatch.setattr(consumer, "BLOCKED_SECONDS", 0.1)
    configure(HEARTBEAT_SECONDS="0.2")
    async with ai_sdk.DeafClient(application, after=0, path=PATH, query=query) as deaf:
        await deaf.say(**asked())
        assert await deaf.close_code() == 4508
    assert await ai_sdk.held() == (0, {})


async def test_refusal_of_a_frame_that_its_client_does_not_read_closes_the_socket(application, monkeypatch):
    monkeypatch.setattr(consumer, "SAY_SECONDS", 0.05)
    async with ai_sdk.DeafClient(application, after=0, path=PATH) as deaf:
        await deaf.say()
        assert await deaf.close_code() == 1011
