"""OpenAI's API over a session: what its clients send and get."""

from __future__ import annotations

import asyncio

import pytest

from relay.adapters import turn_stream
from relay.delivery.subscription import ResumableSubscription
from relay.exceptions import NotOwner, SessionDeleted
from relay.process import lifecycle
from relay.protocol.frames import Snapshot
from tests.api.adapters import opened, read
from tests.clients import LIMIT_SECONDS
from tests.processes import KEY
from tests.scripted_agent import Break, Event, Final, Stall, Token

PATH = "/v1/chat/completions"
BEARER = {"Authorization": f"Bearer {KEY}"}


def asked(words="Hi", *, stream=True, **more):
    return {"model": "m", "stream": stream, "messages": [{"role": "user", "content": words}], **more}


def text_of(events):
    return "".join(
        choice["delta"].get("content", "") for event in events if event != "[DONE]" for choice in event["choices"]
    )


@pytest.fixture(autouse=True)
def _switched_on(configure):
    configure(ADAPTERS="openai")


async def test_answer_is_streamed_and_ends_after_its_last_event(http, agent):
    agent.script = [Token("zwölf "), Token("\ud83d"), Token("\ude42"), Final("length")]
    answer, body = await read(http, "POST", PATH, body=asked())
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert text_of(body.events).encode("utf-16", "surrogatepass").decode("utf-16") == "zwölf 🙂"
    assert body.events[-2]["choices"][0]["finish_reason"] == "length"
    assert (body.events[-1], body.is_whole) == ("[DONE]", True)


async def test_members_that_are_named_go_to_the_agent_beside_the_words(http, agent, configure):
    configure(MESSAGE_FIELDS="temperature")
    agent.script = [Final()]
    await read(http, "POST", PATH, body=asked("Hi", temperature=0.5, top_p=1, metadata={"session_id": "s"}))
    (request,) = agent.requests
    assert request.json == {"session_id": "s", "type": "user_message", "content": "Hi", "temperature": 0.5}


async def test_answer_in_one_piece(http, agent):
    usage = Event({"type": "usage", "input_tokens": 3, "output_tokens": 4})
    agent.script = [Event({"type": "reasoning", "token": "hm"}), Token("a "), Token('"b"'), usage, Final()]
    answer = await http.post(PATH, asked(stream=False))
    fields = answer.json()
    (choice,) = fields["choices"]
    assert (answer.status, fields["object"], fields["model"]) == (200, "chat.completion", "m")
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ('a "b"', "hm")
    assert (choice["finish_reason"], fields["usage"]["total_tokens"]) == ("stop", 7)


async def test_failed_turn_is_an_error_that_is_not_asked_again(http, agent):
    agent.script = [Token("a"), Event({"type": "error", "content": "no quota"})]
    answer = await http.post(PATH, asked(stream=False))
    assert (answer.status, answer.headers["x-should-retry"]) == (502, "false")
    assert answer.json()["error"] == {
        "message": "no quota",
        "type": "server_error",
        "param": None,
        "code": "upstream_error",
    }
    _, body = await read(http, "POST", PATH, body=asked("again"))
    assert (body.events[-1]["error"]["message"], body.is_whole) == ("no quota", True)


@pytest.mark.parametrize(
    "headers", [{"X-OpenWebUI-Chat-Id": "s"}, {"X-Session-Id": "s"}, {"metadata": "s"}], ids=["webui", "header", "body"]
)
async def test_session_is_named_and_can_be_watched(http, v1, agent, headers):
    agent.script = [Token("a"), Final()]
    metadata = {"metadata": {"session_id": headers.pop("metadata")}} if "metadata" in headers else {}
    async with v1("s") as browser:
        await http.post(PATH, asked(stream=False, **metadata), headers=headers)
        assert await browser.answer() == "a"


async def test_task_about_a_conversation_is_no_turn_of_it(http, agent):
    agent.script = [Token("a title"), Final()]
    await http.post(PATH, asked(stream=False), headers={"X-OpenWebUI-Chat-Id": "s", "X-OpenWebUI-Task": "title"})
    assert await (await lifecycle.current()).layer.get("s") is None


async def test_empty_name_of_a_task_is_a_turn(http, agent):
    """Open WebUI sends each header that its settings list, also where there is nothing to say."""
    agent.script = [Token("a"), Final()]
    await http.post(PATH, asked(stream=False), headers={"X-OpenWebUI-Chat-Id": "s", "X-OpenWebUI-Task": ""})
    assert await (await lifecycle.current()).layer.get("s") is not None


@pytest.mark.parametrize("name", ["X-OpenWebUI-User-Message-Id", "Idempotency-Key"])
async def test_same_message_twice_is_answered_once(http, agent, name):
    agent.script = [Token("a"), Final()]
    headers = {"X-Session-Id": "s", name: "m 1"}
    first = await http.post(PATH, asked(stream=False), headers=headers)
    _, second = await read(http, "POST", PATH, body=asked(), headers=headers)
    assert text_of(second.events) == first.json()["choices"][0]["message"]["content"] == "a"
    assert len(agent.requests) == 1


async def test_only_the_last_message_is_a_new_turn(http, agent):
    agent.script = [Token("a"), Final()]
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    body = {"messages": [*history, {"role": "user", "content": [{"type": "text", "text": "three"}]}]}
    await http.post(PATH, body)
    assert [request.json["content"] for request in agent.requests] == ["three"]


async def test_conversation_before_the_last_message_may_be_long(http, agent, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 8_388_608
    agent.script = [Token("a"), Final()]
    before = [{"role": "user", "content": "x" * 4_000_000}, {"role": "assistant", "content": [[[[]]]]}]
    last = {"role": "user", "content": "last"}
    assert (await http.post(PATH, {"messages": [*before, last]})).status == 200
    assert agent.requests[0].json["content"] == "last"


async def test_half_a_character_passes(http, agent):
    agent.script = [Token("a"), Final()]
    half = [{"role": "user", "content": "\ud83d"}, {"role": "user", "content": "last \ud83d"}]
    assert (await http.post(PATH, {"messages": half})).status == 200
    assert agent.requests[0].json["content"] == "last \ud83d"
    assert (await http.post(PATH, half)).status == 400


@pytest.mark.parametrize(
    "body",
    [{"messages": [[]] * 600_000}, {**asked(), "x": [[]] * 70_000}, b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"],
    ids=["messages", "members", "nested"],
)
async def test_body_of_very_many_parts_is_refused_unparsed(http, agent, body):
    assert (await http.post(PATH, body)).status == 400
    assert agent.requests == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON message"),
        (b"[]", "Invalid JSON message"),
        ({"messages": 7}, "Invalid request: messages must have a message."),
        ({"messages": []}, "Invalid request: messages must have a message."),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "Invalid request: the last message must be the user's.",
        ),
        ({"messages": [{"role": "user", "content": ""}]}, "Invalid request: the last message is empty."),
        (asked(model=7), "Invalid request: model must be a text."),
    ],
)
async def test_bad_body_is_refused_in_words(http, agent, body, words):
    answer = await http.post(PATH, body)
    assert (answer.status, answer.json()["error"]["message"]) == (400, words)
    assert (answer.json()["error"]["type"], agent.requests) == ("invalid_request_error", [])


@pytest.mark.parametrize(
    "body",
    [
        asked("x" * 2_000),
        {"messages": [{"role": "user", "content": [{"type": "image_url", "url": "x" * 2_000}]}]},
        asked(padding="x" * 20_000),
        asked(padding="x" * 9_000_000),
    ],
    ids=["words", "parts", "members", "body"],
)
async def test_what_is_too_large_is_refused_in_words(http, agent, configure, body, settings):
    configure(MAX_MESSAGE_BYTES="1024", MAX_EVENT_BYTES="1024")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    answer = await http.post(PATH, body)
    assert (answer.status, answer.json()["error"]["code"]) == (413, "message_too_large")
    assert agent.requests == []


async def test_message_that_is_nested_too_deeply_is_refused(http, configure):
    configure(MAX_JSON_DEPTH="3")
    part = {"type": "x", "a": [[[]]]}
    answer = await http.post(PATH, {"messages": [{"role": "user", "content": [part]}]})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_request")


async def test_models_and_what_there_is_not(http):
    listed = await http.get("/v1/models", key=None, headers=BEARER)
    assert listed.headers["cache-control"] == "no-store"
    assert [model["id"] for model in listed.json()["data"]] == ["agent"]
    missing = await http.post("/v1/embeddings", {}, key=None)
    assert (missing.status, missing.json()["error"]["code"]) == (404, "unknown_url")
    assert missing.headers["x-should-retry"] == "false"
    assert (await http.get(PATH)).status == 405


async def test_adapter_that_is_not_switched_on_is_unknown(http, configure):
    configure(ADAPTERS="")
    assert (await http.post(PATH, asked(), key=None, headers=BEARER)).status == 401
    for path in (PATH, "/v1/models", "/v1/x"):
        answer = await http.get(path)
        assert (answer.status, answer.json()) == (404, {"detail": "not found"})


# Access.


async def test_the_key_or_what_the_policy_admits(http, configure, agent):
    agent.script = [Token("a"), Final()]
    configure(WS_AUTH="ticket")
    assert (await http.post(PATH, asked(stream=False), key=None, headers=BEARER)).status == 200
    ticket = (await http.post("/api/v1/tickets", {"session_id": "s", "subject": "ann"})).json()["ticket"]
    headers = {"Authorization": f"Bearer {ticket}", "X-Session-Id": "s"}
    assert (await http.post(PATH, asked(stream=False), key=None, headers=headers)).status == 200
    for wrong in ({}, {"Authorization": "Bearer wrong"}, headers):  # a ticket is good once
        answer = await http.post(PATH, asked(stream=False), key=None, headers=wrong)
        assert (answer.status, answer.json()["error"]["type"]) == (401, "authentication_error")
        assert (await http.get("/v1/models", key=None, headers=wrong)).status == 401


async def test_page_of_another_origin_and_another_subject_are_refused(http, configure, monkeypatch):
    configure(ALLOWED_ORIGINS="https://chat.example")
    answer = await http.post(PATH, asked(), key=None, headers={"Origin": "https://evil.example"})
    assert (answer.status, answer.json()["error"]["type"]) == (403, "permission_error")

    async def attach(*_):
        raise NotOwner

    monkeypatch.setattr((await lifecycle.current()).layer, "attach", attach)
    assert (await http.post(PATH, asked())).status == 403


async def test_limits_are_those_of_sockets(http, configure, agent):
    agent.script = [Token("a"), Final()]
    configure(RATE_LIMIT="1", ADDRESS_MAX_SOCKETS="1")
    headers = {"X-Session-Id": "s"}
    assert (await http.post(PATH, asked(stream=False), headers=headers)).status == 200
    answer = await http.post(PATH, asked(stream=False), headers=headers)
    assert (answer.status, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    gateway = await lifecycle.current()
    assert (len(gateway.connections), gateway.connection_limiter._taken) == (0, {})
    assert (await gateway.layer.get("s")).viewers == 0


async def test_pages_may_send_and_read_the_headers(http, settings):
    settings.CORS_ALLOWED_ORIGIN_REGEXES = [r"\Ahttps://chat\.example\Z"]
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-session-id"}
    answer = await http.request("OPTIONS", PATH, key=None, headers={"Origin": "https://chat.example", **asking})
    assert {"authorization", "x-session-id", "x-stainless-lang"} <= set(
        answer.headers["access-control-allow-headers"].split(", ")
    )


# Ends.


async def disconnect(reason=None):
    (connection,) = (await lifecycle.current()).connections
    await connection.disconnect(reason)


@pytest.mark.parametrize("reason", [None, SessionDeleted()])
async def test_answer_that_the_gateway_leaves_breaks_off(http, agent, reason):
    agent.script = [Token("a"), Stall()]
    async with opened(http, "POST", PATH, body=asked()) as reader:
        while text_of([await reader.event()]) != "a":
            pass
        await disconnect(reason)
        body = await reader.rest()
    assert (body.events, body.is_whole) == ([], False)


async def test_deleted_session_breaks_off(http, agent):
    agent.script = [Token("a"), Stall()]
    async with opened(http, "POST", PATH, body=asked(), headers={"X-Session-Id": "s"}) as reader:
        await reader.event()
        await (await lifecycle.current()).layer.delete("s")
        assert not (await reader.rest()).is_whole


async def test_bug_breaks_off(http, agent, monkeypatch):
    def fail(*_):
        raise ValueError

    agent.script = [Token("a"), Final()]
    monkeypatch.setattr("relay.adapters.openai.OpenAITranslator.on_final", fail)
    _, body = await read(http, "POST", PATH, body=asked())
    assert not body.is_whole


@pytest.mark.parametrize("position", ["before", "within"])
async def test_trimmed_frames_break_off(http, agent, monkeypatch, position):
    async def batches(self, sink):
        async for batch in given(self):
            snapshot = Snapshot(self.position.epoch, 9, "trimmed", "T", "of another turn")
            yield snapshot if position == "before" else batch
            yield snapshot

    agent.script = [Token("a"), Stall()]
    given = ResumableSubscription.batches
    monkeypatch.setattr(ResumableSubscription, "batches", batches)
    _, body = await read(http, "POST", PATH, body=asked())
    assert (bool(body.events), body.is_whole) == (position == "within", False)


async def test_answer_in_one_piece_that_is_left_is_an_error(http, agent):
    agent.script = [Token("a"), Stall()]
    asking = asyncio.create_task(http.post(PATH, asked(stream=False)))
    await agent.wait_requests(1)
    async with asyncio.timeout(LIMIT_SECONDS):
        while not (await lifecycle.current()).connections:
            await asyncio.sleep(0)
    await disconnect()
    answer = await asking
    assert (answer.status, answer.json()["error"]["code"]) == (503, "server_restart")


async def test_agents_broken_answer_is_an_error_and_a_whole_body(http, agent):
    agent.script = [Token("a"), Break()]
    _, body = await read(http, "POST", PATH, body=asked())
    assert (body.events[-1]["error"]["code"], body.is_whole) == ("upstream_eof", True)


async def test_client_that_hangs_up_before_the_answer_takes_nothing_with_it(http, agent):
    agent.script = [Token("a"), Stall()]
    async with http.open("POST", PATH, body=asked(), headers={"X-Session-Id": "s"}):
        pass
    gateway = await lifecycle.current()
    assert (len(gateway.connections), gateway.connection_limiter._taken) == (0, {})
    assert (await gateway.layer.get("s")).viewers == 0


async def test_answer_that_is_no_longer_kept_is_said_to_be_gone(http, agent, configure):
    configure(BUFFER_SIZE="16")
    agent.script = [Token("a"), Final()]
    first = {"X-Session-Id": "s", "Idempotency-Key": "first"}
    await http.post(PATH, asked(stream=False), headers=first)
    for number in range(8):
        await http.post(PATH, asked(f"{number}", stream=False), headers={"X-Session-Id": "s"})
    answer = await http.post(PATH, asked(stream=False), headers=first)
    assert (answer.status, answer.json()["error"]["code"]) == (409, "answer_gone")


async def test_long_answer_is_given_again_from_its_snapshot(http, agent, configure):
    configure(BUFFER_SIZE="16")
    agent.script = [*(Token(f"{number} ") for number in range(40)), Final()]
    headers = {"X-Session-Id": "s", "Idempotency-Key": "first"}
    wanted = "".join(f"{number} " for number in range(40))
    await http.post(PATH, asked(stream=False), headers=headers)
    _, body = await read(http, "POST", PATH, body=asked(), headers=headers)
    assert (text_of(body.events), body.is_whole, len(agent.requests)) == (wanted, True, 1)


async def test_client_that_comes_while_the_gateway_drains_is_refused(http, agent, monkeypatch):
    gateway = await lifecycle.current()

    async def attach(*_):
        gateway.is_draining = True
        return 1

    monkeypatch.setattr(gateway.layer, "attach", attach)
    for code in ("shutting_down", "server_restart"):
        answer = await http.post(PATH, asked())
        assert (answer.status, answer.json()["error"]["code"]) == (503, code)
        assert int(answer.headers["retry-after"]) >= 1
    assert (agent.requests, gateway.connection_limiter._taken) == ([], {})


async def test_answer_of_a_long_turn_comes_in_bounded_chunks(http, agent, monkeypatch):
    agent.script = [*(Token("x" * 50) for _ in range(40)), Final()]
    headers = {"X-Session-Id": "s", "Idempotency-Key": "m"}
    await http.post(PATH, asked(stream=False), headers=headers)
    monkeypatch.setattr(turn_stream, "CHUNK_BYTES", 200)
    async with http.open("POST", PATH, body=asked(), headers=headers) as (_, chunks):
        assert max([len(chunk) async for chunk in chunks]) < 1_000


async def test_turn_in_flight_of_which_frames_are_gone_starts_with_its_text_so_far(http, v1, agent, configure):
    configure(BUFFER_SIZE="16")
    agent.script = [*(Token(f"{number} ") for number in range(40)), Stall()]
    headers = {"X-Session-Id": "s", "Idempotency-Key": "m"}
    async with v1() as browser, opened(http, "POST", PATH, body=asked(), headers=headers):
        while "39 " not in str(await browser.frame()):
            pass
        async with opened(http, "POST", PATH, body=asked(), headers=headers) as reader:
            events = [await reader.event() for _ in range(2)]
            assert text_of(events) == "".join(f"{number} " for number in range(40))
            await browser.cancel()
            assert (await reader.rest()).is_whole


async def test_notices_are_not_in_the_answer(http, agent):
    agent.script = [Token("a"), Stall()]
    async with opened(http, "POST", PATH, body=asked()) as reader:
        while text_of([await reader.event()]) != "a":
            pass
        (connection,) = (await lifecycle.current()).connections
        await connection.notify("words of an operator")
        await disconnect()
        assert (await reader.rest()).events == []


async def test_silence_is_filled_with_comments(http, agent, configure):
    configure(HEARTBEAT_SECONDS="0.2")
    agent.script = [Token("a"), Stall()]
    async with http.open("POST", PATH, body=asked()) as (_, chunks):
        async with asyncio.timeout(LIMIT_SECONDS):
            while await anext(chunks) != b":\n":
                pass


@pytest.mark.parametrize("length", ["x", "9000000"])
async def test_body_whose_length_is_wrong_or_too_large_is_refused_unread(http, settings, length):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 8_388_608
    answer = await http.post(PATH, asked(), headers={"Content-Length": length})
    assert answer.status == (400 if length == "x" else 413)
