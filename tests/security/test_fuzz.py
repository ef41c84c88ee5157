"""Random frames, tickets, cursors and event streams: an answer in words each time, no traceback, flat memory."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from relay.policies import ticket_signing
from tests import processes
from tests.clients import LIMIT_SECONDS, V1
from tests.http_clients import API
from tests.properties import examples
from tests.server.raw import resident_bytes

EXAMPLES = 30
ROOM_BYTES = 48 * 1024 * 1024
FUZZ = examples(
    EXAMPLES,
    database=None,
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
fields = st.dictionaries(
    st.sampled_from(["type", "content", "turn_id", "client_message_id", "on_busy", "value"]) | st.text(max_size=6),
    anything | st.sampled_from(["user_message", "cancel", "tool_result", "enqueue", "interrupt", "reject"]),
    max_size=6,
)
client_frames = st.one_of(
    fields.map(json.dumps),
    anything.map(json.dumps),
    st.text(max_size=200).filter(str.isprintable),
    st.binary(max_size=200),
    st.integers(1, 5_000).map(lambda depth: "[" * depth),
    st.integers(1, 200).map(lambda depth: '{"type":"tool_result","value":' + "[" * depth + "]" * depth + "}"),
)
words = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway that has to look at tickets; it ends with flat memory and without a traceback."""
    texts = {"WS_AUTH": "ticket", "SECRET_KEY": "only-for-tests", "FORWARD_TYPES": "tool_result", "RATE_LIMIT": "0"}
    with processes.gateway("serve", scripted_agent.http_url, **texts) as gateway:
        before_bytes = resident_bytes(gateway.pid)
        yield gateway
        assert resident_bytes(gateway.pid) - before_bytes < ROOM_BYTES
        assert "Traceback" not in gateway.output()


@FUZZ
@given(st.lists(client_frames, min_size=1, max_size=8), st.booleans())
def test_what_a_client_says(gateway, said, is_resumable):
    ticket = ticket_signing.issue("fuzz", None, 60)
    url = f"{gateway.ws_url}/ws/fuzz/?ticket={quote(ticket)}"
    with connect(
        url, subprotocols=[V1] if is_resumable else None, open_timeout=LIMIT_SECONDS, proxy=None, max_size=None
    ) as browser:
        for frame in said:
            browser.send(frame)
        browser.send('{"type":"user_message","content":7}')
        for text in browser:  # the answer to that comes after those to all before
            shown = json.loads(text)
            assert isinstance(shown["type"], str)
            if shown["type"] == "error" and shown["content"] == "Invalid JSON message":
                break
        browser.close()


def outcome(gateway: processes.Process, path: str, offered: list[str] | None = None) -> Any:
    """What becomes of a handshake: its status, or the code of the first frame."""
    try:
        with connect(gateway.ws_url + path, subprotocols=offered, proxy=None, open_timeout=LIMIT_SECONDS) as browser:
            frame = json.loads(browser.recv(LIMIT_SECONDS))
            return frame.get("code", frame["type"])
    except InvalidStatus as refused:
        return refused.response.status_code
    except ConnectionClosed as closed:
        return closed.code


@FUZZ
@given(words, st.integers(0, 400), words)
def test_what_is_no_ticket(gateway, made_up, place, changed):
    real = ticket_signing.issue("fuzz", "ada", 60)
    forged = real[:place] + changed + real[place + len(changed) :]
    for text in (made_up, forged):
        if text != real:
            assert outcome(gateway, f"/ws/fuzz/?ticket={quote(text)}") == 403
            assert get(gateway, f"{API}/fuzz/events?ticket={quote(text)}") == 401


@FUZZ
@given(words, words)
def test_what_is_no_cursor(gateway, epoch, offset):
    ticket = quote(ticket_signing.issue("fuzz", None, 60))
    query = f"ticket={ticket}&epoch={quote(epoch)}&offset={quote(offset)}"
    assert outcome(gateway, f"/ws/fuzz/?{query}", [V1]) == "welcome"
    key = {"X-Internal-Auth": processes.KEY}
    assert get(gateway, f"{API}/fuzz/frames?epoch={quote(epoch)}&offset={quote(offset)}", **key) in (200, 404)
    assert get(gateway, f"{API}?cursor={quote(epoch)}&limit={quote(offset)}", **key) in (200, 400)
    assert get(gateway, f"{API}/fuzz/events?last_event_id={quote(epoch)}", **key) in (200, 204)


@FUZZ
@given(st.binary(max_size=300) | anything.map(lambda value: json.dumps(value).encode()), words)
def test_what_a_service_posts(gateway, body, name):
    for path in (
        f"{API}/fuzz/messages",
        f"{API}/fuzz/cancel",
        "/api/v1/tickets",
        "/api/v1/notice",
        f"{API}/{quote(name)}/x",
    ):
        assert get(gateway, path, "POST", body, **{"X-Internal-Auth": processes.KEY}) < 500


def get(gateway: processes.Process, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=LIMIT_SECONDS)
    try:
        connection.request(method, path, body, headers)
        with connection.getresponse() as response:
            return response.status
    finally:
        connection.close()
