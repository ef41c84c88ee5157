"""What bad input gets from each adapter: its status, its words, and never a turn that runs, or runs twice."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from relay.adapters.base import foreign_id_of
from relay.exceptions import Unauthorized
from relay.policies import Identity, Policy
from relay.process import lifecycle
from tests.api.adapters import opened
from tests.clients import CommunicatorClient
from tests.front_end_requests import (
    ADAPTERS,
    ASKING,
    CHAT_SOCKET,
    RUN_SOCKET,
    chat_in_flight,
    joined_run,
    resume_chat,
    send_chat,
    send_run,
)
from tests.scripted_agent import Final, Stall, Token

BODY_BYTES = 8 * 2**20  # as docs/front-ends.md says
WORDS = {
    "ai-sdk": lambda body: body.decode(),
    "ag-ui": lambda body: json.loads(body)["message"],
    "openai": lambda body: json.loads(body)["error"]["message"],
}


@pytest.fixture(autouse=True)
def _switched_on(configure, settings):
    configure(ADAPTERS=ADAPTERS, MAX_MESSAGE_BYTES="1024", MAX_EVENT_BYTES="2048")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_BYTES


class OverHttp:
    """A client of one adapter."""

    def __init__(self, http, adapter):
        self._http, self.adapter = http, adapter
        self.asked = ASKING[adapter]("s")
        self.body, self.headers = self.asked.body, self.asked.headers

    def name_session(self, foreign_id):
        """Name a session as this front end does."""
        for name in ("id", "threadId"):
            if name in self.body:
                self.body[name] = foreign_id
        if self.adapter == "openai":
            self.headers.pop("X-Session-Id", None)
            self.body["metadata"] = {"session_id": foreign_id}

    async def refusal(self, raw=None):
        body = self.body if raw is None else raw
        answer = await self._http.request(self.asked.method, self.asked.path, body=body, headers=self.headers)
        return answer.status, WORDS[self.adapter](answer.body)

    async def answer(self):
        asked = self.asked
        async with opened(self._http, asked.method, asked.path, body=self.body, headers=self.headers) as reader:
            assert reader.answer.status == 200, await reader.all_bytes()
            return await reader.all_bytes()


class OverSocket:
    """A client of one adapter on a shared socket."""

    def __init__(self, application, adapter):
        self._application, self.adapter = application, adapter
        self._path, make = {"ai-sdk": (CHAT_SOCKET, send_chat), "ag-ui": (RUN_SOCKET, send_run)}[adapter]
        self.body = make("s")

    def name_session(self, foreign_id):
        self.body["id" if self.adapter == "ai-sdk" else "threadId"] = foreign_id

    async def refusal(self):
        async with CommunicatorClient(self._application, self._path) as client:
            await client.send(self.body)
            frame = await client.frame()
            assert frame["type"] in ("error", "RUN_ERROR"), frame
            return None, frame.get("errorText") or frame["message"]

    async def answer(self):
        frames = []
        async with CommunicatorClient(self._application, self._path) as client:
            await client.send(self.body)
            while not frames or not ENDS & {frames[-1]["type"], frames[-1].get("chunk", {}).get("type")}:
                frames.append({"type": "", **await client.frame()})
        assert frames[-1]["type"] not in ("error", "RUN_ERROR"), frames[-1]
        return frames


SOCKETS = {"AI SDK, socket": "ai-sdk", "AG-UI, socket": "ag-ui"}
ENDS = {"end", "error", "RUN_FINISHED", "RUN_ERROR"}


@pytest.fixture(params=[*ASKING, *SOCKETS])
def client(request, http, application):
    name = request.param
    return OverSocket(application, SOCKETS[name]) if name in SOCKETS else OverHttp(http, name)


@pytest.fixture(params=ASKING)
def http_client(request, http):
    return OverHttp(http, request.param)


def content_name(client):
    return "parts" if client.adapter == "ai-sdk" else "content"


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# Bodies that are no request.


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a":NaN}',
        b'{"a":1e999}x',
        b"[" * 4_000,
        b'{"messages":[',
    ],
)
async def test_body_that_is_no_json_object_is_refused(http_client, agent, raw):
    assert await http_client.refusal(raw) == (400, "Invalid JSON message")
    assert agent.requests == []


async def test_body_over_the_size_is_refused(http_client, agent):
    for raw in (b" " * (BODY_BYTES + 1), b'{"messages":["%b"]}' % (b"x" * BODY_BYTES)):
        status, words = await http_client.refusal(raw)
        assert (status, words.startswith("This message is too long (limit 8 MB)")) == (413, True)
    assert agent.requests == []


async def test_body_of_many_members_is_refused_before_each_is_parsed(http_client, agent):
    http_client.body.update({f"m{number}": 1 for number in range(1_000)})
    assert await http_client.refusal() == (400, "Invalid request: it has more than 1,000 members.")
    assert agent.requests == []


@pytest.mark.parametrize("kind", ["other", None, 7, ["send"], {"send": 1}])
async def test_frame_of_another_kind_is_refused_in_words(application, agent, kind):
    async with CommunicatorClient(application, CHAT_SOCKET) as client:
        await client.send(send_chat("s", type=kind))
        words = (await client.frame())["errorText"]
    assert words == "Invalid request: type must be send, resume or abort."
    assert agent.requests == []


# Messages that are not a person's.

NONE = "Invalid request: messages must have a message."
NOT_THE_USERS = "Invalid request: the last message must be the user's."
EMPTY = "Invalid request: the last message is empty."
NOT_FORWARDED = "Invalid request: this gateway does not forward ui_message;"
TOO_LARGE = "This message is too long (limit "


def with_messages(value):
    return lambda client: client.body.update(messages=value)


def with_last(**fields):
    return lambda client: client.body["messages"][-1].update(fields)


def with_content(value):
    return lambda client: client.body["messages"][-1].update({content_name(client): value})


def without_messages(client):
    del client.body["messages"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (without_messages, 400, NONE),
        (with_messages([]), 400, NONE),
        (with_messages(None), 400, NONE),
        (with_messages("Hi"), 400, NONE),
        (with_messages({"0": {}}), 400, NONE),
        (with_messages([7]), 400, NONE),
        (with_messages([None]), 400, NONE),
        (with_last(role="system"), 400, NOT_THE_USERS),
        (with_last(role="tool"), 400, NOT_THE_USERS),
        (with_last(role=["user"]), 400, NOT_THE_USERS),
        (with_messages([{}]), 400, NOT_THE_USERS),
        (with_last(role="assistant"), 400, {"ai-sdk": NOT_FORWARDED}),
        (with_content([]), 400, EMPTY),
        (with_content(""), 400, EMPTY),
        (with_content(7), 400, EMPTY),
        (with_content([{"type": "text", "text": ""}]), 400, EMPTY),
        (with_content([{"type": "text", "text": "x" * 1_025}]), 413, TOO_LARGE + "1 KB)."),
        (with_content([{"type": "file", "url": "x" * 2_049}]), 413, TOO_LARGE + "2 KB)."),
        (with_content([{"type": "data", "data": nested(200)}]), 400, "Invalid JSON message"),
        (with_content([{"type": "data", "data": [[]] * 70_000}]), 413, TOO_LARGE),
    ],
)
async def test_message_that_is_none_is_refused_in_words(client, agent, change, status, words):
    if isinstance(words, dict):
        words = words.get(client.adapter, NOT_THE_USERS)
    change(client)
    told, text = await client.refusal()
    assert (told in (status, None), text[: len(words)]) == (True, words)
    assert agent.requests == []


@pytest.mark.parametrize("part", [7, None, {}, {"type": "text"}, {"type": "image", "url": "x"}, {"type": ["text"]}])
async def test_part_of_an_unknown_kind_goes_to_the_agent_beside_the_words(client, agent, part):
    agent.script = [Token("a"), Final()]
    with_content([{"type": "text", "text": "zwölf"}, part])(client)
    await client.answer()
    (asked,) = agent.requests
    assert (asked.json["content"], asked.json["parts"]) == ("zwölf", [part])


# Ids.


@pytest.mark.parametrize("foreign_id", ["", None, 7, ["s"], "x" * 129, "ö" * 48])
async def test_id_that_can_name_no_session_is_refused(client, agent, foreign_id):
    client.name_session(foreign_id)
    if client.adapter == "openai" and not foreign_id:
        agent.script = [Token("a"), Final()]
        await client.answer()  # without a name the request has a session of its own
        assert uuid.UUID(agent.requests[0].json["session_id"])
        return
    told, text = await client.refusal()
    assert (told in (400, None), text.startswith("Invalid request: ")) == (True, True)
    assert agent.requests == []


IDS = [
    *("a" * 16, "kZ3vQ0xYp9LmN2bT", str(uuid.UUID(int=1)), "a b/c", "zwölf", "~x", "../..", ".", "\ud83d", "%2F"),
    *("\x00", "x" * 128, "ö" * 47, "user:1@example.org"),
]


async def test_ids_of_front_ends_are_mapped_each_to_a_session_of_its_own(client, agent):
    agent.script = [Token("a"), Final()]
    for number, foreign_id in enumerate(IDS):
        client.name_session(foreign_id)
        client.body["runId"] = f"run {number}"
        await client.answer()
    sessions = [request.json["session_id"] for request in agent.requests]
    assert [foreign_id_of(session_id) for session_id in sessions] == IDS


# Twice, and another's.


async def test_same_message_twice_at_once_runs_once(client, agent):
    agent.script = [Token("a"), Final()]
    one, two = await asyncio.gather(client.answer(), client.answer())
    assert (one == two or client.adapter == "openai", len(agent.requests)) == (True, 1)
    assert await client.answer()
    assert len(agent.requests) == 1


class SubjectPolicy(Policy):
    """Admits the subject that the credential names."""

    async def admit(self, handshake):
        if handshake.credential is None:
            raise Unauthorized
        return Identity(handshake.credential)


async def test_session_of_another_subject_is_neither_given_nor_asked_nor_stopped(configure, http, application, agent):
    configure(WS_AUTH=f"{__name__}.SubjectPolicy")
    agent.script = [Token("a"), Stall()]
    ann, bob = ({"Authorization": f"Bearer {name}"} for name in ("ann", "bob"))
    run = ASKING["ag-ui"]("s")
    async with opened(http, run.method, run.path, body=run.body, key=None, headers=ann) as reader:
        await reader.event()
        for request in (*(asking("s") for asking in ASKING.values()), chat_in_flight("s"), joined_run("s")):
            answer = await http.request(
                request.method, request.path, body=request.body, key=None, headers={**request.headers, **bob}
            )
            assert (answer.status, b"belongs to another user" in answer.body) == (403, True), request.path
        stop = await http.post("/api/v1/ai-sdk/chat/s/stop", key=None, headers=bob)
        assert (stop.status, b"belongs to another user" in stop.body) == (403, True)
        async with CommunicatorClient(application, f"{CHAT_SOCKET}?ticket=bob") as socket:
            for frame in (send_chat("s"), resume_chat("s")):
                await socket.send(frame)
                assert (await socket.frame())["errorText"] == "This conversation belongs to another user."
        assert len((await lifecycle.current()).connections) == 1
        assert (await (await lifecycle.current()).layer.get("s")).active_turn_id is not None
    assert len(agent.requests) == 1


async def test_another_subject_is_not_told_whether_a_session_is_being_answered(configure, http, application, agent):
    configure(WS_AUTH=f"{__name__}.SubjectPolicy")
    agent.script = [Token("a"), Final()]
    ann, bob = ({"Authorization": f"Bearer {name}"} for name in ("ann", "bob"))
    asked, resumed = ASKING["ai-sdk"]("s"), chat_in_flight("s")
    await http.request(asked.method, asked.path, body=asked.body, key=None, headers=ann)
    assert (await http.request(resumed.method, resumed.path, key=None, headers=ann)).status == 204
    assert (await http.request(resumed.method, resumed.path, key=None, headers=bob)).status == 403
    async with CommunicatorClient(application, f"{CHAT_SOCKET}?ticket=bob") as socket:
        await socket.send(resume_chat("s"))
        assert (await socket.frame())["errorText"] == "This conversation belongs to another user."


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/v1/ai-sdk/chat", {"POST"}),
        ("/api/v1/ai-sdk/chat/s/stream", {"GET"}),
        ("/api/v1/ai-sdk/chat/s/stop", {"POST"}),
        ("/api/v1/ag-ui", {"POST", "GET"}),
        ("/v1/chat/completions", {"POST"}),
        ("/v1/models", {"GET"}),
    ],
)
async def test_other_methods_are_told_which_there_are(http, agent, path, methods):
    for method in {"GET", "POST", "PUT", "DELETE"} - methods:
        answer = await http.request(method, path)
        assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, methods)
    assert agent.requests == []
