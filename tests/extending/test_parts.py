"""The parts of the project, each by itself."""

from base64 import urlsafe_b64encode

import pytest

from tests.api.adapters import read
from tests.clients import V1, CommunicatorClient, text_of
from tests.http_clients import API
from tests.scripted_agent import Event, Final, Head, Send, Token


@pytest.fixture
def answering(configure):
    """Let the project's function be the agent."""
    configure(AGENT_PROTOCOL="helpdesk.agent.answer", MESSAGE_FIELDS="locale")


def badged(application, badge, path="/ws/s/"):
    credential = urlsafe_b64encode(badge.encode()).decode().rstrip("=")
    return CommunicatorClient(application, path, [V1, f"gateway.ticket.{credential}"])


async def test_the_policy_admits_a_badge_and_gives_the_session_its_owner(application, configure):
    configure(WS_AUTH="helpdesk.access.BadgePolicy")
    async with badged(application, "badge-1") as ada:
        assert (await ada.frame())["type"] == "welcome"
        async with badged(application, "badge-2") as bob, badged(application, "badge-3") as stranger:
            assert (await bob.frame())["code"] == "forbidden"
            assert (await stranger.frame())["code"] == "unauthorized"


async def test_the_policy_limits_visits_in_all_workers(application, configure, monkeypatch):
    from helpdesk import access

    monkeypatch.setattr(access, "VISITS", access.Rate(count=1, seconds=3_600))
    configure(WS_AUTH="helpdesk.access.BadgePolicy")
    for kind in ("welcome", "disconnect"):
        async with badged(application, "badge-1") as ada:
            assert (await ada.frame())["type"] == kind


async def test_the_function_answers_knows_the_history_and_fails_in_its_own_words(v1, answering):
    async with v1() as browser:
        assert await browser.ask("Where is the printer?", locale="de") == "Hallo , the printer is on the second floor."
        await browser.say("And the scanner?")
        assert (await browser.frame_of("reasoning"))["token"] == "1 questions before this one"
        await browser.turn()
        await browser.say(" ")
        assert await browser.error() == "Please ask something."


@pytest.fixture
def lines(agent, configure):
    """Let the agent speak the project's protocol; ``lines(…)`` are its next answers."""
    configure(AGENT_PROTOCOL="helpdesk.protocol.LineProtocol")

    def answer(*said):
        agent.on(lambda content: True, [Head(), *(Send(f"data: {line}\n\n".encode()) for line in said)])

    return answer


async def test_the_protocol_asks_and_reads_in_its_own_form(v1, agent, lines):
    lines("say On the ", "use map", "dance", "say second floor.", "end length", "say too late")
    async with v1() as browser:
        await browser.say("Where is the printer?")
        frames = [frame for frame in await browser.turn() if "turn_id" in frame][2:]
        await browser.ask("And the scanner?")
    kinds = ["assistant_message", "tool_call", "notice", "assistant_message", "assistant_message"]
    assert [frame["type"] for frame in frames] == kinds
    assert (text_of(frames), frames[-1]["finish_reason"]) == ("On the second floor.", "length")
    first, second = agent.requests
    assert (first.path, first.json) == ("/lines", {"talk": "s", "question": "Where is the printer?", "before": []})
    assert second.json["before"] == ["Where is the printer?"]
    assert "x-internal-auth" not in first.headers


async def test_an_answer_of_the_protocol_fails_in_the_agents_words_and_where_it_breaks_off(v1, lines):
    async with v1() as browser:
        lines("say On", "fail no paper at http://printer/", "say never")
        await browser.say("Where is the printer?")
        assert (await browser.frame_of("error"))["content"] == "no paper at [removed]"
        lines("say On")
        await browser.say("Where is the printer?")
        assert (await browser.frame_of("error"))["code"] == "upstream_eof"


async def test_the_end_of_the_response_may_be_that_of_the_answer(v1, lines, monkeypatch):
    from helpdesk.protocol import LineReader

    monkeypatch.setattr(LineReader, "ends_with_body", True)
    lines("say Here.")
    async with v1() as browser:
        assert await browser.ask("Where is the printer?") == "Here."


KIOSK = "/api/v1/adapters/kiosk"
SCRIPT = [Token('"zwei"'), Event({"type": "tool_call", "call_id": "c", "tool_name": "map", "arguments": {}}), Final()]


def asked(words, **more):
    return {"kiosk": "hall 1", "messages": [{"role": "user", "words": words}], **more}


@pytest.fixture
def kiosk(agent, configure):
    configure(ADAPTERS="helpdesk.kiosk.Kiosk,openai", MESSAGE_FIELDS="locale")
    agent.script = SCRIPT


async def test_the_adapter_streams_a_turn_that_others_see_too(http, v1, agent, kiosk):
    async with v1("~aGFsbCAx") as viewer:
        answer, body = await read(http, "POST", KIOSK, body=asked("Where is the printer?", locale="de", other=1))
        assert (await viewer.frame_of("user_message"))["content"] == "Where is the printer?"
        assert text_of(await viewer.turn()) == '"zwei"'
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert (body.events, body.is_whole) == ([{"say": '"zwei"'}, {"use": "map"}, {"end": "stop"}, "bye"], True)
    (request,) = agent.requests
    assert (request.json["content"], request.json["locale"], "other" in request.json) == (
        "Where is the printer?",
        "de",
        False,
    )


async def test_the_adapter_writes_the_error_of_a_turn_and_gives_a_known_message_its_turn(http, agent, kiosk):
    agent.script = [Token("a"), Event({"type": "error", "content": "no paper"})]
    named = {"kiosk": "hall", "messages": [{"role": "user", "words": "Hi", "id": "m-1"}]}
    for _ in range(2):
        _, body = await read(http, "POST", KIOSK, body=named)
        assert body.events == [{"say": "a"}, {"fail": "no paper"}, "bye"]
    assert len(agent.requests) == 1


async def test_the_adapter_is_under_the_access_rules_and_limits_of_the_gateway(http, configure, kiosk):
    configure(MAX_MESSAGE_BYTES="1024", WS_AUTH="helpdesk.access.BadgePolicy")
    with_badge = {"headers": {"Authorization": "Bearer badge-1"}, "key": None}
    assert (await http.post(KIOSK, asked("Hi"), **with_badge)).status == 200
    for body, options, status, code in (
        (asked("Hi"), {"key": None}, 401, "unauthorized"),
        (asked("Hi"), {"headers": {"Origin": "https://evil.example", **with_badge["headers"]}, "key": None}, 403, None),
        (asked("Hi"), {"headers": {"Authorization": "Bearer badge-2"}, "key": None}, 403, "forbidden"),
        (asked("x" * 1_025), {}, 413, "message_too_large"),
        ({"kiosk": "hall"}, {}, 400, "bad_request"),
        (b"no JSON", {}, 400, "bad_request"),
    ):
        answer = await http.post(KIOSK, body, **options)
        assert (answer.status, answer.headers["cache-control"]) == (status, "no-store")
        assert code in (None, answer.json()["error"]["code"])
    assert (await http.get(KIOSK)).status == 405


async def test_the_adapter_refuses_what_is_nested_too_deeply_and_says_when_to_come_back(http, configure, kiosk):
    configure(MAX_JSON_DEPTH="5", RATE_LIMIT="1")
    refused = await http.post(KIOSK, asked("Hi", locale=[[[[[1]]]]]))
    assert (refused.status, refused.json()["error"]["code"]) == (400, "bad_request")
    assert (await http.post(KIOSK, asked("Hi"))).status == 200
    refused = await http.post(KIOSK, asked("Hi"))
    assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) > 0


async def test_a_mistake_in_the_adapter_is_an_error_that_tells_nothing(http, kiosk, monkeypatch, caplog):
    from helpdesk.kiosk import Kiosk

    def mistaken(*_):
        raise ValueError("a secret detail")

    monkeypatch.setattr(Kiosk, "read", mistaken)
    answer = await http.post(KIOSK, asked("Hi"))
    assert (answer.status, answer.json()["error"]["code"]) == (500, "internal")
    assert "adapter request failed" in caplog.text


async def test_an_adapter_that_is_not_named_does_not_exist(http, configure, kiosk):
    assert (await http.post(f"{KIOSK}/x", asked("Hi"))).status == 404
    configure(ADAPTERS="openai")
    assert (await http.post(KIOSK, asked("Hi"))).status == 404
    assert (await http.post(KIOSK, asked("Hi"), key=None)).status == 401


@pytest.fixture
def rating(agent, configure):
    configure(MESSAGE_HANDLERS="rate: helpdesk.kinds.rate", FORWARD_TYPES="note")
    agent.script = [Token("On the second floor."), Final()]


async def test_a_kind_with_a_handler_is_a_turn_that_the_agent_does_not_get(v1, plain, http, agent, rating):
    async with v1() as browser, plain() as old:
        await browser.ask("Where is the printer?")
        await old.turn()
        await browser.send({"type": "rate", "stars": 5, "client_message_id": "m"})
        frames = await browser.turn()
        assert text_of(frames) == "Thank you."
        assert [frame["type"] for frame in await old.turn()][:2] == ["rated", "assistant_message"]
        assert (await http.post(f"{API}/s/messages", {"type": "rate", "stars": 9})).status == 202
        assert await browser.error() == "Please give one to five stars."
        await browser.send({"type": "note"})
        await browser.turn()
    assert {name: frames[1][name] for name in ("type", "stars")} == {"type": "rate", "stars": 5}
    assert [request.json["type"] for request in agent.requests] == ["user_message", "note"]


async def test_without_a_handler_the_kind_is_unknown(v1, configure, rating):
    configure(MESSAGE_HANDLERS="")
    async with v1() as browser:
        await browser.send({"type": "rate", "stars": 5})
        assert (await browser.frame_of("error"))["code"] == "bad_request"


async def test_openapi_describes_the_kind(http, rating):
    described = (await http.get("/api/v1/openapi.json")).json()
    body = described["paths"]["/api/v1/sessions/{session_id}/messages"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["oneOf"][1]["properties"]["type"] == {"enum": ["note", "rate"]}
