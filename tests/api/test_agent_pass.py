"""The agent's own paths: what reaches the agent of a client's request, and what comes back of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from relay.access import connection_limits
from relay.policies import ticket_signing
from relay.process import lifecycle
from relay.tasks import first_completed
from tests.clients import LIMIT_SECONDS
from tests.clock import Clock
from tests.http_clients import HttpClient, scope_of
from tests.processes import KEY
from tests.server.conftest import until
from tests.tcp_server import TcpServer

JSON = b'[{"name":"billing"}]'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n" + JSON


class RawAgent:
    """Answers each connection with some bytes, and keeps what was asked.

    ``hold`` keeps the connection open behind them until it is set.
    """

    def __init__(self) -> None:
        self.answer = OK
        self.asked: list[bytes] = []
        self.hold: asyncio.Event | None = None
        self.left = asyncio.Event()
        self._server = TcpServer(self._serve)

    async def __aenter__(self) -> RawAgent:
        self._server.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    @property
    def url(self) -> str:
        return self._server.url

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length:" in line), 0)
        self.asked.append(head + await reader.readexactly(size))
        with suppress(ConnectionError):
            writer.write(self.answer)
            await writer.drain()
            if self.hold is not None:
                await first_completed(reader.read(), self.hold.wait())
        self.left.set()
        writer.close()
        await writer.wait_closed()

    @property
    def last(self) -> tuple[str, dict[str, str]]:
        """The newest request's first line, and its headers by lower-case name."""
        line, *fields = self.asked[-1].partition(b"\r\n\r\n")[0].decode().split("\r\n")
        return line, {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}


@pytest.fixture
async def raw_agent(application: Any, settings: Any) -> AsyncIterator[RawAgent]:
    async with RawAgent() as agent:
        settings.GATEWAY = {
            **settings.GATEWAY,
            "AGENT_URL": f"{agent.url}/base",
            "AGENT_PASS": "/agents, /files/*, POST /feedback, /events",
        }
        yield agent


async def test_answer_of_the_agent_is_the_clients(http: HttpClient, raw_agent: RawAgent):
    answer = await http.get("/agents?kind=a%20b&kind=c")
    assert (answer.status, answer.body) == (200, JSON)
    assert answer.headers["content-type"] == "application/json"
    assert raw_agent.last[0] == "GET /base/agents?kind=a%20b&kind=c HTTP/1.1"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "private, no-cache"),
        ("max-age=60", "max-age=60, private"),
        ("max-age=60, Public", "max-age=60, Public"),
        ("s-maxage=60", "s-maxage=60"),
        ("private", "private"),
    ],
)
async def test_no_cache_gives_it_to_others_unless_the_agent_says_so(
    http: HttpClient, raw_agent: RawAgent, said: str, told: str
):
    raw_agent.answer = OK.replace(b"\r\n\r\n", f"\r\nCache-Control: {said}\r\n\r\n".encode()) if said else OK
    assert (await http.get("/agents")).headers["cache-control"] == told


async def test_no_credential_and_nothing_of_the_connection_reaches_the_agent(
    http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None]
):
    configure(AGENT_PROTOCOL="agui", AGENT_HEADERS="X-Team: chat")
    secrets = {
        "Authorization": "Bearer client-secret", "Cookie": "sessionid=client-secret", "X-Api-Key": "client-secret",
        "Proxy-Authorization": "client-secret", "Connection": "keep-alive, X-Custom", "X-Custom": "client-secret",
        "Te": "trailers", "Upgrade": "websocket", "Transfer-Encoding": "chunked", "X-Subject": "client-secret",
        "X-Forwarded-For": "10.0.0.1", "Accept": "text/csv", "If-None-Match": '"a"', "Last-Event-ID": "7",
        "Accept-Encoding": "gzip", "Host": "test", "Range": "x" * 9_000,
    }  # fmt: skip
    await http.get("/agents?ticket=client-secret&%74icket=client-secret&a=1", headers=secrets)
    line, headers = raw_agent.last
    assert line == "GET /base/agents?a=1 HTTP/1.1"
    assert b"client-secret" not in raw_agent.asked[-1]
    assert KEY.encode() not in raw_agent.asked[-1]
    assert headers.pop("host").startswith("127.0.0.1:")
    assert headers.pop("user-agent").startswith("python-httpx/")
    assert headers == {
        "accept": "text/csv", "if-none-match": '"a"', "last-event-id": "7", "accept-encoding": "identity",
        "connection": "close", "x-team": "chat",
    }  # fmt: skip


async def test_agent_gets_the_keys_of_the_gateway_as_in_a_turn(
    http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None]
):
    configure(AGENT_API_KEY="agents-key", WS_AUTH="ticket")
    await http.get(f"/agents?session_id=s&ticket={ticket_signing.issue('s', 'ada', 60)}", key=None)
    line, headers = raw_agent.last
    assert line == "GET /base/agents?session_id=s HTTP/1.1"
    assert headers["authorization"] == "Bearer agents-key"
    assert (headers["x-internal-auth"], headers["x-subject"]) == (KEY, "ada")


async def test_nothing_of_the_agents_access_or_connection_reaches_the_client(http: HttpClient, raw_agent: RawAgent):
    raw_agent.answer = (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nSet-Cookie: a=agent-secret\r\nServer: agent-secret\r\n"
        b'WWW-Authenticate: agent-secret\r\nKeep-Alive: timeout=5\r\nX-Internal: agent-secret\r\nETag: "b"\r\n'
        b"Access-Control-Allow-Origin: *\r\nContent-Security-Policy: none\r\nContent-Length: 2\r\n\r\nno"
    )
    answer = await http.get("/files/a/b.html")
    assert (answer.status, answer.body) == (404, b"no")
    assert "agent-secret" not in str(answer.headers)
    assert answer.headers.keys().isdisjoint({"set-cookie", "www-authenticate", "keep-alive", "server"})
    assert answer.headers.get("access-control-allow-origin") != "*"
    assert (answer.headers["content-type"], answer.headers["etag"]) == ("text/html", '"b"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/agents", 200),
        ("HEAD", "/agents", 200),
        ("GET", "/files/a/b.txt", 200),
        ("GET", "/files", 200),
        ("POST", "/agents", 405),
        ("DELETE", "/files/a", 405),
        ("GET", "/feedback", 405),
        ("GET", "/agents/", 404),
        ("GET", "/agents/x", 404),
        ("GET", "/agentsx", 404),
        ("GET", "/AGENTS", 404),
        ("GET", "/filesx", 404),
        ("GET", "/files/../agents", 404),
        ("GET", "/files/%2e%2e/secret", 404),
        ("GET", "/files/..%2fsecret", 404),
        ("GET", "/files/a%2fb", 404),
        ("GET", "/files/a%5cb", 404),
        ("GET", "/files/a%00", 404),
        ("GET", "/files/a%0d%0aX: y", 404),
        ("GET", "/files//a", 404),
        ("GET", "/files/./a", 404),
        ("GET", "/files/a b", 404),
        ("GET", "//agents", 404),
        ("GET", "/%61gents", 404),
        ("GET", "/other", 404),
    ],
)
async def test_only_the_named_paths_are_passed(
    http: HttpClient, raw_agent: RawAgent, method: str, path: str, status: int
):
    if method == "HEAD":
        raw_agent.answer = OK.partition(JSON)[0]
    answer = await http.request(method, path)
    assert answer.status == status
    assert len(raw_agent.asked) == (status == 200)
    if status == 405:
        assert answer.headers["allow"] in ("GET, HEAD", "POST")


async def test_nothing_is_passed_by_default(http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None]):
    configure(AGENT_PASS="")
    assert (await http.get("/agents")).status == 404
    assert raw_agent.asked == []


async def test_body_is_passed_where_its_method_is_named(
    http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None]
):
    assert (await http.post("/feedback", {"stars": 5}, headers={"Content-Type": "application/json"})).status == 200
    line, headers = raw_agent.last
    assert (line, headers["content-type"]) == ("POST /base/feedback HTTP/1.1", "application/json")
    assert raw_agent.asked[-1].endswith(b'\r\n\r\n{"stars": 5}')
    configure(MAX_MESSAGE_BYTES="1024")
    refused = await http.post("/feedback", b"x" * 1_025)
    assert (refused.status, refused.json()["code"]) == (413, "message_too_large")
    assert len(raw_agent.asked) == 1


# Access.


async def test_access_is_that_of_a_session(http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None]):
    configure(WS_AUTH="ticket")

    def path(session_id: str) -> str:
        return f"/agents?session_id={session_id}&ticket={ticket_signing.issue('s', 'ada', 60)}"

    assert (await http.get("/agents", key=None)).status == 401
    assert (await http.get(path("other"), key=None)).status == 401
    assert (await http.get(path("a%2Fb"), key=None)).status == 401
    assert raw_agent.asked == []
    assert (await http.get(path("s"), key=None)).status == 200


async def test_policy_that_knows_no_credential_leaves_it_to_services(http: HttpClient, raw_agent: RawAgent):
    assert (await http.get("/agents", key=None)).status == 401
    assert (await http.get("/agents")).status == 200


async def test_connections_of_an_address_are_counted(
    http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    limiter = (await lifecycle.current()).connection_limiter
    open_now: list[int] = []
    monkeypatch.setattr(connection_limits.ConnectionLimiter, "acquire", lambda self, network: open_now.append(1))
    monkeypatch.setattr(connection_limits.ConnectionLimiter, "release", lambda self, network: open_now.pop())
    assert limiter is not None
    for path in ("/agents", "/files/a"):
        assert (await http.get(path)).status == 200
    raw_agent.answer = b"HTTP/1.1 500 No\r\n\r\n"
    assert (await http.get("/agents")).status == 502
    assert open_now == []


# Answers that are not passed, and bodies as they come.


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\nsecret",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
)
async def test_answer_that_concerns_the_gateway_alone_is_none_of_the_clients(
    http: HttpClient, raw_agent: RawAgent, answer: bytes
):
    raw_agent.answer = answer
    refused = await http.get("/agents")
    assert (refused.status, refused.json()) == (502, {"detail": "the agent could not answer"})
    assert "location" not in refused.headers


async def test_not_modified_has_no_body(http: HttpClient, raw_agent: RawAgent):
    raw_agent.answer = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'
    answer = await http.get("/agents", headers={"If-None-Match": '"a"'})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", '"a"')


async def test_agent_that_is_not_there_is_a_bad_gateway(
    http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None]
):
    configure(AGENT_URL="http://127.0.0.1:9")
    assert (await http.get("/agents")).status == 502


async def test_function_has_no_paths(http: HttpClient, raw_agent: RawAgent, configure: Callable[..., None]):
    configure(AGENT_PROTOCOL="tests.api.test_agent_pass.answer_of_a_function")
    assert (await http.get("/agents")).status == 404


Endless = tuple[list[dict[str, Any]], asyncio.Task[None]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


async def piece(chunks: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await anext(chunks)


async def test_stream_comes_as_it_is_written_and_ends_with_its_client(http: HttpClient, raw_agent: RawAgent):
    raw_agent.answer, raw_agent.hold = STREAM + b"data: 1\n\n", asyncio.Event()
    async with http.open("GET", "/events") as (answer, chunks):
        assert answer.headers["content-type"] == "text/event-stream"
        assert await piece(chunks) == b"data: 1\n\n"
    async with asyncio.timeout(LIMIT_SECONDS):
        await raw_agent.left.wait()


async def send_to_the_client(application: Any, sent: list[dict[str, Any]]) -> None:
    """Collect the ASGI messages of an answer, to its end or to where it breaks off."""
    asked = iter([{"type": "http.request", "body": b""}])

    async def receive() -> dict[str, Any]:
        if (message := next(asked, None)) is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope_of("GET", "/events", {"X-Internal-Auth": KEY}), receive, send)


async def sent_to_the_client(application: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    async with asyncio.timeout(LIMIT_SECONDS):
        await send_to_the_client(application, sent)
    return sent


@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        (STREAM.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n") + b"half", {}),
        (STREAM + b"x" * 2_000, {"MAX_TURN_BYTES": "1024"}),
    ],
    ids=["cut", "too long"],
)
async def test_body_that_is_not_whole_breaks_off(
    application: Any, raw_agent: RawAgent, configure: Callable[..., None], answer: bytes, setting: Any
):
    configure(**setting)
    raw_agent.answer = answer
    head, *body = await sent_to_the_client(application)
    assert head["status"] == 200
    assert all(message["more_body"] for message in body)


@pytest.fixture(params=["REQUEST_TIMEOUT", "TURN_TIMEOUT"], ids=["silent", "too slow"])
def limited(configure: Callable[..., None], request: pytest.FixtureRequest) -> None:
    """One limit of a body is 100 seconds."""
    configure(**{"REQUEST_TIMEOUT": "1000", request.param: "100"})


@pytest.fixture
async def endless(application: Any, raw_agent: RawAgent) -> AsyncIterator[Endless]:
    """A body that goes on; its first piece is sent."""
    raw_agent.answer, raw_agent.hold = STREAM + b"data: 1\n\n", asyncio.Event()
    sent: list[dict[str, Any]] = []
    sending = asyncio.create_task(send_to_the_client(application, sent))
    await until(lambda: any(message.get("body") for message in sent))
    yield sent, sending
    await sending


async def test_body_of_an_agent_that_is_silent_or_too_slow_breaks_off(limited: None, endless: Endless, clock: Clock):
    sent, sending = endless
    clock.advance(100)
    async with asyncio.timeout(LIMIT_SECONDS):
        await sending
    assert sent[0]["status"] == 200
    assert all(message["more_body"] for message in sent[1:])


async def test_endless_body_is_cut_when_the_gateway_stops(endless: Endless):
    sent, sending = endless
    await lifecycle.drain()
    async with asyncio.timeout(LIMIT_SECONDS):
        await sending
    assert sent[-1]["more_body"] is True
    assert not (await lifecycle.current()).connections


async def test_body_that_is_whole_has_its_end(application: Any, raw_agent: RawAgent):
    assert (await sent_to_the_client(application))[-1].get("more_body", False) is False


async def answer_of_a_function(message: Any, session: Any) -> AsyncIterator[str]:
    yield "Hello."
