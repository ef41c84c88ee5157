"""Every entrance, with every credential, from every origin: who gets in, who is told what, and what the agent sees."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay.policies import ticket_signing
from tests import processes
from tests.clients import V1, SocketClient
from tests.front_end_requests import (
    ADAPTERS,
    CHAT_SOCKET,
    RUN_SOCKET,
    Request,
    ag_ui,
    ai_sdk,
    chat_in_flight,
    joined_run,
    openai,
    resume_chat,
    send_chat,
    send_run,
)
from tests.http_clients import API

ALLOWED = "https://allowed.example"
ORIGINS = ("none", "own", "allowed", "foreign", "null", "malformed")
GOOD_ORIGINS = ("none", "own", "allowed")
CREDENTIALS = (
    "none", "wrong key", "default key", "wrong ticket", "expired", "used", "another session's", "another subject's",
    "right ticket", "right key",
)  # fmt: skip
BODY = b'{"content":"canary of the matrix","session_id":"s"}'


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def gateway(request: pytest.FixtureRequest, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {
        "WS_AUTH": "ticket",
        "SECRET_KEY": "only-for-tests",  # as in tests/settings.py: tickets are made here
        "ALLOWED_ORIGINS": ALLOWED,
        "CHAT_PAGE": "true",
        "ADMIN": "true",
        "AGENT_PASS": "/open/*",
        "ADAPTERS": f"{ADAPTERS},tests.extending.project.helpdesk.kiosk.Kiosk",
    }
    with processes.gateway(request.param, scripted_agent.http_url, **settings) as gateway:
        yield gateway


_names = itertools.count(1)


@dataclass
class Case:
    """One try: a session of its own, a credential and an origin."""

    gateway: processes.Process
    credential: str
    origin: str

    def __post_init__(self) -> None:
        self.session_id = f"matrix-{self.gateway.port}-{next(_names)}"
        self.ticket = self._ticket()

    def _ticket(self) -> str:
        match self.credential:
            case "wrong ticket":
                return ticket_signing.issue(self.session_id, None, 60)[:-4] + "AAAA"
            case "expired":
                return ticket_signing.issue(self.session_id, None, -1)
            case "another session's":
                return ticket_signing.issue("elsewhere", None, 60)
            case "another subject's":
                return ticket_signing.issue(self.session_id, "eve", 60)
            case "used" | "right ticket":
                return ticket_signing.issue(self.session_id, "ada", 60)
            case "key as Bearer":
                return processes.KEY
        return ""

    @property
    def headers(self) -> dict[str, str]:
        keys = {"wrong key": "wrong", "default key": "change-me-internal-key", "right key": processes.KEY}
        key = keys.get(self.credential)
        return {"X-Internal-Auth": key} if key else {}

    @property
    def origin_header(self) -> str | None:
        own = f"http://127.0.0.1:{self.gateway.port}"
        texts = {"own": own, "allowed": ALLOWED, "foreign": "https://evil.example", "null": "null"}
        return {**texts, "malformed": "http://[x"}.get(self.origin)

    async def prepare(self) -> None:
        """Use a ticket up, or let another subject start the session."""
        if self.credential in ("used", "another subject's"):
            ticket = self.ticket if self.credential == "used" else ticket_signing.issue(self.session_id, "ada", 60)
            async with SocketClient(f"{self.gateway.ws_url}/ws/{self.session_id}/?ticket={ticket}") as browser:
                if self.credential == "another subject's":
                    await browser.ask("canary of the owner")

    def __str__(self) -> str:
        return f"{self.credential}, origin {self.origin}"


def cases(gateway: processes.Process, *more: str) -> Iterator[Case]:
    return (Case(gateway, credential, origin) for credential in (*CREDENTIALS, *more) for origin in ORIGINS)


def asked_sessions(agent: processes.Process) -> set[str]:
    with urllib.request.urlopen(f"{agent.http_url}/requests") as response:
        return {request["json"]["session_id"] for request in json.load(response)["requests"]}


# Sockets.


async def open_plain(case: Case) -> int | str:
    url = f"{case.gateway.ws_url}/ws/{case.session_id}/?ticket={case.ticket}"
    try:
        async with SocketClient(url, origin=case.origin_header, additional_headers=case.headers) as browser:
            await browser.ask("canary of the matrix")
            return "open"
    except InvalidStatus as refused:
        return refused.response.status_code


async def open_v1(case: Case) -> int | str:
    url = f"{case.gateway.ws_url}/ws/{case.session_id}/"
    encoded = base64.urlsafe_b64encode(case.ticket.encode()).decode().rstrip("=")
    offered = [V1, f"gateway.ticket.{encoded}"] if encoded else [V1]
    try:
        async with SocketClient(url, offered, origin=case.origin_header, additional_headers=case.headers) as browser:
            assert browser.connection.subprotocol == V1
            frame = await browser.frame()
            if frame["type"] == "welcome":
                await browser.ask("canary of the matrix")
                return "open"
            assert frame["type"] == "disconnect"
            return await browser.close_code() or 0
    except InvalidStatus as refused:
        return refused.response.status_code


def expected_of_socket(case: Case, refusals: dict[str, int]) -> tuple[int | str, ...]:
    if case.origin == "malformed":
        return (400, 403)  # daphne's parser refuses it before we see it
    if case.origin not in GOOD_ORIGINS:
        return (403,)
    if case.credential in ("right ticket", "right key"):
        return ("open",)
    return (refusals.get(case.credential, refusals["else"]),)


@pytest.mark.parametrize(
    ("open_socket", "refusals"),
    [(open_plain, {"else": 403}), (open_v1, {"else": 4401, "another subject's": 4403})],
    ids=["plain", "v1"],
)
async def test_sockets(gateway, scripted_agent, open_socket, refusals):
    opened = set()
    for case in cases(gateway):
        await case.prepare()
        outcome = await open_socket(case)
        assert outcome in expected_of_socket(case, refusals), f"{case}: {outcome}"
        if outcome == "open":
            opened.add(case.session_id)
    ours = {session_id for session_id in asked_sessions(scripted_agent) if f"-{gateway.port}-" in session_id}
    assert opened <= ours
    assert len(opened) == 2 * len(GOOD_ORIGINS)


async def test_who_is_refused_cannot_say_anything_before_the_door_shuts(gateway, scripted_agent):
    """The socket of a gateway.v1 client is open for a moment, to tell it why it is refused."""
    case = Case(gateway, "none", "own")
    async with SocketClient(f"{gateway.ws_url}/ws/{case.session_id}/", [V1]) as browser:
        with contextlib.suppress(ConnectionClosed):
            await browser.say("canary of the matrix")
        assert (await browser.frame())["code"] == "unauthorized"
        assert await browser.close_code() == 4401
    ticket = ticket_signing.issue(case.session_id, None, 60)
    async with SocketClient(f"{gateway.ws_url}/ws/{case.session_id}/?ticket={ticket}") as late:
        await late.ask("the only thing said")
    with urllib.request.urlopen(f"{scripted_agent.http_url}/requests") as response:
        said = [request["json"] for request in json.load(response)["requests"]]
    assert [what["content"] for what in said if what["session_id"] == case.session_id] == ["the only thing said"]


# HTTP.


@dataclass(frozen=True)
class Entrance:
    """An HTTP entrance; ``with_key`` is its status with the key, ``without`` what everybody else gets."""

    method: str
    path: str
    with_key: int
    without: int = 401
    body: bytes | None = None


ENTRANCES = [
    Entrance("GET", f"{API}/{{s}}", 404),
    Entrance("GET", f"{API}/{{s}}/frames", 404),
    Entrance("POST", f"{API}/{{s}}/turns", 405),
    Entrance("PUT", f"{API}/{{s}}", 405),
    Entrance("PUT", "/api/v1/me/sessions", 405),
    Entrance("GET", API, 200),
    Entrance("GET", "/api/v1/openapi.json", 200),
    Entrance("POST", "/api/v1/tickets", 201, body=BODY),
    Entrance("GET", "/api/v1/x", 404),
    Entrance("POST", f"{API}/{{s}}/events", 405),
    Entrance("DELETE", f"{API}/{{s}}/queue", 200),
    Entrance("DELETE", f"{API}/{{s}}/viewers", 202),
    Entrance("POST", "/api/v1/notice", 400, body=b"["),
    Entrance("POST", "/api/v1/drain", 400, body=b"["),
    Entrance("GET", "/metrics", 200),
    Entrance("GET", "/x", 404),
    Entrance("GET", "/ws/{s}/", 404),
    Entrance("GET", "/favicon.ico", 404),
    Entrance("GET", "/", 200, 200),
    Entrance("GET", "/static/relay/chat.css", 200, 200),
    Entrance("GET", "/static/relay/none.css", 404, 404),
    Entrance("GET", "/admin/", 302, 302),
    Entrance("GET", "/admin/login/", 200, 200),
    Entrance("GET", "/health", 200, 200),
    Entrance("GET", "/ready", 200, 200),
]


@contextlib.contextmanager
def ask(case: Case, entrance: Entrance, headers: Mapping[str, str] = {}) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", case.gateway.port, timeout=60)
    headers = {**case.headers, **headers}
    if case.ticket:
        headers["Authorization"] = f"Bearer {case.ticket}"
    if case.origin_header:
        headers["Origin"] = case.origin_header
    path = entrance.path.format(s=case.session_id)
    with contextlib.closing(connection):
        connection.request(entrance.method, path, entrance.body, headers)
        with connection.getresponse() as response:
            yield response


@pytest.mark.parametrize("entrance", ENTRANCES, ids=lambda entrance: f"{entrance.method} {entrance.path}")
async def test_http(gateway, scripted_agent, entrance):
    refused = set()
    for case in cases(gateway):
        with ask(case, entrance) as response:
            status = entrance.with_key if case.credential == "right key" else entrance.without
            assert response.status == status, f"{case}: {response.status}"
            assert response.headers["Access-Control-Allow-Origin"] == readers(entrance.path, case.origin), str(case)
            assert response.headers["Access-Control-Allow-Credentials"] is None
            text = response.read().decode()
            if status >= 400:
                assert set(json.loads(text)) <= {"detail", "type", "code", "content"}, text
        if case.credential != "right key":
            refused.add(case.session_id)
    assert not refused & asked_sessions(scripted_agent)


def readers(path: str, origin: str) -> str | None:
    """Whose pages may read an answer; files that are there for all, such as the JavaScript client, anybody's."""
    if path.startswith("/static/relay/chat"):
        return "*"
    return ALLOWED if origin == "allowed" and path.startswith("/api/v1/") else None


def first_event(response: Any) -> dict[str, Any]:
    while not (line := response.readline().decode()).startswith("data: "):
        assert line, "the stream ended"
    return json.loads(line.removeprefix("data: "))


async def test_event_streams(gateway):
    """With the key a stream opens from any page: whoever has it needs no browser."""
    for case in cases(gateway):
        await case.prepare()
        path = f"{API}/{{s}}/events" + (f"?ticket={case.ticket}" if case.ticket else "")
        case.ticket = ""  # it is shown once
        with ask(case, Entrance("GET", path, 200)) as response:
            outcome = response.status if response.status != 200 else first_event(response).get("code", "open")
        if case.credential == "right key":
            expected: int | str = "open"
        elif case.origin not in GOOD_ORIGINS:
            expected = 403
        else:
            expected = {"right ticket": "open", "another subject's": "forbidden"}.get(case.credential, 401)
        assert outcome == expected, f"{case}: {outcome}"


@pytest.mark.parametrize(
    "entrance",
    [
        Entrance("GET", f"{API}/{{s}}/turns", 200, 200),
        Entrance("PATCH", f"{API}/{{s}}", 404, 404, b'{"title":"x"}'),
        Entrance("DELETE", f"{API}/{{s}}", 404, 404),
        Entrance("POST", f"{API}/{{s}}/messages", 202, 202, BODY),
        Entrance("POST", f"{API}/{{s}}/cancel", 200, 200, b"{}"),
    ],
    ids=lambda entrance: f"{entrance.method} {entrance.path}",
)
async def test_of_a_session(gateway, scripted_agent, entrance):
    """What front ends may do with a session opens as its log does; a ticket that was taken opens nothing more."""
    refused = set()
    for case in cases(gateway):
        await case.prepare()
        with ask(case, entrance) as response:
            status, text = response.status, response.read().decode()
        if case.credential == "right key":
            expected = entrance.with_key
        elif case.origin not in GOOD_ORIGINS:
            expected = 403
        else:
            expected = {"right ticket": entrance.without, "another subject's": 403}.get(case.credential, 401)
        assert status == expected, f"{case}: {status}"
        assert "canary" not in text, str(case)
        if status >= 400 and case.credential not in ("used", "another subject's"):  # in these another client has asked
            refused.add(case.session_id)
        if case.credential == "right ticket" and case.origin in GOOD_ORIGINS:
            for path in ("turns", "events"):
                with ask(case, Entrance("GET", f"{API}/{{s}}/{path}", 401)) as response:
                    assert response.status == 401, f"{case}: used twice"
    assert not refused & asked_sessions(scripted_agent)


@pytest.mark.parametrize(
    "entrance",
    [Entrance("GET", "/api/v1/me/sessions", 200), Entrance("POST", API, 201, body=b"{}")],
    ids=lambda entrance: f"{entrance.method} {entrance.path}",
)
async def test_of_no_session(gateway, entrance):
    """A ticket is for one session: it lists none and makes none."""
    for case in cases(gateway):
        with ask(case, entrance) as response:
            expected = entrance.with_key
            if case.credential != "right key":
                expected = 401 if case.origin in GOOD_ORIGINS else 403
            assert response.status == expected, f"{case}: {response.status}"


@pytest.mark.parametrize("path", [f"{API}/{{s}}/pending", "/open/x?session_id={s}"], ids=["pending", "agent's path"])
async def test_questions_and_paths_of_the_agent(gateway, path):
    """They are for those to whom the log opens; a ticket is good for one request."""
    is_pending = path.endswith("pending")
    found = 404 if is_pending else 200  # nothing was said in most of these sessions
    for case in cases(gateway):
        await case.prepare()
        statuses = []
        for _ in range(2):
            with ask(case, Entrance("GET", path, 200)) as response:
                statuses.append(response.status)
                assert "canary" not in response.read().decode(), str(case)
        if case.credential == "right key":
            expected = [found, found]
        elif case.origin not in GOOD_ORIGINS:
            expected = [403, 403]
        elif case.credential == "right ticket":
            expected = [found, found if is_pending else 401]  # where nothing is found a ticket is not used up
        elif case.credential == "another subject's":
            expected = [403, 403] if is_pending else [200, 401]
        else:
            expected = [401, 401]
        assert statuses == expected, f"{case}: {statuses}"


# Other front ends.


@dataclass(frozen=True)
class Adapter:
    """A path of another front end.

    Attributes:
        ask: what its client asks of a session.
        status: of the answer to a client that is admitted.
        starts: does it let the agent be asked?
        owner_is_asked: is the session's owner looked at, so that another subject is refused?
    """

    ask: Callable[[str], Request]
    status: int = 200
    starts: bool = False
    owner_is_asked: bool = True


def stop(session_id: str) -> Request:
    return Request("POST", f"/api/v1/ai-sdk/chat/{session_id}/stop", None, {})


def kiosk(session_id: str) -> Request:
    """Ask at the adapter of a project."""
    body = {"kiosk": session_id, "messages": [{"role": "user", "words": "Hi"}]}
    return Request("POST", "/api/v1/adapters/kiosk", body, {})


def models(session_id: str) -> Request:
    return Request("GET", "/v1/models", None, {})


ADAPTER_PATHS = {
    "AI SDK": Adapter(ai_sdk, starts=True),
    "AI SDK, the turn in flight": Adapter(chat_in_flight, 204),
    "AI SDK, stop": Adapter(stop),
    "AG-UI": Adapter(ag_ui, starts=True),
    "OpenAI": Adapter(openai, starts=True),
    "a project's own": Adapter(kiosk, starts=True),
    "OpenAI, models": Adapter(models, owner_is_asked=False),
}
# Where there is nothing to protect: a run that is not known, a path that does not exist.
UNKNOWN_PATHS = [joined_run, lambda _: Request("GET", "/v1/files", None, {})]


def expected_of_adapter(case: Case, adapter: Adapter) -> int:
    is_openai = adapter.ask in (openai, models)
    if case.credential == "right key" or (case.credential == "key as Bearer" and is_openai):
        return adapter.status
    if case.origin not in GOOD_ORIGINS:
        return 403
    if case.credential == "right ticket" and adapter.ask is not models:  # a ticket is of one session
        return adapter.status
    if case.credential == "another subject's" and adapter.ask is not models:
        return 403 if adapter.owner_is_asked else adapter.status
    return 401


def asked(case: Case, request: Request) -> tuple[int, bytes, Any]:
    body = None if request.body is None else json.dumps(request.body).encode()
    with ask(case, Entrance(request.method, request.path, 0, body=body), request.headers) as response:
        return response.status, response.read(), response.headers


@pytest.mark.parametrize("adapter", ADAPTER_PATHS.values(), ids=ADAPTER_PATHS)
async def test_adapters(gateway, scripted_agent, adapter):
    refused, admitted = set(), set()
    for case in cases(gateway, "key as Bearer"):
        await case.prepare()
        request = adapter.ask(case.session_id)
        if request.body is not None:
            request.body["messages"][-1].update(content="canary of the matrix")
        status, body, headers = asked(case, request)
        assert status == expected_of_adapter(case, adapter), f"{case}: {status}"
        assert headers["Access-Control-Allow-Origin"] == readers("/api/v1/", case.origin), str(case)
        assert headers["Access-Control-Allow-Credentials"] is None
        assert status < 400 or b"Sign in again." in body or b"have access to this" in body or b"another user" in body
        if case.credential not in ("used", "another subject's"):  # in these another client has asked
            (admitted if status < 400 else refused).add(case.session_id)
    heard = asked_sessions(scripted_agent)
    assert not refused & heard
    assert admitted <= heard if adapter.starts else not admitted & heard


@pytest.mark.parametrize("request_of", UNKNOWN_PATHS, ids=["AG-UI, an unknown run", "OpenAI, an unknown path"])
async def test_what_is_not_there_is_told_to_every_client_alike(gateway, request_of):
    answers = {asked(case, request_of(case.session_id))[:2] for case in cases(gateway, "key as Bearer")}
    ((status, _),) = answers
    assert status == 404


@dataclass(frozen=True)
class Shared:
    """A request on a socket that many sessions share."""

    path: str
    frame_of: Callable[[str], dict[str, Any]]
    ticket_in: str
    end: str
    starts: bool = True


def outcome_of(frame: dict[str, Any]) -> str | None:
    """How a request has ended, if it has: its error's words, or the kind of its last frame."""
    frame = frame.get("chunk", frame) if "id" in frame else frame  # in AG-UI an event is in an envelope
    if frame["type"] in ("end", "no-active", "RUN_FINISHED"):
        return frame["type"]
    return frame.get("errorText") or frame.get("message")


async def open_shared(case: Case, shared: Shared, in_frame: bool) -> int | str:
    """Open a shared socket, and let it carry one request. Returns what becomes of it."""
    more = {"additional_headers": case.headers, "origin": case.origin_header}
    frame = {**shared.frame_of(case.session_id), shared.ticket_in: {"ticket": case.ticket} if in_frame else {}}
    query = "" if in_frame or not case.ticket else f"?ticket={case.ticket}"
    try:
        async with SocketClient(f"{case.gateway.ws_url}{shared.path}{query}", **more) as client:
            await client.send(frame)
            while (outcome := outcome_of(await client.frame())) is None:
                pass
            return outcome
    except InvalidStatus as refused:
        return refused.response.status_code


SHARED = {
    "AI SDK, send": Shared(CHAT_SOCKET, send_chat, "body", "end"),
    "AI SDK, resume": Shared(CHAT_SOCKET, resume_chat, "body", "no-active", starts=False),
    "AG-UI": Shared(RUN_SOCKET, send_run, "forwardedProps", "RUN_FINISHED"),
}


@pytest.mark.parametrize("in_frame", [True, False], ids=["ticket in the frame", "ticket at the handshake"])
@pytest.mark.parametrize("shared", SHARED.values(), ids=SHARED)
async def test_shared_sockets(gateway, scripted_agent, shared, in_frame):
    """With tickets the socket opens without one; each request shows its session's."""
    admitted, refused = set(), set()
    for case in cases(gateway):
        await case.prepare()
        outcome = await open_shared(case, shared, in_frame)
        expected: tuple[int | str, ...] = ("You are signed out or your access has expired. Sign in again.",)
        if case.origin == "malformed":
            expected = (400, 403)
        elif case.origin not in GOOD_ORIGINS:
            expected = (403,)
        elif case.credential in ("right ticket", "right key"):
            expected = (shared.end,)
        elif case.credential == "another subject's":
            expected = ("no-active", "This conversation belongs to another user.")
        assert outcome in expected, f"{case}: {outcome}"
        if case.credential not in ("used", "another subject's"):
            (admitted if outcome == shared.end else refused).add(case.session_id)
    heard = asked_sessions(scripted_agent)
    assert not refused & heard
    assert admitted <= heard if shared.starts else not admitted & heard
