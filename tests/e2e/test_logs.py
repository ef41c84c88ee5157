"""What a gateway process writes: lines of JSON with the names that belong to them, and nothing that people said."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS, V1, SocketClient
from tests.http_clients import API
from tests.processes import KEY

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"X-Request-ID": "r-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
PROMPT, ANSWER = "a-prompt-of-somebody", "an-answer-to-somebody"


async def lines(gateway: processes.Process, session_id: str, event: str, count: int) -> list[dict[str, Any]]:
    """Wait for so many lines of a session: a client may see the end of a turn before its line is written."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            written = [json.loads(line) for line in gateway.output().splitlines(keepends=True) if line.endswith("\n")]
            found = [line for line in written if line["event"].startswith(event)]
            found = [line for line in found if line.get("session_id") == session_id]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def service(scripted_agent):
    with processes.gateway("serve", scripted_agent.http_url, DRAIN_SECONDS="0") as gateway:
        yield gateway


async def test_a_turn_is_one_line_with_its_names_and_times_whatever_the_number_of_tokens(service):
    async with SocketClient(f"{service.ws_url}/ws/one/", [V1], additional_headers=HEADERS) as browser:
        for content in ("script:tokens 2", "script:tokens 200"):
            await browser.say(content)
            await browser.turn()
    few, many = await lines(service, "one", "turn ended", 2)
    assert (few["reason"], few["tokens"], few["level"]) == ("answered", 2, "info")
    assert many["tokens"] == 200
    assert many["duration_seconds"] >= many["first_token_seconds"] > 0
    assert "request_id" not in few  # a turn belongs to no connection
    accepted = await lines(service, "one", "message accepted", 2)
    assert [line["turn_id"] for line in accepted] == [few["turn_id"], many["turn_id"]]
    assert {line["request_id"] for line in accepted} == {"r-1"}
    assert {line["trace_id"] for line in (*accepted, few, many)} == {TRACE}


async def test_a_request_has_one_name_in_its_answer_and_in_its_lines(service):
    body = json.dumps({"content": "hello"}).encode()
    headers = {"X-Internal-Auth": KEY, "X-Request-ID": "r-2"}
    request = urllib.request.Request(f"{service.http_url}{API}/two/messages", body, headers)
    with await asyncio.to_thread(urllib.request.urlopen, request) as response:
        assert response.headers["X-Request-ID"] == "r-2"
    (line,) = await lines(service, "two", "message accepted", 1)
    assert line["request_id"] == "r-2"


async def test_who_is_refused_and_sent_away_is_found_by_session(service):
    async with SocketClient(f"{service.ws_url}/ws/three/", [V1], additional_headers=HEADERS) as browser:
        await browser.say("script:stall")
        await browser.say("hello", on_busy="reject")
        (line,) = await lines(service, "three", "message refused: session_busy", 1)
        assert line["request_id"] == "r-1"
        viewers = urllib.request.Request(
            f"{service.http_url}{API}/three/viewers", headers={"X-Internal-Auth": KEY}, method="DELETE"
        )
        await asyncio.to_thread(urllib.request.urlopen, viewers)
        await lines(service, "three", "client disconnected: kicked", 1)


async def test_no_line_holds_what_was_said_or_a_key(scripted_agent):
    with processes.gateway("serve", scripted_agent.http_url, LOG_LEVEL="DEBUG") as gateway:
        async with SocketClient(f"{gateway.ws_url}/ws/s/?ticket=a-ticket", [V1]) as browser:
            for content in (
                f"{ANSWER} {PROMPT}",
                f"script:error {ANSWER}",
                f"script:status 500 {PROMPT}",
                f"script:{PROMPT}",
            ):
                await browser.say(content, client_message_id=str(len(content)))
                await browser.turn()
            await browser.send_text(f'{{"type":"user_message","content":"{PROMPT}')
            await browser.frame_of("error")
        request = urllib.request.Request(
            f"{gateway.http_url}/metrics?ticket=a-ticket", headers={"X-Internal-Auth": KEY}
        )
        urllib.request.urlopen(request).close()
        await lines(gateway, "s", "turn ended", 4)
        written = gateway.output()
    for secret in (PROMPT, ANSWER, KEY, "a-ticket"):
        assert secret not in written


async def test_log_level_is_kept(scripted_agent):
    with processes.gateway("serve", scripted_agent.http_url, LOG_LEVEL="WARNING") as gateway:
        async with SocketClient(f"{gateway.ws_url}/ws/s/") as browser:
            await browser.ask("hello")
            assert gateway.output() == ""
            await browser.say("script:error no")
            (line,) = await lines(gateway, "s", "turn ended", 1)
            assert (line["level"], line["reason"]) == ("warning", "upstream_error")


async def test_answers_go_on_while_nobody_reads_the_log(scripted_agent):
    port = processes.free_port()
    settings = {
        "AGENT_URL": scripted_agent.http_url,
        "INTERNAL_API_KEY": KEY,
        "RATE_LIMIT": "0",
        "TRANSCRIPTS": "false",
    }
    env = processes.environment(**{f"GATEWAY__{name}": value for name, value in settings.items()})
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=processes.ROOT, env=env, stderr=subprocess.PIPE, text=True) as gateway:
        try:
            while "listening on" not in gateway.stderr.readline():  # and no further
                assert gateway.poll() is None
            async with SocketClient(f"ws://127.0.0.1:{port}/ws/s/", [V1]) as browser:
                for _ in range(300):  # several times what a pipe holds
                    await browser.ask("x")
            gateway.terminate()
            _, written = await asyncio.to_thread(gateway.communicate, timeout=LIMIT_SECONDS)
        finally:
            gateway.kill()
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert events.count("turn ended: answered") == 300
    assert events[-1] == "stopped"


def logged(statement, **settings):
    """The lines that a process writes which does no more than to log."""
    code = f"import logging, django; django.setup(); logger = logging.getLogger('relay.test'); {statement}"
    env = processes.environment(DJANGO_SETTINGS_MODULE="gateway_project.settings", **settings)
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=processes.ROOT, env=env, capture_output=True, text=True, check=True
    ).stderr.splitlines()


@pytest.mark.parametrize(("log_format", "is_json"), [("auto", True), ("json", True), ("console", False)])
def test_lines_look_as_operators_want_and_have_no_colours_in_a_file(log_format, is_json):
    (line,) = logged("logger.warning('a line')", GATEWAY__LOG_FORMAT=log_format)
    assert "a line" in line
    assert line.startswith("{") is is_json
    assert "\x1b" not in line


def test_a_warning_that_comes_again_and_again_is_written_ten_times():
    assert len(logged("[logger.warning('number %d', number) for number in range(100)]")) == 10
    assert len(logged("[logger.info('number %d', number) for number in range(100)]")) == 100


async def test_a_failed_turn_names_the_agent(service, scripted_agent):
    async with SocketClient(f"{service.ws_url}/ws/failed/", [V1]) as browser:
        for _ in range(12):  # more than is written of other warnings
            await browser.say("script:status 500")
            await browser.turn()
    failed = await lines(service, "failed", "turn ended", 12)
    assert {line["agent"] for line in failed} == {f"127.0.0.1:{scripted_agent.port}"}
