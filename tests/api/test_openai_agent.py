"""A model server as the agent: OpenAI's chunks through the whole gateway."""

import asyncio

import pytest

from tests.clients import text_of
from tests.scripted_agent import Break, ContentType, Head, Reset, Send, Stall, Status, event_bytes

PATH = "/v1/chat/completions"
DONE = Send(b"data: [DONE]\n\n")


def chunk(content=None, finish_reason=None, **fields):
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    return Send(event_bytes({"choices": [choice], **fields}))


HELLO = [chunk(""), chunk("Hel"), chunk("lo"), chunk(finish_reason="stop"), DONE]


@pytest.fixture
def model(agent, configure):
    """A model server; ``model(script)`` is what it answers."""
    configure(AGENT_PROTOCOL="openai")

    def answer(*script):
        agent.on(lambda content: True, script)

    answer(*HELLO)
    return answer


@pytest.mark.parametrize("dialect", ["plain", "v1"])
async def test_each_delta_is_one_token(request, model, dialect):
    async with request.getfixturevalue(dialect)() as browser:
        await browser.say("hi")
        frames = [frame for frame in await browser.turn() if frame["type"] == "assistant_message"]
    assert [frame["token"] for frame in frames] == ["Hel", "lo", ""]
    assert frames[-1]["is_final"]


@pytest.mark.parametrize("end", [[DONE], []], ids=["done", "end of the body"])
async def test_the_models_reason_is_that_of_the_final_frame(v1, model, end):
    usage = Send(event_bytes({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}))
    model(chunk("Hello"), Send(b": alive\n\n"), chunk(finish_reason="length"), usage, *end)
    async with v1() as browser:
        await browser.say("hi")
        frames = await browser.turn()
    assert (frames[-1]["finish_reason"], text_of(frames)) == ("length", "Hello")
    assert (frames[-2]["type"], frames[-2]["input_tokens"], frames[-2]["output_tokens"]) == ("usage", 3, 1)


async def test_it_is_sent_model_key_and_idempotency_key(v1, agent, model, configure):
    configure(AGENT_MODEL="m1", AGENT_API_KEY="sk-secret")
    async with v1() as browser:
        await browser.say("hi")
        turn_id = (await browser.turn())[-1]["turn_id"]
    (request,) = agent.requests
    assert (request.method, request.path) == ("POST", PATH)
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["idempotency-key"] == turn_id
    assert "x-internal-auth" not in request.headers
    assert request.json == {
        "model": "m1",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hi"}],
    }


async def test_what_is_not_configured_is_left_out(plain, agent, model):
    async with plain() as browser:
        await browser.ask("hi")
    (request,) = agent.requests
    assert "authorization" not in request.headers
    assert "model" not in request.json


async def test_it_is_sent_each_sessions_own_history_behind_the_system_prompt(plain, agent, model, configure):
    configure(AGENT_SYSTEM_PROMPT="Be brief.")
    async with plain("s1") as one, plain("s2") as other:
        await one.ask("one")
        await other.ask("other")
        await one.ask("two")
    said = [
        [(message["role"], message["content"]) for message in request.json["messages"]] for request in agent.requests
    ]
    system = ("system", "Be brief.")
    assert said[1] == [system, ("user", "other")]
    assert said[2] == [system, ("user", "one"), ("assistant", "Hello"), ("user", "two")]


async def test_an_answer_stopped_half_way_ends_the_request_and_is_remembered(v1, agent, model):
    model(chunk("Half"), Stall())
    async with v1() as browser:
        await browser.say("one")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        await agent.wait_disconnected(1)
        model(*HELLO)
        await browser.ask("two")
    assert [message["content"] for message in agent.requests[-1].json["messages"]] == ["one", "Half", "two"]


async def test_a_failed_message_is_not_sent_again_as_history(v1, agent, model):
    model(Status(500))
    async with v1() as browser:
        await browser.say("one")
        await browser.turn()
        model(*HELLO)
        await browser.ask("two")
    assert [message["content"] for message in agent.requests[-1].json["messages"]] == ["two"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param([Status(400)], "upstream_error", id="400"),
        pytest.param([Status(401, body=b"sk-secret is wrong")], "upstream_error", id="401"),
        pytest.param([Status(404)], "upstream_error", id="404"),
        pytest.param([Status(429)], "upstream_unavailable", id="429"),
        pytest.param([Status(500)], "upstream_error", id="500"),
        pytest.param([Status(302, {"Location": "/elsewhere"})], "upstream_error", id="redirect"),
        pytest.param([chunk("Hel")], "upstream_eof", id="the stream ends early"),
        pytest.param([chunk("Hel"), Break()], "upstream_eof", id="broken off"),
        pytest.param([chunk("Hel"), Reset()], "upstream_eof", id="reset"),
        pytest.param(
            [chunk("Hel"), Send(event_bytes({"error": {"message": "sk-secret"}}))], "upstream_error", id="error"
        ),
        pytest.param([Send(b"data: not JSON\n\n"), DONE], "upstream_protocol", id="no JSON"),
        pytest.param([Send(event_bytes({"choices": 7})), DONE], "upstream_protocol", id="another shape"),
        pytest.param([Send(b"data: " + b"x" * 1_100_000)], "upstream_protocol", id="endless event"),
        pytest.param([ContentType("application/json"), Head(), Send(b"{}")], "upstream_protocol", id="no stream"),
    ],
)
async def test_a_failure_is_one_error_in_plain_words(v1, agent, model, configure, script, code):
    configure(AGENT_API_KEY="sk-secret")
    model(*script)
    async with v1() as browser:
        await browser.say("hi")
        frames = await browser.turn()
    assert [frame["type"] for frame in frames].count("error") == 1
    assert frames[-1]["code"] == code
    assert "secret" not in frames[-1]["content"]
    assert agent.url not in frames[-1]["content"]


async def test_silence_is_given_up(v1, model, configure):
    configure(REQUEST_TIMEOUT="0.1")
    model(chunk("Hel"), Stall())
    async with v1() as browser:
        await browser.say("hi")
        assert (await browser.turn())[-1]["code"] == "upstream_timeout"


async def test_a_server_that_is_not_there_is_unavailable(v1, agent, model, monkeypatch):
    monkeypatch.setattr("relay.agent.asking.CONNECT_SECONDS", 0.0)
    agent.refuse()
    async with v1() as browser:
        await browser.say("hi")
        assert (await browser.turn())[-1]["code"] == "upstream_unavailable"


async def test_a_forwarded_kind_is_its_json(plain, agent, model, configure):
    configure(FORWARD_TYPES="tool_result")
    async with plain() as browser:
        await browser.send({"type": "tool_result", "call_id": "c"})
        await browser.turn()
    assert agent.requests[0].json["messages"] == [{"role": "user", "content": '{"type":"tool_result","call_id":"c"}'}]


async def test_a_tool_call_and_reasoning_are_events_in_order(v1, model):
    call = {"index": 0, "id": "c1", "function": {"name": "search", "arguments": '{"q":'}}
    rest = {"index": 0, "function": {"arguments": "1}"}}
    deltas = [{"reasoning_content": "hm"}, {"content": "Wait."}, {"tool_calls": [call]}, {"tool_calls": [rest]}]
    model(
        *(Send(event_bytes({"choices": [{"index": 0, "delta": delta}]})) for delta in deltas),
        chunk(finish_reason="tool_calls"),
        DONE,
    )
    async with v1() as browser:
        await browser.say("hi")
        frames = (await browser.turn())[-4:]
    assert [frame["type"] for frame in frames] == ["reasoning", "assistant_message", "tool_call", "assistant_message"]
    assert (frames[2]["call_id"], frames[2]["tool_name"], frames[2]["arguments"]) == ("c1", "search", {"q": 1})
    assert frames[-1]["finish_reason"] == "tool_calls"


async def test_two_sessions_are_answered_at_the_same_time(plain, agent, model):
    async with plain("s1") as one, plain("s2") as two:
        assert await asyncio.gather(one.ask("a"), two.ask("b")) == ["Hello", "Hello"]
