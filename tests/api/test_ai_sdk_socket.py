"""The AI SDK on a shared socket: what `WebSocketChatTransport` sends and gets."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import REGISTRY

from relay.adapters import ai_sdk_socket, consumer, socket_chat
from relay.adapters.ai_sdk_socket import ChatStream
from relay.delivery import http_stream, session_connection
from relay.exceptions import Forbidden, Kicked, Unauthorized
from relay.layers.limits import Limits
from relay.policies import Identity, Policy
from relay.process import lifecycle
from tests.api.test_ai_sdk_adapter import PATH as POST_PATH
from tests.api.test_ai_sdk_adapter import asked, read, text_of
from tests.clients import LIMIT_SECONDS, CommunicatorClient
from tests.processes import KEY
from tests.scripted_agent import Event, Final, Stall, Token, Wait

PATH = "/api/v1/ai-sdk/ws"


class ChatClient(CommunicatorClient):
    """A client that keeps the frames of its requests apart."""

    def __init__(self, application, query="", headers=()):
        super().__init__(application, PATH + query, headers=list(headers))
        self._unread = {}

    async def request(self, request_id, words="Hi", *, message_id="m1", chat_id="s", **more):
        fields = asked(words, message_id, chat_id)
        await self.send({"type": "send", "requestId": request_id, "headers": {}, "body": {}, **fields, **more})

    async def resume(self, request_id, chat_id="s", **more):
        await self.send({"type": "resume", "requestId": request_id, "id": chat_id, "headers": {}, "body": {}, **more})

    async def abort(self, request_id):
        await self.send({"type": "abort", "requestId": request_id})

    async def next(self, request_id):
        """The next frame of a request."""
        while not self._unread.get(request_id):
            frame = await self.frame()
            self._unread.setdefault(frame.pop("requestId"), []).append(frame)
        return self._unread[request_id].pop(0)

    async def started(self, request_id):
        """Wait for the first text."""
        assert await self.next(request_id) == {"type": "start"}
        while (frame := await self.next(request_id))["chunk"]["type"] != "text-delta":
            pass
        return frame

    async def rest(self, request_id):
        """All frames up to the last."""
        frames = []
        while not frames or frames[-1]["type"] in ("start", "chunk"):
            frames.append(await self.next(request_id))
        return frames


def chunks(frames):
    return [frame["chunk"] for frame in frames if frame["type"] == "chunk"]


def numbers(frames):
    return [frame["sequence"] for frame in frames if frame["type"] == "chunk"]


@pytest.fixture(autouse=True)
def _switched_on(configure):
    configure(ADAPTERS="ai-sdk")


@pytest.fixture
def chats(application):
    return lambda *args, **options: ChatClient(application, *args, **options)


async def held():
    gateway = await lifecycle.current()
    return len(gateway.connections), gateway.connection_limiter._taken


async def test_answer_comes_in_numbered_chunks_and_ends(chats, agent, http):
    agent.script = [
        Event({"type": "reasoning", "token": "hm"}),
        Token("zwölf "),
        Token("\ud83d"),
        Token("\ude42"),
        Final(),
    ]
    async with chats() as client:
        await client.request("r1")
        frames = await client.rest("r1")
    assert (frames[0], frames[-1]) == ({"type": "start"}, {"type": "end"})
    assert numbers(frames) == list(range(len(frames) - 2))
    _, body = await read(http, "POST", POST_PATH, body=asked())
    assert chunks(frames) == body.events[:-1]
    assert text_of(chunks(frames)).encode("utf-16", "surrogatepass").decode("utf-16") == "hmzwölf 🙂"
    assert await held() == (0, {})


async def test_agent_gets_the_body_but_no_credential(chats, agent):
    agent.script = [Token("a"), Final()]
    async with chats() as client:
        await client.request("r1", body={"model": "m", "ticket": "secret"}, metadata={"page": 7})
        await client.rest("r1")
    (request,) = agent.requests
    assert (request.json["content"], request.json["model"], request.json["metadata"]) == ("Hi", "m", {"page": 7})
    assert "secret" not in json.dumps(request.json)


async def test_two_chats_on_one_socket_do_not_wait_for_each_other(chats, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with chats() as client:
        await client.request("r1", chat_id="one")
        await client.started("r1")
        agent.script = [Token("b"), Final()]
        await client.request("r2", chat_id="two")
        assert text_of(chunks(await client.rest("r2"))) == "b"
        gate.until.set()
        assert (await client.rest("r1"))[-1] == {"type": "end"}


async def test_same_message_again_is_answered_once(chats, agent):
    agent.script = [Token("a"), Final()]
    async with chats() as client:
        answers = []
        for request_id in ("r1", "r2"):
            await client.request(request_id)
            answers.append(await client.rest(request_id))
    assert answers[0] == answers[1]
    assert len(agent.requests) == 1


async def test_resume_gives_the_turn_from_its_start_or_behind_a_chunk(chats, agent):
    agent.script = [Token("a"), Token("b"), gate := Wait(asyncio.Event()), Token("c"), Final()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        assert (await client.next("r1"))["chunk"]["delta"] == "b"
    async with chats() as client:
        await client.resume("all")
        await client.resume("some", lastSequence=3)
        await client.started("all")
        gate.until.set()
        rest, some = await client.rest("all"), await client.rest("some")
        assert (text_of(chunks(rest)), text_of(chunks(some))) == ("bc", "bc")
        assert numbers(some) == list(range(4, numbers(rest)[-1] + 1))
        await client.resume("late")
        assert await client.rest("late") == [{"type": "no-active"}]


async def test_resume_of_a_turn_without_its_start_gives_the_text_or_is_refused(chats, v1, agent, configure):
    configure(BUFFER_SIZE="16")
    text = "".join(f"{number} " for number in range(30))
    agent.script = [*(Token(f"{number} ") for number in range(30)), gate := Wait(asyncio.Event()), Final()]
    async with v1() as browser, chats() as client:
        await browser.say("x")
        while not (frame := await browser.frame()).get("token", frame.get("content", "")).endswith("29 "):
            pass
        await client.resume("all")
        assert (await client.started("all"))["chunk"]["delta"] == text
        await client.resume("some", lastSequence=5)
        assert (await client.rest("some"))[-1]["type"] == "error"
        gate.until.set()
        assert (await client.rest("all"))[-1] == {"type": "end"}


async def test_resume_beyond_the_end_is_no_success(chats, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await client.resume("r2", lastSequence=99)
        assert await client.next("r2") == {"type": "start"}
        gate.until.set()
        (last,) = await client.rest("r2")
        assert (last["type"], "beyond" in last["errorText"]) == ("error", True)


async def test_turn_that_waits_is_resumed(chats, agent):
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await client.request("r2", message_id="m2")
        assert await client.next("r2") == {"type": "start"}
        await client.abort("r1")
        assert chunks(await client.rest("r1"))[-1] == {"type": "abort", "reason": "cancelled"}
        await client.resume("r3")
        assert await client.next("r3") == {"type": "start"}
        assert await client.next("r3") == await client.next("r2")


async def test_abort_cancels_the_turn(chats, v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser, chats() as client:
        await client.request("r1")
        await client.started("r1")
        await client.abort("r1")
        await client.abort("unknown")
        frames = await client.rest("r1")
        assert (chunks(frames)[-1]["type"], frames[-1]) == ("abort", {"type": "end"})
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"


async def test_abort_before_its_message_is_stored_cancels_it_too(chats, agent, monkeypatch):
    is_asked, admit = asyncio.Event(), socket_chat.admit

    async def admit_later(*args):
        await is_asked.wait()
        return await admit(*args)

    monkeypatch.setattr(socket_chat, "admit", admit_later)
    agent.script = [Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.abort("r1")
        await client.send({"type": "x", "requestId": "r2"})
        assert (await client.next("r2"))["type"] == "error"  # so the frames before it were handled
        is_asked.set()
        assert chunks(await client.rest("r1"))[-1]["type"] == "abort"


async def test_message_of_a_client_that_leaves_at_once_is_kept(chats, agent):
    agent.script = [Token("a"), Final()]
    async with chats() as client:
        await client.request("r1")
    state = await (await lifecycle.current()).layer.get("s")
    assert not state.is_empty


async def test_stop_of_a_client_that_leaves_at_once_counts(chats, v1, agent, monkeypatch):
    async def cancel_later(*args):
        for _ in range(20):
            await asyncio.sleep(0)
        return await cancel(*args)

    layer = (await lifecycle.current()).layer
    cancel = layer.cancel
    monkeypatch.setattr(layer, "cancel", cancel_later)
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        async with chats() as client:
            await client.request("r1")
            await client.started("r1")
            await client.abort("r1")
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"


async def test_error_is_told_in_its_words(chats, agent):
    agent.script = [Token("a"), Event({"type": "error", "content": "no quota"})]
    async with chats() as client:
        await client.request("r1")
        frames = await client.rest("r1")
    assert (chunks(frames)[-1], frames[-1]) == ({"type": "error", "errorText": "no quota"}, {"type": "end"})


# Requests that are refused.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, "Invalid request: messages must have a message."),
        ({"id": ""}, "Invalid request: id is missing."),
        ({"id": "x" * 200}, "Invalid request: id must be at most"),
        ({"body": 7}, "Invalid request: body must be a JSON object."),
        ({"body": {"ticket": 7}}, "Invalid request: body.ticket must be a text."),
        ({"trigger": "regenerate-message"}, "Invalid request: this gateway does not forward regenerate-message;"),
        ({"type": "x"}, "Invalid request: type must be send, resume or abort."),
        ({"type": "resume", "lastSequence": True}, "Invalid request: lastSequence must be a number from 0."),
        (
            {"messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x" * 1_025}]}]},
            "This message is too long",
        ),
    ],
)
async def test_bad_request_is_refused_in_words(chats, agent, configure, fields, words):
    configure(MAX_MESSAGE_BYTES="1024")
    async with chats() as client:
        await client.send({"type": "send", "requestId": "r1", **asked(), **fields})
        frame = await client.next("r1")
        assert (frame["type"], frame["errorText"].startswith(words), agent.requests) == ("error", True, [])
        await client.resume("r2")  # the socket lives
        assert await client.next("r2") == {"type": "no-active"}


async def test_long_conversation_is_no_long_message(chats, agent, configure):
    configure(MAX_MESSAGE_BYTES="1024")
    agent.script = [Token("a"), Final()]
    history = [{"id": "m0", "role": "assistant", "parts": [{"type": "text", "text": "x" * 100_000}]}]
    async with chats() as client:
        await client.request("r1", messages=history + asked()["messages"])
        assert text_of(chunks(await client.rest("r1"))) == "a"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"type":1e999,"requestId":"r"}',
        '{"type":"send","requestId":7}',
        f'{{"requestId":"{"x" * 255}"}}',
        " " * 9_000_000,
        b"x",
    ],
)
async def test_frame_that_names_no_request_closes_the_socket(chats, text):
    async with chats() as client:
        await (client.send_bytes if isinstance(text, bytes) else client.send_text)(text)
        assert await client.close_code() == 1008


async def test_request_id_in_use_is_refused(chats, agent):
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await client.resume("r1")
        assert "in use" in (await client.rest("r1"))[-1]["errorText"]


async def test_requests_of_one_socket_are_bounded(chats, agent, monkeypatch):
    monkeypatch.setattr(consumer, "MAX_REQUESTS", 1)
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await client.resume("r2")
        assert "too quickly" in (await client.next("r2"))["errorText"]


async def test_client_that_goes_on_in_spite_of_refusals_is_disconnected(chats, agent, monkeypatch):
    monkeypatch.setattr(consumer, "MAX_REQUESTS", 0)
    async with chats() as client:
        await client.request("r1")
        assert await client.close_code() == 4429


async def test_rate_counts_messages(chats, agent, configure):
    agent.script = [Token("a"), Final()]
    configure(RATE_LIMIT="1")
    async with chats() as client:
        await client.request("r1")
        await client.rest("r1")
        await client.request("r2", message_id="m2")
        assert "too quickly" in (await client.next("r2"))["errorText"]


async def test_bug_is_told_in_words_and_fails_its_request_alone(chats, agent, monkeypatch):
    def fail(*_):
        raise ValueError

    async with chats() as client:
        with monkeypatch.context() as patched:
            patched.setattr("relay.adapters.ai_sdk_socket.read_request", fail)
            await client.request("r1")
            assert "Something went wrong" in (await client.next("r1"))["errorText"]
        monkeypatch.setattr("relay.adapters.ai_sdk.AiSdkTranslator.on_final", fail)
        agent.script = [Token("a"), Final()]
        await client.request("r2")
        assert "Something went wrong" in (await client.rest("r2"))[-1]["errorText"]


# Access.


async def test_with_tickets_each_request_shows_its_own(chats, configure, http, agent):
    agent.script = [Token("a"), Final()]
    configure(WS_AUTH="ticket")

    async def ticket(session_id):
        return (await http.post("/api/v1/tickets", {"session_id": session_id, "subject": "ann"})).json()["ticket"]

    async with chats() as client:
        await client.request("r1")
        assert "access has expired" in (await client.next("r1"))["errorText"]
        first = await ticket("s")
        await client.request("r2", body={"ticket": first})
        assert text_of(chunks(await client.rest("r2"))) == "a"
        await client.request(
            "r3", message_id="m3", headers={"X-A": "b", "Authorization": f"Bearer {await ticket('s')}"}
        )
        assert text_of(chunks(await client.rest("r3"))) == "a"
        for request_id, wrong in (("r4", first), ("r5", await ticket("another"))):
            await client.request(request_id, message_id="m4", body={"ticket": wrong})
            assert "access has expired" in (await client.next(request_id))["errorText"]
            await client.resume(request_id, body={"ticket": wrong})
            assert "access has expired" in (await client.next(request_id))["errorText"]


class NamedPolicy(Policy):
    """Admits the subject that the credential names; a policy of the operator's own."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)

    async def admit(self, handshake):
        match handshake.credential:
            case None:
                raise Unauthorized
            case "nobody":
                raise Forbidden
            case "soon":
                return Identity("ann", 0.0)
            case subject:
                return Identity(subject)


async def test_policy_is_asked_at_the_handshake_and_for_each_chat(chats, configure, agent):
    configure(WS_AUTH=f"{__name__}.NamedPolicy")
    agent.script = [Token("a"), Stall()]
    for query in ("", "?ticket=nobody"):
        async with chats(query) as client:
            assert not client.is_accepted
    async with chats("?ticket=ann") as ann, chats("?ticket=bob") as bob:
        await ann.request("r1")
        await ann.started("r1")
        await bob.resume("r1")
        await bob.request("r2", "mine", message_id="m2")
        for request_id in ("r1", "r2"):
            assert (await bob.next(request_id))["errorText"] == "This conversation belongs to another user."
        await bob.resume("r3", body={"ticket": "ann"})
        await bob.started("r3")
    assert len(agent.requests) == 1


async def test_answer_ends_with_its_credential(chats, configure, agent):
    configure(WS_AUTH=f"{__name__}.NamedPolicy")
    agent.script = [Stall()]
    async with chats("?ticket=ann") as client:
        await client.request("r1", body={"ticket": "soon"})
        assert "access has expired" in (await client.rest("r1"))[-1]["errorText"]


async def test_page_of_another_origin_is_refused(chats, configure):
    configure(ALLOWED_ORIGINS="https://chat.example")
    async with chats(headers=[(b"origin", b"https://evil.example")]) as client:
        assert not client.is_accepted


async def test_path_exists_with_its_adapter_alone(chats, configure):
    configure(ADAPTERS="openai")
    async with chats(headers=[(b"x-internal-auth", KEY.encode())]) as client:
        assert not client.is_accepted


async def test_socket_and_each_chat_count_as_connections(chats, configure, agent):
    agent.script = [Token("a"), Stall()]
    configure(ADDRESS_MAX_SOCKETS="2")
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await client.request("r2", chat_id="two")
        assert "Too many connections" in (await client.next("r2"))["errorText"]
        async with chats() as another:
            assert not another.is_accepted
        assert REGISTRY.get_sample_value("gateway_sockets", {"dialect": "ai-sdk"}) == 1
        assert REGISTRY.get_sample_value("gateway_socket_chats") == 1
    assert await held() == (0, {})
    assert REGISTRY.get_sample_value("gateway_sockets", {"dialect": "ai-sdk"}) == 0


# Ends.


async def connection_of(session_id):
    return next(c for c in (await lifecycle.current()).connections if c.session_id == session_id)


async def test_operator_ends_a_chat_and_not_its_neighbour(chats, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with chats() as client:
        for request_id in ("one", "two"):
            await client.request(request_id, chat_id=request_id)
            await client.started(request_id)
        connection = await connection_of("one")
        await connection.notify("x")
        await connection.disconnect(Kicked())
        assert (await client.rest("one"))[-1] == {"type": "error", "errorText": "An operator disconnected you."}
        gate.until.set()
        assert (await client.rest("two"))[-1] == {"type": "end"}


async def test_process_that_stood_still_tells_the_reason_and_leaves_the_socket_open(chats, agent, clock):
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await (await connection_of("s")).leave(Kicked())
        clock.advance(http_stream.LEAVE_SECONDS + 1)  # more than the client has to take it
        assert (await client.rest("r1"))[-1] == {"type": "error", "errorText": "An operator disconnected you."}
        await client.resume("r2", "another")
        assert await client.next("r2") == {"type": "no-active"}


async def test_deleted_session_is_no_success(chats, agent):
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await (await lifecycle.current()).layer.delete("s")
        assert (await client.rest("r1"))[-1] == {"type": "error", "errorText": "This conversation was deleted."}


async def test_drain_lets_answers_end_and_closes_then(chats, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with chats() as client, chats() as idle:
        await client.request("r1")
        await client.started("r1")
        draining = asyncio.create_task(lifecycle.drain(asyncio.Event()))
        assert await idle.close_code() == 1012
        await client.request("r2", chat_id="two")
        assert (await client.next("r2"))["errorText"] == "The server is restarting. Reconnect in a moment."
        gate.until.set()
        assert (await client.rest("r1"))[-1] == {"type": "end"}
        assert await client.close_code() == 1012
        await draining
        async with chats() as late:
            assert not late.is_accepted


async def test_answer_that_a_drain_cuts_short_has_no_end(chats, agent):
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        await (await connection_of("s")).disconnect()
        assert await client.close_code() == 1012
    assert await held() == (0, {})


class DeafClient:
    """A client of which the server's `send` never returns, from the n-th text on; or fails, where it has gone."""

    def __init__(self, application, after, *, is_gone=False, path=PATH, query=b""):
        self._application, self._left, self._is_gone = application, after, is_gone
        self._scope = {"type": "websocket", "path": path, "query_string": query, "headers": [(b"host", b"test")]}
        self.received = asyncio.Queue()
        self.closed = asyncio.get_running_loop().create_future()
        self.is_stuck = asyncio.Event()

    async def _send(self, message):
        if message["type"] == "websocket.send":
            self._left -= 1
            if self._left < 0:
                self.is_stuck.set()
                if self._is_gone:
                    raise OSError
                await asyncio.Event().wait()
        if message["type"] == "websocket.close":
            self.closed.set_result(message["code"])
            self.received.put_nowait({"type": "websocket.disconnect", "code": message["code"]})

    async def __aenter__(self):
        self.received.put_nowait({"type": "websocket.connect"})
        serving = self._application({**self._scope, "subprotocols": []}, self.received.get, self._send)
        self._serving = asyncio.create_task(serving)
        return self

    async def __aexit__(self, *_):
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._serving

    async def say(self, **fields):
        self.received.put_nowait({"type": "websocket.receive", "text": json.dumps(fields)})

    async def close_code(self):
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.closed


async def test_client_that_reads_nothing_is_disconnected(application, configure, agent, monkeypatch):
    monkeypatch.setattr(consumer, "BLOCKED_SECONDS", 0.1)
    configure(HEARTBEAT_SECONDS="0.2")
    agent.script = [Token("a"), Stall()]
    async with DeafClient(application, after=1) as client:
        await client.say(type="send", requestId="r1", **asked())
        assert await client.close_code() == 4508
    assert await held() == (0, {})


async def test_chat_that_its_client_does_not_read_closes_the_socket(application, configure, agent, monkeypatch):
    monkeypatch.setattr(session_connection, "BLOCKED_SECONDS", 0.1)
    monkeypatch.setattr(http_stream, "LEAVE_SECONDS", 0.05)
    configure(HEARTBEAT_SECONDS="0.2")
    agent.script = [Token("a"), Stall()]
    async with DeafClient(application, after=1) as client:
        await client.say(type="send", requestId="r1", **asked())
        assert await client.close_code() == 4508


async def test_refusal_that_its_client_does_not_read_closes_the_socket(application, monkeypatch):
    monkeypatch.setattr(consumer, "SAY_SECONDS", 0.05)
    async with DeafClient(application, after=0) as client:
        await client.say(type="x", requestId="r1")
        assert await client.close_code() == 1011


@pytest.mark.parametrize("fields", [{"type": "send", **asked()}, {"type": "x"}], ids=["answer", "refusal"])
async def test_client_that_has_gone_is_no_error(application, agent, fields, caplog):
    agent.script = [Token("a"), Final()]
    async with DeafClient(application, after=0, is_gone=True) as client:
        await client.say(requestId="r1", **fields)
        await client.is_stuck.wait()
        client.received.put_nowait({"type": "another of ASGI"})
        client.received.put_nowait({"type": "websocket.disconnect", "code": 1006})
    assert "failed" not in caplog.text
    assert await held() == (0, {})


async def test_drain_that_starts_during_the_handshake_is_noticed(chats, monkeypatch):
    async def admit(*_):
        (await lifecycle.current()).is_draining = True

    monkeypatch.setattr(consumer, "admit", admit)
    async with chats() as client:
        assert await client.close_code() == 1012


async def test_drain_ends_also_what_is_being_answered(chats, agent):
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        for request_id in ("one", "two"):
            await client.request(request_id, chat_id=request_id)
            await client.started(request_id)
        for session_id in ("one", "two"):
            connection = await connection_of(session_id)
            asyncio.get_running_loop().create_task(connection.disconnect())
        assert await client.close_code() == 1012
    assert await held() == (0, {})


async def test_first_reason_to_close_counts(chats):
    async with chats() as client:
        (socket,) = (await lifecycle.current()).connections
        await socket.disconnect(Kicked())
        await socket.disconnect()
        assert await client.close_code() == 4403


async def test_order_that_comes_after_the_answer_does_not_close_the_socket(chats, agent):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        connection = await connection_of("s")
        gate.until.set()
        assert (await client.rest("r1"))[-1] == {"type": "end"}
        await client.resume("r2")
        assert await client.next("r2") == {"type": "no-active"}
        await connection.disconnect()
        connection._transport._cut()  # as its timer does
        await client.resume("r3")
        assert await client.next("r3") == {"type": "no-active"}


async def test_quiet_chat_is_sent_no_frame_that_its_client_does_not_know(chats, agent, configure, monkeypatch):
    beaten = asyncio.Event()

    class BeatenStream(ChatStream):
        def encode_heartbeat(self):
            beaten.set()
            return super().encode_heartbeat()

    monkeypatch.setattr(ai_sdk_socket, "ChatStream", BeatenStream)
    configure(HEARTBEAT_SECONDS="0.2")
    agent.script = [Token("a"), Stall()]
    async with chats() as client:
        await client.request("r1")
        await client.started("r1")
        async with asyncio.timeout(LIMIT_SECONDS):
            await beaten.wait()
        await client.abort("r1")
        assert chunks(await client.rest("r1"))[-1]["type"] == "abort"


async def test_idle_socket_is_closed(chats, configure, agent):
    configure(IDLE_TIMEOUT="0.1", HEARTBEAT_SECONDS="0.2")
    async with chats() as client:
        assert await client.close_code() == 4408
