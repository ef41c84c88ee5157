"""The AI SDK over a session: what `useChat` sends and gets."""

from __future__ import annotations

import pytest

from relay.adapters.turn_stream import TurnStream
from relay.exceptions import NotOwner
from relay.process import lifecycle
from relay.protocol.cursor import Cursor
from tests.api.adapters import opened, read
from tests.scripted_agent import Event, Final, Stall, Token

PATH = "/api/v1/ai-sdk/chat"


def asked(words="Hi", message_id="m1", chat_id="s", **more):
    message = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": words}]}
    return {"id": chat_id, "messages": [message], "trigger": "submit-message", **more}


def text_of(events):
    return "".join(event.get("delta", "") for event in events if event != "[DONE]")


def types(events):
    return [event if isinstance(event, str) else event["type"] for event in events]


@pytest.fixture(autouse=True)
def _switched_on(configure):
    configure(ADAPTERS="ai-sdk")


async def test_answer_is_streamed_and_ends_after_its_last_event(http, agent):
    agent.script = [Token("a "), Token("b"), Final()]
    answer, body = await read(http, "POST", PATH, body=asked())
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["x-resumable-stream-id"] == body.events[0]["messageId"]
    assert types(body.events) == [
        *["start", "start-step", "text-start", "text-delta", "text-delta", "text-end"],
        *["finish-step", "finish", "[DONE]"],
    ]
    assert (text_of(body.events), body.is_whole) == ("a b", True)


async def test_same_message_twice_is_answered_once(http, agent):
    agent.script = [Token("a"), Final()]
    _, first = await read(http, "POST", PATH, body=asked())
    _, second = await read(http, "POST", PATH, body=asked())
    assert (second.events, len(agent.requests)) == (first.events, 1)


async def test_same_message_twice_at_once_is_answered_once(http, agent):
    agent.script = [Token("a"), Stall()]
    async with (
        opened(http, "POST", PATH, body=asked()) as one,
        opened(http, "POST", PATH, body=asked()) as two,
        opened(http, "GET", f"{PATH}/s/stream") as three,
    ):
        starts = [await reader.event() for reader in (one, two, three)]
        assert starts == [starts[0]] * 3
        await http.post(f"{PATH}/s/stop")
        bodies = [await reader.rest() for reader in (one, two, three)]
    assert [body.events[-2:] for body in bodies] == [[{"type": "abort", "reason": "cancelled"}, "[DONE]"]] * 3
    assert len(agent.requests) == 1


async def test_stream_of_no_turn_is_204(http, agent):
    assert (await http.get(f"{PATH}/unknown/stream")).status == 204
    assert await (await lifecycle.current()).layer.get("unknown") is None
    agent.script = [Token("a"), Final()]
    await read(http, "POST", PATH, body=asked())
    assert (await http.get(f"{PATH}/s/stream")).status == 204


async def test_turn_of_another_kind_of_client_is_resumed_from_its_start(http, v1, agent):
    agent.script = [Token("a "), Token("b"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        async with opened(http, "GET", f"{PATH}/s/stream") as reader:
            answer = [await reader.event() for _ in range(5)]
            assert (types(answer)[0], text_of(answer)) == ("start", "a b")
            await browser.cancel()
            assert types((await reader.rest()).events) == ["text-end", "abort", "[DONE]"]


async def test_turn_that_waits_is_resumed_too(http, agent):
    agent.script = [Token("a"), Stall()]
    async with opened(http, "POST", PATH, body=asked()) as first:
        await first.event()
        async with opened(http, "POST", PATH, body=asked("next", "m2")) as second:
            await http.post(f"{PATH}/s/stop")
            assert types((await first.rest()).events)[-2:] == ["abort", "[DONE]"]
            turn_id = (await second.event())["messageId"]
            async with opened(http, "GET", f"{PATH}/s/stream") as third:
                assert (await third.event())["messageId"] == turn_id
            await http.post(f"{PATH}/s/stop")
            assert types((await second.rest()).events)[-2:] == ["abort", "[DONE]"]


@pytest.mark.parametrize("chat_id", ["a b/c", "zwölf", "~x"])
async def test_id_that_names_no_session_is_mapped(http, agent, chat_id):
    agent.script = [Token("a"), Stall()]
    async with opened(http, "POST", PATH, body=asked(chat_id=chat_id)) as reader:
        await reader.event()
        path = "".join(f"%{byte:02X}" for byte in chat_id.encode())
        assert (await http.post(f"{PATH}/{path}/stop")).json()["status"] == "cancelling"
        assert types((await reader.rest()).events)[-2:] == ["abort", "[DONE]"]


async def test_approval_is_asked_of_those_who_know_it(http, agent):
    call = {"type": "tool_call", "call_id": "c", "tool_name": "t", "arguments": {}, "requires_approval": True}
    agent.script = [Event(call), Final()]
    for number, approvals in enumerate((True, False)):
        body = asked(message_id=f"m{number}", approvals=approvals)
        _, answer = await read(http, "POST", PATH, body=body)
        assert ("tool-approval-request" in types(answer.events)) is approvals


async def test_error_is_told_in_its_words(http, agent):
    agent.script = [Token("a"), Event({"type": "error", "content": "no quota"})]
    _, body = await read(http, "POST", PATH, body=asked())
    assert (body.events[-2:], body.is_whole) == ([{"type": "error", "errorText": "no quota"}, "[DONE]"], True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON message"),
        (b"7", "Invalid JSON message"),
        ({"id": "s"}, "Invalid request: messages must have a message."),
        ({"messages": []}, "Invalid request: id is missing."),
        (asked(trigger="regenerate-message"), "Invalid request: this gateway does not forward regenerate-message;"),
    ],
)
async def test_bad_body_is_refused_in_words_alone(http, agent, body, words):
    answer = await http.post(PATH, body)
    assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert (answer.body.decode().startswith(words), agent.requests) == (True, [])


async def test_another_message_under_a_known_name_is_refused(http, agent):
    agent.script = [Token("a"), Final()]
    await read(http, "POST", PATH, body=asked())
    answer = await http.post(PATH, asked("another"))
    assert (answer.status, answer.body.decode().split(" ")[0]) == (409, "This")


async def test_the_policy_decides(http, configure, agent):
    agent.script = [Token("a"), Final()]
    configure(WS_AUTH="ticket")
    for method, path in (("POST", PATH), ("GET", f"{PATH}/s/stream"), ("POST", f"{PATH}/s/stop")):
        refused = await http.request(method, path, body=asked(), key=None)
        assert (refused.status, refused.body.decode().split(" ")[:2]) == (401, ["You", "are"])
    ticket = (await http.post("/api/v1/tickets", {"session_id": "s", "subject": "ann"})).json()["ticket"]
    headers = {"Authorization": f"Bearer {ticket}"}
    answer, body = await read(http, "POST", PATH, body=asked(), key=None, headers=headers)
    assert (answer.status, text_of(body.events)) == (200, "a")


async def test_chat_of_another_subject_is_refused(http, configure, monkeypatch, agent):
    async def refuse(*_):
        raise NotOwner

    layer = (await lifecycle.current()).layer
    for name in ("attach", "cancel"):
        monkeypatch.setattr(layer, name, refuse)
    for path in (PATH, f"{PATH}/s/stop"):
        answer = await http.post(path, asked())
        assert (answer.status, answer.body) == (403, b"This conversation belongs to another user.")
    assert agent.requests == []


async def test_bug_before_the_answer_is_told_in_words(http, monkeypatch):
    def fail(*_):
        raise ValueError

    monkeypatch.setattr("relay.adapters.ai_sdk_views.read_request", fail)
    answer = await http.post(PATH, asked())
    assert (answer.status, answer.body.decode().split(".")[0]) == (500, "Something went wrong in the gateway")


async def test_adapter_that_is_not_switched_on_is_unknown(http, configure):
    configure(ADAPTERS="openai")
    assert (await http.post(PATH, asked(), key=None)).status == 401
    assert (await http.post(PATH, asked())).status == 404


async def test_hanging_up_follows_the_setting(http, agent, configure, monkeypatch):
    monkeypatch.setattr("relay.turns.on_disconnect.GRACE_SECONDS", 0.01)
    configure(ON_DISCONNECT="cancel")
    agent.script = [Token("a"), Stall()]
    async with opened(http, "POST", PATH, body=asked()) as reader:
        while text_of([await reader.event()]) != "a":
            pass
    await agent.wait_disconnected(1)


async def test_turn_whose_first_frame_is_gone_breaks_off(http, v1, agent, monkeypatch):
    agent.script = [Token("a"), Stall()]
    monkeypatch.setattr(
        TurnStream, "attach", lambda self, state: self._start_at(Cursor(state.epoch, state.active_after + 1))
    )
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        _, body = await read(http, "GET", f"{PATH}/s/stream")
        assert (body.events, body.is_whole) == ([], False)


async def test_pages_may_read_the_headers_of_the_answer(http, settings, agent):
    settings.CORS_ALLOWED_ORIGIN_REGEXES = [r"\Ahttps://chat\.example\Z"]
    agent.script = [Token("a"), Final()]
    answer = await http.post(PATH, asked(), headers={"Origin": "https://chat.example"})
    assert {"x-resumable-stream-id", "x-vercel-ai-ui-message-stream", "retry-after"} <= set(
        answer.headers["access-control-expose-headers"].split(", ")
    )
