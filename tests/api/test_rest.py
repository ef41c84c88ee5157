"""REST: what a socket can do, over plain HTTP."""

from __future__ import annotations

import asyncio
import json
from unittest.mock import AsyncMock

import msgspec
import pytest

from relay.delivery import timeouts
from relay.process import lifecycle
from relay.web import frame_schemas, rest_schemas
from tests.api.test_v1 import CURSORS
from tests.http_clients import API
from tests.scripted_agent import Final, Stall, Token, Wait

NOT_FOUND = (404, {"detail": "not found"})


async def post(http, content="hello", session_id="s", headers=None, **fields):
    return await http.post(f"{API}/{session_id}/messages", {"content": content, **fields}, headers=headers)


# Messages.


async def test_message_is_accepted_and_answered(http, v1, agent):
    async with v1() as browser:
        await browser.frame()
        answer = await post(http, client_message_id="m")
        accepted = answer.json()
        assert answer.status == 202
        assert answer.headers["content-type"] == "application/json"
        assert accepted == {
            "client_message_id": "m", "turn_id": accepted["turn_id"], "position": 0, "status": "queued",
            "duplicate": False,
        }  # fmt: skip
        frame_schemas.AcceptedFields.model_validate(accepted, extra="forbid")
        frames = await browser.turn()
        assert frames[0]["content"] == "hello"
        assert {frame["turn_id"] for frame in frames} == {accepted["turn_id"]}


@pytest.mark.parametrize("key", ["m-1", '"m-1"'])
async def test_idempotency_key_is_the_client_message_id(http, v1, agent, key):
    first = (await post(http, headers={"Idempotency-Key": key})).json()
    assert first["client_message_id"] == "m-1"
    again = (await post(http, client_message_id="m-1", headers={"Idempotency-Key": key})).json()
    assert (again["turn_id"], again["duplicate"]) == (first["turn_id"], True)
    async with v1() as browser:  # also over a socket
        await browser.say("hello", client_message_id="m-1")
        assert (await browser.frame_of("accepted"))["turn_id"] == first["turn_id"]
    other = await post(http, "other", headers={"Idempotency-Key": key})
    assert (other.status, other.json()["code"]) == (409, "idempotency_conflict")
    assert other.json()["client_message_id"] == "m-1"
    assert "retry-after" not in other.headers


@pytest.mark.parametrize("key", ["", '"', '""', "a b", "x" * 129, "m, m"])
async def test_invalid_idempotency_key_is_a_bad_request(http, agent, key):
    answer = await post(http, headers={"Idempotency-Key": key})
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert agent.requests == []


async def test_idempotency_key_must_not_contradict_the_body(http):
    answer = await post(http, client_message_id="other", headers={"Idempotency-Key": "m"})
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")


BAD_BODIES = [
    b"", b"not JSON", b"[]", b"1", b"null", b"{}", b'{"content":7}', b'{"content":null}', b'{"content":"x","type":7}',
    b'{"content":"x","type":"tool_result"}', b'{"content":"x","type":"cancel"}', b'{"type":"cancel"}',
    b'{"content":"x","on_busy":"explode"}', b'{"content":"x","client_message_id":"a b"}', b'{"content":"\xff"}',
    b'{"content":"x","x":NaN}', b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_bad_body_is_refused_with_the_error_frame(http, agent, body):
    answer = await http.post(f"{API}/s/messages", body)
    assert answer.status == 400
    assert answer.json() == {"type": "error", "content": "Invalid JSON message", "code": "bad_request"}
    assert agent.requests == []


async def test_wrong_length_header_is_refused(http):
    answer = await http.post(f"{API}/s/messages", {"content": "x"}, headers={"Content-Length": "many"})
    assert answer.json()["code"] == "bad_request"


async def test_too_many_parameters_are_a_bad_request(http, caplog):
    for path in (f"{API}/s/events", f"{API}/s/frames", API):
        answer = await http.get(f"{path}?{'a&' * 1_001}")
        assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert "Traceback" not in caplog.text


async def test_half_an_emoji_passes(http, v1, agent):
    async with v1() as browser:
        await http.post(f"{API}/s/messages", rb'{"content":"\ud83d"}')
        assert (await browser.frame_of("user_message"))["content"] == "\ud83d"


async def test_forwarded_kinds_go_to_the_agent_whole(http, v1, agent, configure):
    configure(FORWARD_TYPES="tool_result")
    async with v1() as browser:
        await browser.frame()
        answer = await http.post(f"{API}/s/messages", {"type": "tool_result", "id": 7, "on_busy": "reject"})
        assert answer.status == 202
        await browser.turn()
    assert agent.requests[0].json == {"type": "tool_result", "id": 7, "session_id": "s"}


async def test_further_fields_go_to_the_agent_and_to_viewers_if_they_are_named(http, v1, agent, configure):
    body = {"content": "Hi", "locale": "de", "attachments": [{"id": 7}], "other": 1}
    async with v1() as browser:
        await http.post(f"{API}/s/messages", body)
        await browser.turn()
        configure(MESSAGE_FIELDS="locale,attachments")
        await http.post(f"{API}/s/messages", body)
        frame = await browser.frame_of("user_message")
        await browser.turn()
        await browser.ask("Ho", locale=None)
    said = {"session_id": "s", "type": "user_message"}
    assert [request.json for request in agent.requests] == [
        {**said, "content": "Hi"},
        {**said, "content": "Hi", "locale": "de", "attachments": [{"id": 7}]},
        {**said, "content": "Ho", "locale": None},
    ]
    assert (frame["locale"], frame["attachments"], "other" in frame) == ("de", [{"id": 7}], False)


@pytest.mark.parametrize("declares_length", [True, False])
async def test_largest_message_passes_and_one_byte_more_is_too_large(http, configure, declares_length):
    configure(MAX_MESSAGE_BYTES="1024")
    empty = len(b'{"content":""}')
    for size, status in ((1_024, 202), (1_025, 413)):
        body = b'{"content":"%s"}' % (b"x" * (size - empty))
        headers = {"Content-Length": str(size)} if declares_length else {}
        answer = await http.post(f"{API}/s/messages", body, headers=headers)
        assert answer.status == status
    assert answer.json()["code"] == "message_too_large"


async def test_body_beyond_djangos_limit_is_too_large(http, configure, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000
    configure(MAX_MESSAGE_BYTES="4096")
    answer = await http.post(f"{API}/s/messages", b"x" * 3_000, headers={"Content-Length": "3000"})
    assert (answer.status, answer.json()["code"]) == (413, "message_too_large")


async def test_busy_session_refuses_with_409_and_a_time_to_come_back(http, v1, agent, configure):
    configure(MAX_QUEUE="1")
    go_on = asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Final()]
    async with v1() as browser:
        await post(http)
        await browser.frame_of("assistant_message")
        answer = await post(http, on_busy="reject", client_message_id="m")
        assert (answer.status, answer.headers["retry-after"]) == (409, "1")
        refusal = answer.json()
        assert (refusal["code"], refusal["client_message_id"]) == ("session_busy", "m")
        assert refusal["retry_after_ms"] == 1_000
        frame_schemas.Refusal.model_validate(refusal, extra="forbid")
        assert (await post(http)).json()["position"] == 0
        answer = await post(http)
        assert (answer.status, answer.json()["code"]) == (409, "queue_full")
        assert (await post(http, on_busy="interrupt")).status == 202
        go_on.set()


async def test_turn_of_rest_runs_on_when_the_last_viewer_leaves(http, v1, agent, configure, monkeypatch):
    monkeypatch.setattr("relay.turns.on_disconnect.GRACE_SECONDS", 0.01)
    configure(ON_DISCONNECT="cancel")
    go_on = asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Final()]
    async with v1() as browser:
        await post(http)
        await browser.frame_of("assistant_message")
    on_disconnect = (await lifecycle.current()).on_disconnect
    await asyncio.gather(*on_disconnect._waiting)
    go_on.set()
    async with v1(query="offset=0") as browser:
        assert (await browser.turn())[-1]["finish_reason"] == "stop"


async def test_store_without_room_is_503(http, v1, agent, configure):
    configure(MAX_SESSIONS="1")
    agent.script = [Token("a"), Stall()]
    async with v1("busy") as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        answer = await post(http)
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_frozen_store_is_503(http, monkeypatch):
    monkeypatch.setattr(timeouts, "STORE_SECONDS", 0.05)
    monkeypatch.setattr((await lifecycle.current()).layer, "enqueue", _never)
    answer = await post(http, client_message_id="m")
    assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.json()["client_message_id"] == "m"


async def test_draining_gateway_takes_no_message(http, monkeypatch):
    monkeypatch.setattr(await lifecycle.current(), "is_draining", True)
    answer = await post(http)
    assert (answer.status, answer.json()["code"]) == (503, "shutting_down")


async def test_bug_of_ours_is_a_500_without_details(http, monkeypatch, settings, caplog):
    settings.DEBUG = True
    monkeypatch.setattr((await lifecycle.current()).layer, "enqueue", _fail)
    answer = await post(http)
    assert (answer.status, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.body.decode()
    assert "secret" in caplog.text


# Cancel.


async def test_cancel_stops_the_turn_in_flight(http, v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        turn_id = (await post(http)).json()["turn_id"]
        await browser.frame_of("assistant_message")
        answer = await http.post(f"{API}/s/cancel")
        assert (answer.status, answer.json()) == (200, {"turn_id": turn_id, "status": "cancelling"})
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        answer = await http.post(f"{API}/s/cancel", {"turn_id": turn_id})
        assert answer.json() == {"turn_id": turn_id, "status": "already_ended"}


@pytest.mark.parametrize(
    ("body", "turn_id"), [(None, None), ({}, None), ({"turn_id": None}, None), ({"turn_id": "x"}, "x")]
)
async def test_cancel_of_nothing_is_unknown_and_begins_no_session(http, body, turn_id):
    answer = await http.post(f"{API}/s/cancel", body)
    assert (answer.status, answer.json()) == (200, {"turn_id": turn_id, "status": "unknown"})
    assert (await http.get(f"{API}/s")).status == 404


async def test_cancel_of_a_turn_named_with_half_an_emoji_is_unknown(http):
    answer = await http.post(f"{API}/s/cancel", rb'{"turn_id":"\ud83d"}')
    assert (answer.status, answer.body) == (200, rb'{"turn_id":"\ud83d","status":"unknown"}')


@pytest.mark.parametrize("body", [b"x", b"[]", b'{"turn_id":7}', b'{"turn_id":""', b"null"])
async def test_bad_cancel_is_refused(http, body):
    answer = await http.post(f"{API}/s/cancel", body)
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")


# Sessions.


async def test_session_is_described_as_by_welcome(http, v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        epoch = (await browser.frame())["epoch"]
        turn_ids = [(await post(http)).json()["turn_id"] for _ in range(2)]
        await browser.frame_of("assistant_message")
        async with v1() as other:
            welcome = await other.frame()
            del welcome["type"]
            assert (await http.get(f"{API}/s")).json() == welcome
            assert welcome["epoch"] == epoch
        described = (await http.get(f"{API}/s")).json()
        assert described["active"] == {"turn_id": turn_ids[0], "status": "running"}
        assert (described["queued"], described["offset"], described["after"]) == ([turn_ids[1]], 2, 0)
        frame_schemas.SessionInfo.model_validate(described, extra="forbid")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/frames"), ("DELETE", ""), ("GET", "/nothing"), ("POST", "/nothing")]
)
async def test_unknown_session_is_not_found_and_not_begun(http, method, path):
    for _ in range(2):
        answer = await http.request(method, f"{API}/s{path}")
        assert (answer.status, answer.json()) == NOT_FOUND
    assert (await http.get(API)).json() == {"sessions": [], "next": None}


async def test_deleted_session_tells_its_viewers_and_the_agent(http, v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        await post(http)
        await browser.frame_of("assistant_message")
        answer = await http.delete(f"{API}/s")
        assert (answer.status, answer.body) == (204, b"")
        assert (await browser.frame_of("disconnect"))["code"] == "session_deleted"
        await agent.wait_disconnected(1)
    assert (await http.delete(f"{API}/s")).status == 404


async def test_sessions_are_listed_page_by_page(http, v1, agent):
    for number in (2, 0, 1, 4, 3):
        await post(http, session_id=f"s{number}")
    names, cursor = [], ""
    for _ in range(3):
        page = (await http.get(f"{API}?limit=2&cursor={cursor or ''}")).json()
        rest_schemas.SessionPage.model_validate(page, extra="forbid")
        names += [session["session_id"] for session in page["sessions"]]
        cursor = page["next"]
    assert names == ["s0", "s1", "s2", "s3", "s4"]
    assert cursor is None


async def test_list_says_that_nodes_of_the_store_did_not_answer(http, monkeypatch):
    await post(http)
    whole = (await http.get(API)).json()
    assert whole.keys() == {"sessions", "next"}
    layer = (await lifecycle.current()).layer
    page = msgspec.structs.replace(await layer.page("", 10), nodes=3, silent_nodes=1)
    monkeypatch.setattr(layer, "page", AsyncMock(return_value=page))
    found = (await http.get(API)).json()
    rest_schemas.SessionPage.model_validate(found, extra="forbid")
    assert found["warning"] == "1 of 3 nodes of the store did not answer: sessions are missing."
    assert [session["session_id"] for session in found["sessions"]] == ["s"]


@pytest.mark.parametrize("query", ["cursor=%C3%BC", "cursor=a", "cursor=_w=="])
async def test_invalid_parameter_is_a_bad_request_in_words(http, query):
    answer = await http.get(f"{API}?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert answer.json()["content"] == "Invalid request: cursor is not one that a page gave."


@pytest.mark.parametrize("limit", ["0", "1001", "x", "", "1.5"])
async def test_a_wrong_limit_is_a_bad_request_in_words(http, limit):
    answer = await http.get(f"{API}?limit={limit}")
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert answer.json()["content"] == "Invalid request: limit must be a whole number, 1 to 1000."


# The log.


@pytest.mark.parametrize(("query", "recovered", "first"), CURSORS)
async def test_frames_after_a_cursor(http, ended, query, recovered, first):
    page = (await http.get(f"{API}/s/frames?{query.format(epoch=ended)}")).json()
    assert page["epoch"] == ended
    if recovered is False:
        assert (page["snapshot"]["type"], page["snapshot"]["reason"]) == ("snapshot", first)
        rest_schemas.SnapshotPage.model_validate(page, extra="forbid")
    else:
        offsets = [frame["offset"] for frame in page["frames"]]
        assert offsets == ([] if first is None else list(range(first, 21)))
        rest_schemas.FramePage.model_validate(page, extra="forbid")


async def test_frames_come_in_pages(http, ended):
    offset, seen = 4, []
    for wanted in (10, 6, 0):
        frames = (await http.get(f"{API}/s/frames?epoch={ended}&offset={offset}&limit=10")).json()["frames"]
        assert len(frames) == wanted
        seen += frames
        offset = seen[-1]["offset"]
    assert [frame["offset"] for frame in seen] == list(range(5, 21))


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x"])
async def test_limit_outside_its_bounds_is_a_bad_request(http, ended, limit):
    answer = await http.get(f"{API}/s/frames?limit={limit}")
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")


# Who may, and how it is described.


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/s"),
        ("DELETE", "/s"),
        ("POST", "/s/cancel"),
        ("GET", "/s/frames"),
    ],
)
async def test_without_the_key_everything_is_closed(http, method, path):
    for key in (None, "wrong"):
        answer = await http.request(method, f"{API}{path}", key=key)
        assert (answer.status, answer.json()) == (401, {"detail": "unauthorized"})


@pytest.mark.parametrize("path", ["", "/s", "/s/messages", "/s/cancel", "/s/frames", "/s/events"])
async def test_wrong_method_is_refused_in_json(http, path):
    answer = await http.request("PUT", f"{API}{path}")
    assert (answer.status, answer.json()) == (405, {"detail": "method not allowed"})
    assert answer.headers["allow"]


@pytest.mark.parametrize("session_id", ["..", "%2e", "a%20b", "x" * 129])
async def test_wrong_id_is_not_found(http, session_id):
    for method, path in (("GET", ""), ("POST", "/messages"), ("DELETE", "")):
        answer = await http.request(method, f"{API}/{session_id}{path}")
        assert (answer.status, answer.json()) == NOT_FOUND


async def test_openapi_describes_every_path(http):
    answer = await http.get("/api/v1/openapi.json")
    described = answer.json()
    assert described["openapi"].startswith("3.")
    assert {path: sorted(methods) for path, methods in described["paths"].items()} == {
        "/api/v1/sessions": ["get", "post"],
        "/api/v1/me/sessions": ["get"],
        "/api/v1/sessions/{session_id}": ["delete", "get", "patch"],
        "/api/v1/sessions/{session_id}/messages": ["post"],
        "/api/v1/sessions/{session_id}/turns": ["get"],
        "/api/v1/sessions/{session_id}/cancel": ["post"],
        "/api/v1/sessions/{session_id}/frames": ["get"],
        "/api/v1/sessions/{session_id}/pending": ["get"],
        "/api/v1/sessions/{session_id}/events": ["get"],
        "/api/v1/tickets": ["post"],
        "/api/v1/sessions/{session_id}/queue": ["delete"],
        "/api/v1/sessions/{session_id}/viewers": ["delete"],
        "/api/v1/notice": ["post"],
        "/api/v1/drain": ["post"],
    }
    operations = [operation for methods in described["paths"].values() for operation in methods.values()]
    assert {operation["operationId"] for operation in operations} == {
        "sendMessage", "cancelTurn", "listSessions", "describeSession", "deleteSession", "readFrames", "watchEvents",
        "listPending", "issueTicket", "readTurns", "listOwnSessions", "createSession", "changeSession",
        "clearQueue", "disconnectViewers", "sendNotice", "drain",
    }  # fmt: skip
    assert all("401" in operation["responses"] for operation in operations)
    in_session = [methods for path, methods in described["paths"].items() if "{session_id}" in path]
    assert all("404" in operation["responses"] for methods in in_session for operation in methods.values())
    body = described["paths"]["/api/v1/sessions/{session_id}/messages"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["required"] == ["content"]
    assert described["components"]["securitySchemes"]["InternalKey"]["name"] == "X-Internal-Auth"
    assert "$defs" not in json.dumps(body)
    assert answer.status == 200


async def test_openapi_describes_the_kinds_that_are_forwarded(http, configure):
    configure(FORWARD_TYPES="tool_result")
    described = (await http.get("/api/v1/openapi.json")).json()
    body = described["paths"]["/api/v1/sessions/{session_id}/messages"]["post"]["requestBody"]
    message, forwarded = body["content"]["application/json"]["schema"]["oneOf"]
    assert (message["required"], forwarded["required"]) == (["content"], ["type"])
    assert forwarded["properties"]["type"] == {"enum": ["tool_result"]}


async def test_openapi_describes_the_further_fields_of_a_message(http, configure):
    configure(MESSAGE_FIELDS="locale")
    described = (await http.get("/api/v1/openapi.json")).json()
    body = described["paths"]["/api/v1/sessions/{session_id}/messages"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert (schema["properties"]["locale"], schema["required"]) == ({}, ["content"])


async def test_docs_page_exists_with_debug_only(http, settings):
    assert (await http.get("/api/v1/docs")).status == 404
    assert (await http.get("/api/v1/openapi.json", key=None)).status == 401
    settings.DEBUG = True
    assert (await http.get("/api/v1/openapi.json", key=None)).status == 200


async def _never(*_: object) -> None:
    await asyncio.Event().wait()


async def _fail(*_: object) -> None:
    raise ValueError("a secret detail")


@pytest.mark.parametrize(
    ("path", "status"), [("/s/turns", 200), ("/s/turns?limit=0", 400), ("/s/pending", 404), ("/s/messages", 405)]
)
async def test_no_cache_keeps_an_answer_or_a_refusal(http, path, status):
    answer = await http.get(f"{API}{path}")
    assert (answer.status, answer.headers["cache-control"]) == (status, "no-store")
