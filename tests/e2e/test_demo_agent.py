"""The demo agent: its protocol in this process, its command as a real one."""

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from itertools import groupby

import httpx
import pytest
from django.core.management import CommandError, call_command

from relay.demo_agent import answers, runs
from relay.demo_agent.app import MAX_BODY_BYTES, DemoAgentApplication
from relay.demo_agent.config import REPLACED_NAMES, DemoAgentConfig
from relay.protocol.event_stream import EventStreamDecoder
from tests.processes import ROOT

LIMIT_SECONDS = 60

SUGGESTIONS = re.findall(r'data-say="([^"]+)"', (ROOT / "relay/templates/relay/chat.html").read_text())
PATH = "/agent/message/stream"
AUTH = {"X-Internal-Auth": "change-me-internal-key"}


def say(content, session_id="s1", **fields):
    return {"session_id": session_id, "type": "user_message", "content": content, **fields}


def events_of(body):
    return [json.loads(event.data) for event in EventStreamDecoder(1_000_000).feed(body)]


def text_of(events):
    return "".join(event["token"] for event in events if event["type"] == "assistant_message")


def agent_client(config=None):
    app = DemoAgentApplication(config or DemoAgentConfig(word_delay_seconds=0))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://demo", headers=AUTH)


async def answer(message, config=None):
    async with agent_client(config) as client:
        response = await client.post(PATH, json=message)
    assert response.status_code == 200
    return events_of(response.content)


# What it answers.


async def test_answer_is_an_empty_token_then_words_then_final():
    events = await answer(say("good  morning\nto you"))
    assert events[0] == {"type": "assistant_message", "token": "", "is_final": False}
    assert events[-1] == {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": "stop"}
    assert [event["is_final"] for event in events[:-1]] == [False] * (len(events) - 1)
    assert len(events) > 10
    assert '"good  morning\nto you"' in text_of(events)
    assert "demo agent, not a model" in text_of(events)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("count to 5", "1 2 3 4 5"),
        (' "Count to 3". ', "1 2 3"),
        ("count to 0", ""),
        ("help", answers.HELP),
        ("count to x", 'You said: "count to x"'),
        ("x" * (answers.MAX_ECHO_CHARACTERS + 1), "x" * answers.MAX_ECHO_CHARACTERS + '" (and so on)'),
        ("slow", "takes its time"),
        ("half \ud83d a smiley", '"half \ud83d a smiley"'),
    ],
)
async def test_answer_to_what_was_said(content, expected):
    body = json.dumps(say(content)).encode()
    async with agent_client() as client:
        response = await client.post(PATH, content=body)
    assert expected in text_of(events_of(response.content))


async def test_count_is_bounded():
    assert text_of(await answer(say("count to 999999999"))).endswith(f" {answers.MAX_COUNT}")


async def test_long_answer_is_long():
    assert len(await answer(say("long"))) > 500


async def test_error_ends_in_an_error_event_and_nothing_else():
    events = await answer(say("error"))
    assert [event["type"] for event in events[1:]].index("error") == len(events) - 2
    assert not any(event.get("is_final") for event in events)


async def test_tools_sends_other_types_between_the_words():
    events = await answer(say("tools"))
    others = [event["type"] for event in events if event["type"] != "assistant_message"]
    assert [kind for kind, _ in groupby(others)] == ["reasoning", "tool_call", "tool_result", "agent_switched"]
    call, result = (event for event in events if event["type"].startswith("tool_"))
    assert (call["tool_name"], call["call_id"]) == (result["tool_name"], result["call_id"])
    assert events[-1]["is_final"]


@pytest.mark.parametrize("suggestion", SUGGESTIONS)
async def test_suggestion_of_the_chat_page_gets_what_it_asks_for(suggestion):
    assert "You said" not in text_of(await answer(say(suggestion)))


async def test_story_comes_after_some_reasoning():
    events = await answer(say("Tell me a short story about a lighthouse."))
    assert events[1]["type"] == "reasoning"
    assert text_of(events).startswith("The lighthouse")


async def test_forwarded_kind_without_content_is_answered():
    events = await answer({"session_id": "s1", "type": "tool_result", "result": 7})
    assert "type tool_result" in text_of(events)


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n\nc ", answers.HELP])
def test_words_join_to_the_exact_text(text):
    assert "".join(answers.words(text)) == text


@pytest.mark.parametrize("command", re.findall(r'^- "(.+)"', answers.HELP, re.MULTILINE))
def test_every_command_in_help_is_understood(command):
    message = answers.AgentMessage("s1", "user_message", command)
    assert command == "tools" or f'"{command}"' not in answers._reply(message, command)[:60]


# What it refuses.


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/health", {}, b"", 200),
        ("HEAD", "/health", {}, b"", 200),
        ("POST", "/health", {}, b"", 405),
        ("GET", PATH, AUTH, b"", 405),
        ("GET", "/", AUTH, b"", 404),
        ("POST", PATH + "/", AUTH, b"", 404),
        ("POST", PATH, {}, json.dumps(say("a")).encode(), 401),
        ("POST", PATH, {"X-Internal-Auth": ""}, json.dumps(say("a")).encode(), 401),
        ("POST", PATH, {"X-Internal-Auth": "change-me-internal-keys"}, json.dumps(say("a")).encode(), 401),
        ("POST", PATH, {"X-Internal-Auth": b"\xff"}, json.dumps(say("a")).encode(), 401),
        ("POST", PATH, AUTH, b"", 400),
        ("POST", PATH, AUTH, b"{", 400),
        ("POST", PATH, AUTH, b"\xff", 400),
        ("POST", PATH, AUTH, b"[" * 100_000, 400),
        ("POST", PATH, AUTH, b"[]", 400),
        ("POST", PATH, AUTH, b"{}", 422),
        ("POST", PATH, AUTH, b'{"session_id":"s1"}', 422),
        ("POST", PATH, AUTH, b'{"session_id":"s1","content":7}', 422),
        ("POST", PATH, AUTH, b'{"session_id":7,"content":"a"}', 422),
        ("POST", PATH, AUTH, b'{"session_id":"s1","type":7,"content":"a"}', 422),
        ("POST", PATH, AUTH, b" " * (MAX_BODY_BYTES + 1), 413),
        ("POST", PATH, AUTH, b'{"session_id":"s1","content":"a"}', 200),
    ],
)
async def test_request_gets_its_status(method, path, headers, body, status):
    app = DemoAgentApplication(DemoAgentConfig(word_delay_seconds=0))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://demo") as client:
        response = await client.request(method, path, headers=headers, content=body)
    assert response.status_code == status
    if status >= 400:
        assert response.json()["error"]
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize(
    ("keys", "key", "status"),
    [
        ("old,new", "old", 200),
        (" old , new ", "new", 200),
        ("old,new", "old,new", 401),
    ],
)
async def test_any_of_the_configured_keys_opens_it(keys, key, status):
    config = DemoAgentConfig.from_environment({"GATEWAY__INTERNAL_API_KEY": keys}, word_delay_seconds=0)
    async with agent_client(config) as client:
        response = await client.post(PATH, json=say("a"), headers={"X-Internal-Auth": key})
    assert response.status_code == status


@pytest.mark.parametrize("keys", ["", ",", "a,"])
def test_keys_that_the_gateway_does_not_take_are_refused_here_too(keys):
    with pytest.raises(ValueError, match="GATEWAY__INTERNAL_API_KEY must be one key"):
        DemoAgentConfig.from_environment({"GATEWAY__INTERNAL_API_KEY": keys})


def test_the_keys_may_be_in_a_file(tmp_path):
    (tmp_path / "keys").write_text("new,old\n")
    config = DemoAgentConfig.from_environment({"GATEWAY__INTERNAL_API_KEY_FILE": str(tmp_path / "keys")})
    assert config.internal_api_keys == ("new", "old")


class AsgiConversation:
    """The application, driven by hand: what no HTTP client in this process can show."""

    def __init__(self, app, scope):
        self.app, self.scope = app, scope
        self.received = asyncio.Queue()
        self.sent = asyncio.Queue()
        self.task = asyncio.create_task(app(scope, self.received.get, self.sent.put))

    async def next_sent(self):
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.sent.get()

    async def done(self):
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.task


def conversation(config):
    headers = [(b"x-internal-auth", b"change-me-internal-key")]
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers}
    return AsgiConversation(DemoAgentApplication(config), scope)


async def test_disconnect_stops_the_answer_at_once():
    talk = conversation(DemoAgentConfig(word_delay_seconds=3_600))
    talk.received.put_nowait({"type": "http.request", "body": json.dumps(say("long")).encode()})
    assert (await talk.next_sent())["type"] == "http.response.start"
    assert events_of((await talk.next_sent())["body"])[0]["token"] == ""
    talk.received.put_nowait({"type": "http.request", "body": b""})  # no reason to stop
    talk.received.put_nowait({"type": "http.disconnect"})
    await talk.done()
    assert talk.sent.empty()


async def test_answer_with_a_key_is_kept_read_on_and_stopped(monkeypatch):
    async with agent_client(DemoAgentConfig(word_delay_seconds=0)) as client:
        response = await client.post(PATH, json=say("count to 5"), headers={"Idempotency-Key": "turn-1"})
        assert response.headers["x-agent-resume"] == "1"
        events = EventStreamDecoder(1_000_000).feed(response.content)
        assert [event.last_event_id for event in events] == [str(number) for number in range(1, len(events) + 1)]
        again = await client.get(f"{PATH}/turn-1")
        assert again.content == response.content
        rest = await client.get(f"{PATH}/turn-1", headers={"Last-Event-ID": "3"})
        assert EventStreamDecoder(1_000_000).feed(rest.content) == events[3:]
        assert (await client.get(f"{PATH}/turn-1", headers={"Last-Event-ID": "999"})).status_code == 410
        assert (await client.get(f"{PATH}/turn-1", headers={"Last-Event-ID": "x"})).status_code == 410
        assert (await client.get(f"{PATH}/turn-2")).status_code == 404
        assert (await client.delete(f"{PATH}/turn-2")).status_code == 404
        assert (await client.put(f"{PATH}/turn-1")).status_code == 405
        assert (await client.get(f"{PATH}/turn-1", headers={"X-Internal-Auth": "x"})).status_code == 401
        assert (await client.delete(f"{PATH}/turn-1")).status_code == 200


async def test_kept_answer_goes_on_without_its_reader_until_it_is_stopped():
    talk = conversation(DemoAgentConfig(word_delay_seconds=3_600))
    talk.scope["headers"].append((b"idempotency-key", b"turn-1"))
    talk.received.put_nowait({"type": "http.request", "body": json.dumps(say("long")).encode()})
    await talk.next_sent()
    assert (await talk.next_sent())["body"].startswith(b"id: 1\ndata:")
    talk.received.put_nowait({"type": "http.disconnect"})
    await talk.done()
    run = talk.app._runs.get("turn-1")
    assert not run.task.done()
    scope = {**talk.scope, "method": "DELETE", "path": f"{PATH}/turn-1"}
    stop = AsgiConversation(talk.app, scope)
    await stop.done()
    assert (await stop.next_sent())["status"] == 200
    await asyncio.wait([run.task])
    assert [event async for event in run.after(1)] == []


async def test_run_is_forgotten_some_time_after_its_end(monkeypatch):
    monkeypatch.setattr(runs, "KEPT_SECONDS", 0.0)
    kept = runs.Runs()

    async def events():
        yield b"data: 1\n\n"

    run = kept.start("turn-1", events())
    assert [event async for event in run.after(0)] == [b"id: 1\ndata: 1\n\n"]
    async with asyncio.timeout(LIMIT_SECONDS):
        while kept.get("turn-1") is not None:
            await asyncio.sleep(0)


async def test_disconnect_within_the_body_is_no_message():
    talk = conversation(DemoAgentConfig(word_delay_seconds=0))
    talk.received.put_nowait({"type": "http.request", "body": json.dumps(say("a")).encode(), "more_body": True})
    talk.received.put_nowait({"type": "http.disconnect"})
    await talk.done()
    assert talk.sent.get_nowait()["status"] == 400


async def test_what_is_not_http_is_left_alone():
    talk = AsgiConversation(DemoAgentApplication(DemoAgentConfig()), {"type": "websocket"})
    await talk.done()
    assert talk.sent.empty()


async def test_failure_within_the_answer_ends_it_in_words(monkeypatch, caplog):
    def fail(message, command):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(answers, "_reply", fail)
    events = await answer(say("a"))
    assert events[-1]["type"] == "error"
    assert "secret" not in events[-1]["content"]


# The relay to a model server.


# Its settings and its command.


@pytest.mark.parametrize("name", REPLACED_NAMES)
def test_settings_that_moved_to_the_gateway_are_named_with_those_that_replace_them(name, monkeypatch):
    monkeypatch.setenv(name, "sk-secret")
    with pytest.raises(CommandError, match="GATEWAY__AGENT_PROTOCOL=openai") as refused:
        call_command("demo_agent", port=0)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv(name, " ")
    assert DemoAgentConfig.from_environment(os.environ).internal_api_keys


@pytest.mark.parametrize("delay", ["-1", "nan", "soon"])
def test_command_refuses_a_wrong_delay(delay):
    with pytest.raises(CommandError, match="delay"):
        call_command("demo_agent", "--delay", delay)


def test_variable_sets_the_delay(monkeypatch):
    monkeypatch.setenv("DEMO_AGENT__DELAY", "soon")
    with pytest.raises(CommandError, match="delay"):
        call_command("demo_agent")


class AgentProcess:
    """``manage.py demo_agent`` as an operator starts it."""

    def __init__(self, *arguments, **environment):
        command = [sys.executable, "manage.py", "demo_agent", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.log = b""

    def __enter__(self):
        line = self._read(self.process.stdout, b"\n").decode()
        self.url = re.search(r"http://\S+", line).group()
        return self

    def __exit__(self, *exc_info):
        self.process.terminate()
        self.process.communicate()

    def wait_for_log(self, text):
        self.log += self._read(self.process.stderr, text)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=LIMIT_SECONDS)
        self.log += err
        return out

    @staticmethod
    def _read(pipe, until):
        collected, deadline = b"", time.monotonic() + LIMIT_SECONDS
        while until not in collected:
            ready, _, _ = select.select([pipe], [], [], deadline - time.monotonic())
            piece = os.read(pipe.fileno(), 65_536) if ready else b""
            assert piece, f"the demo agent did not say {until!r} but {collected!r}"
            collected += piece
        return collected


def test_process_answers_refuses_and_stops_when_the_client_leaves():
    with AgentProcess(DEMO_AGENT__DELAY="0.01", GATEWAY__INTERNAL_API_KEY="first,second") as agent:
        with httpx.Client(
            base_url=agent.url, headers={"X-Internal-Auth": "second"}, trust_env=False, timeout=LIMIT_SECONDS
        ) as client:
            assert client.get("/health").json()["status"] == "ok"
            response = client.post(PATH, json=say("my secret plan"))
            assert response.headers["content-type"].startswith("text/event-stream")
            assert "my secret plan" in text_of(events_of(response.content))
            refused = client.post(PATH, json=say("my secret plan"), headers={"X-Internal-Auth": "third"})
            assert refused.status_code == 401
            with client.stream("POST", PATH, json=say("slow")) as response:
                next(response.iter_bytes())
            agent.wait_for_log(b"client disconnected, answer stopped")
        assert agent.stop() == b""
    assert b"secret plan" not in agent.log
    assert b"Traceback" not in agent.log


def test_process_on_a_taken_port_says_so():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "manage.py", "demo_agent", "--port", str(port)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=LIMIT_SECONDS, check=False)
    assert result.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}".encode() in result.stderr
    assert b"Traceback" not in result.stderr
