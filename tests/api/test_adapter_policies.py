"""Each access policy, at each path of other front ends, with each credential."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from relay.policies import ticket_signing
from tests.clients import LIMIT_SECONDS, CommunicatorClient
from tests.front_end_requests import (
    ADAPTERS,
    ASKING,
    CHAT_SOCKET,
    RUN_SOCKET,
    Request,
    chat_in_flight,
    replay_path,
    resume_chat,
)
from tests.identity_provider import AUDIENCE, ISSUER, IdentityProvider
from tests.processes import KEY
from tests.scripted_agent import Final, Token

UNAUTHORIZED = "You are signed out or your access has expired. Sign in again."
STATUSES = {"AI SDK, the turn in flight": 204}
PATHS = {
    **ASKING,
    "AI SDK, the turn in flight": chat_in_flight,
    "AI SDK, stop": lambda session_id: Request("POST", f"/api/v1/ai-sdk/chat/{session_id}/stop", None, {}),
    "OpenAI, models": lambda _: Request("GET", "/v1/models", None, {}),
}


class Credentials(NamedTuple):
    """Headers with a credential of the policy: one that is right, and one that is wrong."""

    policy: str
    right: dict[str, str]
    wrong: dict[str, str]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def logged_in(client: Any, django_user_model: Any) -> str:
    client.force_login(django_user_model.objects.create_user("ada"))
    return str(client.cookies["sessionid"].value)


LOGINS = pytest.param("session", marks=pytest.mark.django_db(transaction=True))


@pytest.fixture(params=["open", "ticket", "jwt", LOGINS])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cookie(request: pytest.FixtureRequest, policy: str) -> str:
    """The cookie of a login, where it counts."""
    return str(request.getfixturevalue("logged_in")) if policy == "session" else "x"


@pytest.fixture
async def credentials(policy: str, configure: Any, cookie: str) -> AsyncIterator[Credentials]:
    configure(ADAPTERS=ADAPTERS, WS_AUTH=policy)
    async with IdentityProvider() as provider:
        if policy == "jwt":
            configure(JWKS_URL=provider.url, JWT_ISSUER=ISSUER, JWT_AUDIENCE=AUDIENCE)
        ticket = ticket_signing.issue("s", "ada", 60)
        yield {
            "open": Credentials(policy, {}, bearer("x")),
            "ticket": Credentials(policy, bearer(ticket), bearer(ticket[:-4] + "AAAA")),
            "jwt": Credentials(policy, bearer(provider.token()), bearer(provider.token()[:-2])),
            "session": Credentials(policy, {"Cookie": f"sessionid={cookie}"}, {"Cookie": f"sessionid={cookie}x"}),
        }[policy]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def status(http: Any, path: str, agent: Any) -> Any:
    agent.script = [Token("a"), Final()]

    async def ask(headers: dict[str, str], key: str | None = None) -> int:
        request = PATHS[path]("s")
        answer = await http.request(
            request.method, request.path, body=request.body, headers={**request.headers, **headers}, key=key
        )
        return int(answer.status)

    return ask


async def test_who_may(credentials, status, path, agent):
    for headers in ({}, credentials.wrong, bearer("wrong"), bearer(""), {"Authorization": f"Basic {KEY}"}):
        assert await status(headers) == 401, headers
    assert await status({}, "wrong key") == 401
    assert agent.requests == []
    is_admitted = credentials.policy not in ("open", *(["ticket"] if path == "OpenAI, models" else []))
    success = STATUSES.get(path, 200)
    assert await status(credentials.right) == (success if is_admitted else 401)


async def test_the_key_is_for_every_policy(credentials, status, path):
    success, is_openai = STATUSES.get(path, 200), path in ("openai", "OpenAI, models")
    assert await status({}, KEY) == success
    assert await status(credentials.wrong, KEY) == success
    assert await status(bearer(KEY)) == (success if is_openai else 401)
    assert await status({"Authorization": f"bearer  {KEY} "}) == (success if is_openai else 401)


@pytest.mark.parametrize("path", ["AI SDK, the turn in flight", "AI SDK, stop"], indirect=True)
async def test_ticket_is_good_for_one_request_also_where_no_stream_follows(configure, status, path):
    configure(ADAPTERS=ADAPTERS, WS_AUTH="ticket")
    ticket = bearer(ticket_signing.issue("s", "ada", 60))
    assert [await status(ticket) for _ in range(2)] == [STATUSES.get(path, 200), 401]


async def test_ticket_is_good_for_one_resume_of_a_shared_socket_that_finds_no_turn(configure, application):
    configure(ADAPTERS=ADAPTERS, WS_AUTH="ticket")
    frame = {**resume_chat("s"), "body": {"ticket": ticket_signing.issue("s", "ada", 60)}}
    async with CommunicatorClient(application, CHAT_SOCKET) as client:
        for words in ("no-active", UNAUTHORIZED):
            await client.send(frame)
            assert words_of(await client.frame()) == words


def words_of(frame: dict[str, Any]) -> str:
    return str(frame.get("errorText") or frame.get("message") or frame["type"])


@pytest.mark.parametrize(
    ("socket", "frame", "answer"),
    [
        (CHAT_SOCKET, resume_chat("s"), "no-active"),
        (RUN_SOCKET, {"runId": "r"}, "Invalid request: threadId is missing."),
    ],
    ids=["AI SDK", "AG-UI"],
)
async def test_shared_socket(credentials, application, socket, frame, answer):
    """With tickets it opens without one, and each request shows its own; else the handshake is refused."""

    async def outcome(headers: dict[str, str]) -> str:
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        async with CommunicatorClient(application, socket, headers=raw) as client:
            if not client.is_accepted:
                return "refused"
            await client.send(frame)
            return words_of(await client.frame())

    needs_ticket = credentials.policy == "ticket" and socket == CHAT_SOCKET
    nobody = UNAUTHORIZED if needs_ticket else answer if credentials.policy in ("open", "ticket") else "refused"
    assert [await outcome(headers) for headers in ({}, credentials.wrong)] == [nobody] * 2
    assert await outcome(credentials.right) == answer
    assert await outcome({"X-Internal-Auth": KEY}) == answer
    assert await outcome({"X-Internal-Auth": "wrong"}) == nobody


async def test_replay_of_a_run_is_for_those_who_may_see_its_session(credentials, application, http, agent):
    agent.script = [Token("a"), Final()]
    run = ASKING["ag-ui"]("s")
    assert (await http.request(run.method, run.path, body=run.body)).status == 200  # by a service: of no subject

    async def outcome(headers: dict[str, str]) -> Any:
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        async with CommunicatorClient(application, replay_path("s"), headers=raw) as client:
            if not client.is_accepted:
                return "refused"
            message = await client.communicator.receive_output(LIMIT_SECONDS)
            return message.get("code", message["type"])

    nobody = {"open": "websocket.send", "ticket": 4401}.get(credentials.policy, "refused")
    assert [await outcome(headers) for headers in ({}, credentials.wrong)] == [nobody] * 2
    assert await outcome(credentials.right) == "websocket.send"
    assert await outcome({"X-Internal-Auth": KEY}) == "websocket.send"
