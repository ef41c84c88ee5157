"""Agents by both packages, as a gateway's clients hear them, and request by request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS, V1, SocketClient
from tests.e2e.test_doctor import run
from tests.sdk.conftest import Start
from tests.server.conftest import until

PLACES = {  # the package, and the path
    "alone": ("python", "/anything"),
    "fastapi": ("python", "/fastapi/agent"),
    "starlette": ("python", "/starlette/agent/message/stream"),
    "django": ("python", "/django/agent"),
    "node": ("javascript", "/agent/message/stream"),
    "node-parsed": ("javascript", "/parsed"),
}
KEY = {"X-Internal-Auth": processes.KEY}
KEEP_ALIVE = b": still there\n\n"


@pytest.fixture(scope="module", params=PLACES.values(), ids=PLACES)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def agent(place: tuple[str, str], start_agent: Start) -> processes.Process:
    return start_agent(place[0])


@pytest.fixture
def path(place: tuple[str, str]) -> str:
    return place[1]


@pytest.fixture(scope="module")
def gateway(place: tuple[str, str], agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("serve", agent.http_url, AGENT_PATH=place[1]) as gateway:
        yield gateway


@pytest.fixture
async def browser(gateway: processes.Process) -> AsyncIterator[SocketClient]:
    async with SocketClient(f"{gateway.ws_url}/ws/{uuid4().hex}/", [V1]) as browser:
        yield browser


@pytest.fixture
async def http(agent: processes.Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=agent.http_url, timeout=LIMIT_SECONDS) as client:
        yield client


async def ask(browser: SocketClient, content: str) -> list[dict]:
    """The frames of an answer, without the log's fields."""
    await browser.say(content)
    frames = [frame for frame in await browser.turn() if frame["type"] not in ("welcome", "accepted", "user_message")]
    return [{name: frame[name] for name in frame if name not in ("turn_id", "offset")} for frame in frames]


def token(text: str) -> dict:
    return {"type": "assistant_message", "token": text, "is_final": False}


def final(reason: str = "stop") -> dict:
    return {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": reason}


async def test_texts_are_tokens_and_objects_are_events(browser):
    first, call, result, last, end = await ask(browser, "hello")
    assert first["token"].strip() in browser.connection.request.path
    assert call == {"type": "tool_call", "call_id": "1", "tool_name": "look_up", "arguments": {"city": "Paris"}}
    assert result == {"type": "tool_result", "call_id": "1", "result": "hello"}
    assert last["token"].startswith("größer\u2028\r\n")
    assert last["token"].endswith(" 🙂")
    assert end == final()


async def test_last_event_of_the_answer_itself_is_the_end(browser):
    assert await ask(browser, "last_event") == [token("Cut"), final("length")]


async def test_agent_error_ends_the_answer_in_its_words(browser):
    half, error = await ask(browser, "fail")
    assert half == token("Half")
    assert (error["code"], error["content"]) == ("upstream_error", "The model is asleep.")


@pytest.mark.parametrize("content", ["bug", "no_event", "no_json"])
async def test_text_of_any_other_exception_is_only_logged(browser, content):
    error = (await ask(browser, content))[-1]
    assert (error["code"], error["content"]) == ("upstream_error", "The agent could not answer. Try again.")


async def test_the_agent_logs_that_exception(http, path, agent):
    response = await http.post(path, json={"session_id": "s", "content": "bug"}, headers=KEY)
    assert "secret" not in response.text
    await until(lambda: "Error: a secret detail" in agent.output())


async def stop(browser: SocketClient, content: str) -> dict:
    """Ask, wait for a token, stop; give the last frame."""
    await browser.say(content)
    await browser.frame_of("assistant_message")
    await browser.cancel()
    return (await browser.turn())[-1]


async def test_stop_cancels_what_the_answer_awaits(browser, agent):
    started, cancelled = (agent.output().count(f"work {word}") for word in ("started", "cancelled"))
    await browser.say("wait")
    await until(lambda: agent.output().count("work started") > started)
    await browser.cancel()
    assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
    await until(lambda: agent.output().count("work cancelled") > cancelled)
    assert (await ask(browser, "hello"))[-1] == final()


async def test_answer_that_yields_after_its_cancellation_is_ended(browser, agent):
    ended = agent.output().count("went on and ended")
    assert (await stop(browser, "go_on"))["finish_reason"] == "cancelled"
    await until(lambda: agent.output().count("went on and ended") > ended)


async def test_comments_are_sent_while_nothing_is_yielded(http, path, agent):
    """Then the client leaves, and the work ends."""
    cancelled = agent.output().count("work cancelled")
    async with http.stream("POST", path, json={"session_id": "s", "content": "wait"}, headers=KEY) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        body = b""
        async for part in response.aiter_raw():
            body += part
            if body.count(KEEP_ALIVE) == 3:
                break
    assert body.startswith(b"data: {")
    await until(lambda: agent.output().count("work cancelled") > cancelled)


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"method": "GET"}, 405, "POST"),
        ({"method": "POST", "json": {}}, 401, "X-Internal-Auth"),
        ({"method": "POST", "json": {}, "headers": {"X-Internal-Auth": "another"}}, 401, "X-Internal-Auth"),
        ({"method": "POST", "content": b"", "headers": KEY}, 400, "JSON"),
        ({"method": "POST", "content": b"\xff", "headers": KEY}, 400, "JSON"),
        ({"method": "POST", "content": b"[" * 100_000, "headers": KEY}, 400, "JSON"),
        ({"method": "POST", "json": ["a"], "headers": KEY}, 400, "JSON"),
        ({"method": "POST", "json": {"content": "hello"}, "headers": KEY}, 400, "session_id"),
        ({"method": "POST", "json": {"session_id": 7}, "headers": KEY}, 400, "session_id"),
    ],
)
async def test_request_that_is_none_is_refused_in_words(http, path, request_, status, words):
    response = await http.request(url=path, **request_)
    assert response.status_code == status
    assert response.headers["allow"] == "POST"
    assert words in response.json().get("error", "POST")  # FastAPI refuses other methods in its own words


async def test_each_of_several_keys_is_accepted(http, path):
    for key in ("old-key", processes.KEY):
        response = await http.post(path, json={"session_id": "s", "content": "hello"}, headers={"X-Internal-Auth": key})
        assert response.status_code == 200


async def test_client_that_leaves_within_its_message_ends_nothing_else(http, path, agent):
    _, writer = await asyncio.open_connection("127.0.0.1", agent.port)
    head = f"POST {path} HTTP/1.1\r\nHost: agent\r\nX-Internal-Auth: {processes.KEY}\r\nContent-Length: 100\r\n\r\n"
    writer.write(head.encode() + b'{"content":')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await http.post(path, json={"session_id": "s", "content": "hello"}, headers=KEY)).status_code == 200


def test_doctor_finds_the_agent_and_the_agent_answers_only_what_is_said(path, agent):
    answers = {"AGENT_URL": agent.http_url, "AGENT_PATH": path, "TRANSCRIPTS": "false"}
    found = run("--json", **answers).stdout
    assert "accepts the key (status 400 for an empty message" in found
    assert "accepts messages with any key" not in found
    assert '"token":"gr' in run("--say", "hello", **answers).stdout.replace(" ", "")
