"""The plain dialect: what existing front ends speak."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.clients import text_of
from tests.scripted_agent import Event, Final, Stall, Token, Wait

TOKEN = {"type": "assistant_message", "is_final": False}
FINAL = {"type": "assistant_message", "token": "", "is_final": True}
INVALID = {"type": "error", "content": "Invalid JSON message"}


async def test_answer_comes_one_token_a_frame_and_ends_final(plain, agent):
    agent.script = [Token(""), Token("Par"), Token("is."), Final()]
    async with plain() as browser:
        await browser.say("capital of France?")
        frames = await browser.turn()
    assert frames == [{**TOKEN, "token": ""}, {**TOKEN, "token": "Par"}, {**TOKEN, "token": "is."}, FINAL]


async def test_agent_gets_message_with_session_and_headers(plain, agent):
    async with plain("a:b~1@x.y_z-") as browser:
        await browser.ask("hello", extra="ignored", client_message_id="ignored too")
    request = agent.requests[0]
    assert request.method == "POST"
    assert request.path == "/agent/message/stream"
    assert request.json == {"session_id": "a:b~1@x.y_z-", "type": "user_message", "content": "hello"}
    assert request.headers["x-internal-auth"] == "test-internal-key"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"]
    assert request.headers["connection"] == "close"
    assert request.headers["x-request-id"]
    assert "x-subject" not in request.headers


async def test_keys_are_rotated_first_one_is_sent(plain, agent, configure):
    configure(INTERNAL_API_KEY="new-key, old-key")
    async with plain() as browser:
        await browser.ask("hello")
    assert agent.requests[0].headers["x-internal-auth"] == "new-key"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "hello",
        "1",
        "null",
        "true",
        '"user_message"',
        "[]",
        '[{"type":"user_message","content":"x"}]',
        "{}",
        '{"type":1}',
        '{"type":null}',
        '{"type":"user_message"}',
        '{"type":"user_message","content":1}',
        '{"type":"user_message","content":null}',
        '{"type":"user_message","content":["x"]}',
        '{"content":"x"}',
        '{"type":"unknown","content":"x"}',
        '{"type":"tool_result","content":"x"}',
        '{"type":"assistant_message","content":"x"}',
        '{"type":"user_message","content":NaN}',
        '{"type":"user_message","content":"x","y":NaN}',
        '{"type":"user_message","content":"x","y":1e999}',
        "[" * 10_000,
        '{"type":"user_message","content":' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"type":"user_message","content":"x","y":' + '{"y":' * 10_000 + "1" + "}" * 10_001,
    ],
)
async def test_bad_frame_gets_error_and_reaches_nobody(plain, agent, text):
    agent.script = [Token("a"), Stall()]
    async with plain() as browser:
        await browser.say("first")
        assert (await browser.frame())["token"] == "a"
        await browser.send_text(text)
        assert await browser.frame() == INVALID
        assert await browser.is_quiet()  # the turn in flight is undisturbed
        await browser.cancel()
        assert await browser.frame() == FINAL
    assert len(agent.requests) == 1


async def test_binary_frame_gets_error_and_socket_stays_open(plain, agent):
    async with plain() as browser:
        await browser.send_bytes(b'{"type":"user_message","content":"x"}')
        assert await browser.frame() == INVALID
        assert await browser.ask("still there") == "still there"
    assert len(agent.requests) == 1


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r'{"type":"user_message","content":"\ud83d x"}', "\ud83d x"),
        ('{"type":"user_message","content":"a","content":"b"}', "b"),
        ('{"type":"user_message","content":""}', ""),
        ('{"type":"user_message","content":"x","turn_id":7,"on_busy":"never","client_message_id":[]}', "x"),
        ('{"type":"user_message","content":"\\u0000\\u2028\\u007f"}', "\0\u2028\x7f"),
        (' \n{"type":"user_message","content":"x"}\t', "x"),
    ],
    ids=["lone surrogate", "duplicate key", "empty content", "unknown fields", "odd characters", "white space"],
)
async def test_odd_but_valid_message_reaches_agent_as_it_was_meant(plain, agent, text, content):
    agent.script = [Token("ok"), Final()]
    async with plain() as browser:
        await browser.send_text(text)
        assert await browser.answer() == "ok"
    assert agent.requests[0].json == {"session_id": "s", "type": "user_message", "content": content}


async def test_half_characters_of_two_tokens_are_whole_in_the_browser(plain, agent):
    agent.script = [Token("\ud83d"), Token("\ude00"), Final()]
    async with plain() as browser:
        await browser.say("smile")
        texts = [await browser.text() for _ in range(3)]
    joined = json.loads('"' + "".join(text.split('"token":"')[1].split('"')[0] for text in texts) + '"')
    assert joined == "\U0001f600"


async def test_message_at_the_limit_passes_and_one_byte_over_is_refused_in_words(plain, agent, configure):
    configure(MAX_MESSAGE_BYTES="1024")
    agent.script = [Token("ok"), Final()]
    frame = {"type": "user_message", "content": "ü"}
    frame["content"] += "x" * (1024 - len(json.dumps(frame, ensure_ascii=False).encode()))
    async with plain() as browser:
        await browser.send_text(json.dumps(frame, ensure_ascii=False))
        assert await browser.answer() == "ok"
        frame["content"] += "x"
        await browser.send_text(json.dumps(frame, ensure_ascii=False))
        assert "too long" in await browser.error()
    assert len(agent.requests) == 1


async def test_messages_are_answered_one_at_a_time_in_order(plain, agent):
    async with plain() as browser:
        for word in ("one", "two", "three"):
            await browser.say(word)
        assert [await browser.answer() for _ in range(3)] == ["one", "two", "three"]
    assert [request.content for request in agent.requests] == ["one", "two", "three"]


async def test_queue_over_its_bound_refuses_the_message_and_keeps_the_others(plain, agent, configure):
    configure(MAX_QUEUE="1")
    go_on = asyncio.Event()
    agent.on("first", [Token("1"), Wait(go_on), Final()])
    async with plain() as browser:
        await browser.say("first")
        await browser.frame()
        await browser.say("second")
        await browser.say("third")
        assert "waiting" in await browser.error()
        go_on.set()
        assert await browser.frame() == FINAL
        assert await browser.answer() == "second"
    assert [request.content for request in agent.requests] == ["first", "second"]


async def test_cancel_stops_the_answer_and_the_next_message_works(plain, agent):
    agent.on("long", [Token("par"), Token("tial"), Stall()])
    async with plain() as browser:
        await browser.say("long")
        assert text_of([await browser.frame(), await browser.frame()]) == "partial"
        await browser.cancel()
        assert await browser.frame() == FINAL
        await agent.wait_disconnected(1)
        assert await browser.ask("next") == "next"


async def test_cancel_with_nothing_to_stop_is_no_error(plain):
    async with plain() as browser:
        await browser.cancel()
        assert await browser.is_quiet()
        assert await browser.ask("hello") == "hello"


async def test_every_socket_of_a_session_sees_every_turn_and_no_other_sessions(plain):
    async with plain("a") as one, plain("a") as two, plain("b") as other:
        await one.say("hello you")
        assert await one.answer() == await two.answer() == "hello you"
        assert await other.is_quiet()


async def test_socket_that_opens_mid_answer_gets_it_from_its_first_token(plain, agent):
    go_on = asyncio.Event()
    agent.script = [Token("a"), Token("b"), Wait(go_on), Token("c"), Final()]
    async with plain() as one:
        await one.say("x")
        await one.frame()
        await one.frame()
        async with plain() as two:
            assert [(await two.frame())["token"], (await two.frame())["token"]] == ["a", "b"]
            go_on.set()
            assert await two.answer() == "c"


async def test_socket_that_opens_mid_answer_after_trimming_gets_text_so_far_as_one_token(plain, agent, configure):
    configure(BUFFER_SIZE="16")
    gates = [asyncio.Event() for _ in range(5)]  # a few tokens at a time, so that the first viewer keeps up
    steps = [
        [*(Token(f'"{8 * group + number}') for number in range(8)), Wait(gate)] for group, gate in enumerate(gates)
    ]
    agent.script = [*(step for group in steps for step in group), Token("end"), Final()]
    async with plain() as one:
        await one.say("x")
        for group in range(5):
            for _ in range(8):
                await one.frame()
            if group < 4:
                gates[group].set()
        async with plain() as two:
            so_far = await two.frame()
            assert so_far == {**TOKEN, "token": "".join(f'"{number}' for number in range(40))}
            gates[4].set()
            assert await two.answer() == "end"


async def test_socket_that_opens_on_an_idle_session_gets_nothing(plain):
    async with plain() as one:
        await one.ask("hello")
    async with plain() as two:
        assert await two.is_quiet()


async def test_turn_goes_on_when_every_socket_has_gone(plain, v1, agent):
    go_on = asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Token("b"), Final()]
    async with plain() as browser:
        await browser.say("x")
        await browser.frame()
    go_on.set()
    async with v1(query="offset=0") as browser:  # it sees the answer whole, also when that has ended
        assert await browser.answer() == "ab"
    assert agent.disconnects == []


async def test_forwarded_kind_reaches_agent_whole(plain, agent, configure):
    configure(FORWARD_TYPES="tool_result, switch_agent")
    message = {"type": "tool_result", "id": 7, "result": {"x": [1, 2.5, None]}, "session_id": "not mine"}
    async with plain() as browser:
        await browser.send({**message, "client_message_id": "c", "on_busy": "reject"})
        await browser.turn()
        await browser.send({"type": "hitl_decision"})
        assert await browser.frame() == INVALID
    assert agent.requests[0].json == {**message, "session_id": "s"}


async def test_other_events_of_the_agent_are_passed_on_as_they_came(plain, agent):
    call = {"type": "tool_call", "name": "ü", "args": {"x": [1, 2.5, None, True]}, "code": "mine"}
    agent.script = [Event({**call, "turn_id": "t", "offset": 9}), Final()]
    async with plain() as browser:
        await browser.say("x")
        assert await browser.turn() == [call, FINAL]


WRONG_PATHS = [
    *["/", "/ws/", "/ws", "/ws//", "/ws/./", "/ws/../", "/ws/a/b/", "/ws/a b/", "/ws/ä/", "/ws/a\n/", "/ws/a/\n"],
    *["/ws/%2e/", "/ws/" + "x" * 129 + "/", "/WS/a/", "/ws/a//", "/health", "/ws/a\0/", "/ws/a?/"],
]


@pytest.mark.parametrize("path", WRONG_PATHS)
async def test_wrong_path_or_id_is_refused_at_the_handshake(application, path):
    from tests.clients import CommunicatorClient

    client = CommunicatorClient(application, "/")
    client.communicator.scope["path"] = path
    async with client:
        assert not client.is_accepted


@pytest.mark.parametrize("session_id", ["a", "x" * 128, "...", "a.b", "-", "~", "@", ":", "_", "0"])
async def test_right_id_is_accepted_with_and_without_last_slash(application, session_id):
    from tests.clients import CommunicatorClient

    for path in (f"/ws/{session_id}/", f"/ws/{session_id}"):
        async with CommunicatorClient(application, path) as client:
            assert client.is_accepted
            assert client.subprotocol is None


async def test_other_subprotocols_are_served_plain_and_none_is_selected(application):
    from tests.clients import CommunicatorClient

    async with CommunicatorClient(application, "/ws/s/", ["graphql-ws", "gateway.v2"]) as client:
        assert client.subprotocol is None
        assert await client.ask("hello") == "hello"
