"""Who may open a session: each policy, over a socket in both dialects and as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import jwt
import pytest
from channels.layers import channel_layers
from django.core.signing import Signer

from relay.exceptions import Forbidden, NotOwner, StoreUnavailable, TooManyConnections
from relay.layers.memory.limits import MemoryLimits
from relay.policies import Handshake, Identity, Policy, ticket_signing
from relay.policies import key_set as key_sets
from relay.policies.jwt import JwtPolicy
from relay.process import lifecycle
from tests.clients import LIMIT_SECONDS, V1, CommunicatorClient
from tests.http_clients import API, EventReader, HttpClient
from tests.identity_provider import AUDIENCE, ISSUER, IdentityProvider
from tests.processes import KEY

UNAUTHORIZED = (401, {"detail": "unauthorized"})
SESSION_ID_WORDS = "session_id must be 1 to 128 of A-Z a-z 0-9 . _ : ~ @ -, but not a dot or two alone."
SUBJECT_WORDS = "subject must be 1 to 255 printable ASCII characters."
EXPIRES_IN_WORDS = "expires_in must be a whole number of seconds, 1 to 86400."
KEY_HEADER = (b"x-internal-auth", KEY.encode())


def subprotocol(credential: str) -> str:
    return "gateway.ticket." + base64.urlsafe_b64encode(credential.encode()).decode().rstrip("=")


class Visitor:
    """Somebody who tries to open sessions; ``admitted`` and ``refused`` try all that the arguments say."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._http = HttpClient(application)

    def v1(self, credential: str = "", session_id: str = "s", query: str = "", **options: Any) -> CommunicatorClient:
        offered = [V1, subprotocol(credential)] if credential else [V1]
        return CommunicatorClient(self._application, f"/ws/{session_id}/?{query}", offered, **options)

    def plain(self, credential: str = "", session_id: str = "s", **options: Any) -> CommunicatorClient:
        query = f"ticket={credential}" if credential else ""
        return CommunicatorClient(self._application, f"/ws/{session_id}/?{query}", **options)

    async def is_admitted(self, credential: str = "", session_id: str = "s", query: str = "", **options: Any) -> bool:
        """Does a v1 socket open? If not, it is told why, and closed with 4401 or 4403."""
        async with self.v1(credential, session_id, query, **options) as browser:
            assert (browser.is_accepted, browser.subprotocol) == (True, V1)
            frame = await browser.frame()
            if frame["type"] == "welcome":
                return True
            assert (frame["type"], frame["reconnect"]) == ("disconnect", False)
            assert await browser.close_code() == {"unauthorized": 4401, "forbidden": 4403}[frame["code"]]
            return False

    async def is_told_to_come_back(self, credential: str) -> bool:
        async with self.v1(credential) as browser:
            frame = await browser.frame()
            return (frame["type"], frame.get("code"), frame.get("reconnect")) == (
                "disconnect", "store_unavailable", True,
            )  # fmt: skip

    async def is_plain_admitted(self, credential: str = "", session_id: str = "s", **options: Any) -> bool:
        async with self.plain(credential, session_id, **options) as browser:
            return browser.is_accepted

    async def events_status(self, credential: str = "", session_id: str = "s", **headers: str) -> int:
        path = f"{API}/{session_id}/events" + (f"?ticket={credential}" if credential else "")
        async with self._http.open("GET", path, key=None, headers=headers) as (answer, _):
            return answer.status

    async def stream_code(self, credential: str, session_id: str = "s", **headers: str) -> str | int:
        """Read the first frame of an event stream: "open", or the code with which it ends; else its status."""
        path = f"{API}/{session_id}/events?ticket={credential}"
        async with self._http.open("GET", path, key=None, headers=headers) as (answer, chunks):
            if answer.status != 200:
                return answer.status
            return (await EventReader(chunks).frame()).get("code", "open")


async def keep(session_id):
    """Let a session without messages last: somebody else watches it, too."""
    await (await lifecycle.current()).layer.attach(session_id, "another viewer")


async def epoch_of(session_id: str) -> str:
    return (await (await lifecycle.current()).layer.ensure(session_id)).epoch


def raising(reason: Exception) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise reason

    return fail


@pytest.fixture
def visitor(application: Any) -> Visitor:
    return Visitor(application)


# Open.


async def test_open_admits_sockets_and_leaves_http_behind_the_key(visitor):
    assert await visitor.is_admitted()
    assert await visitor.is_plain_admitted()
    assert await visitor.events_status() == 401
    assert await visitor.events_status(**{"X-Internal-Auth": KEY}) == 200


# Tickets.


@pytest.fixture
def ticketed(configure):
    configure(WS_AUTH="ticket")


@pytest.mark.usefixtures("ticketed")
class TestTickets:
    async def test_a_ticket_opens_its_session_once_in_every_way_of_showing_it(self, visitor):
        for show in (visitor.is_admitted, visitor.is_plain_admitted):
            ticket = ticket_signing.issue("s", None, 60)
            assert [await show(ticket), await show(ticket)] == [True, False]
        ticket = ticket_signing.issue("s", None, 60)
        assert [await visitor.stream_code(ticket), await visitor.events_status(ticket)] == ["open", 401]
        bearer = {"headers": [(b"authorization", f"Bearer {ticket_signing.issue('s', None, 60)}".encode())]}
        assert [await visitor.is_admitted(**bearer), await visitor.is_admitted(**bearer)] == [True, False]

    async def test_a_ticket_with_white_space_that_http_does_not_know_is_none(self, visitor):
        ticket = ticket_signing.issue("s", None, 60).encode()
        for shown in (ticket + b"\xa0", b"\x85" + ticket, ticket + b"\t"):
            assert not await visitor.is_admitted(headers=[(b"authorization", b"Bearer " + shown)])

    async def test_whoever_shows_nothing_or_nonsense_is_refused(self, visitor):
        other_purpose = Signer(salt="another").sign_object({"session_id": "s"})
        unreadable = Signer(salt=ticket_signing.SALT).sign_object({"session": "s"})
        changed = ticket_signing.issue("s", None, 60)[:-1] + "!"
        for credential in ("", "x", "a:b:c", KEY, "ü", other_purpose, unreadable, changed, "x" * 10_000):
            assert not await visitor.is_admitted(credential), credential
        assert not await visitor.is_plain_admitted()
        assert not await visitor.is_plain_admitted("x")
        assert await visitor.events_status() == 401

    async def test_another_sessions_ticket_is_refused_and_not_used_up(self, visitor):
        ticket = ticket_signing.issue("s", None, 60)
        assert not await visitor.is_admitted(ticket, "t")
        assert await visitor.is_admitted(ticket, "s")

    async def test_an_expired_ticket_is_refused_with_a_cursor_too(self, visitor, monkeypatch):
        now = time.time()
        monkeypatch.setattr(ticket_signing.time, "time", lambda: now)
        ticket = ticket_signing.issue("s", None, 60)
        await keep("s")
        monkeypatch.setattr(ticket_signing.time, "time", lambda: now + 59)
        assert await visitor.stream_code(ticket) == "open"
        cursor = f"{await epoch_of('s')}:0"
        assert await visitor.stream_code(ticket, **{"Last-Event-ID": cursor}) == "open"
        monkeypatch.setattr(ticket_signing.time, "time", lambda: now + 60)
        assert not await visitor.is_admitted(ticket)
        assert not await visitor.is_admitted(ticket, query="offset=0")
        assert await visitor.events_status(ticket, **{"Last-Event-ID": cursor}) == 401

    async def test_a_used_ticket_does_not_open_a_socket_again_whatever_cursor_is_named(self, visitor):
        ticket = ticket_signing.issue("s", None, 60)
        assert await visitor.is_admitted(ticket)
        for query in ("offset=0", "epoch=abc&offset=3", "epoch=abc", f"epoch={await epoch_of('s')}&offset=0"):
            assert not await visitor.is_admitted(ticket, query=query), query
        assert not await visitor.is_plain_admitted(f"{ticket}&epoch=abc&offset=3")

    async def test_a_cursor_does_not_spare_a_new_ticket(self, visitor):
        for show in (
            partial(visitor.is_admitted, query="offset=0"),
            partial(visitor.is_admitted, query=f"epoch={await epoch_of('s')}&offset=0"),
            lambda ticket: visitor.stream_code(ticket, **{"Last-Event-ID": ":0"}),
        ):
            ticket = ticket_signing.issue("s", None, 60)
            assert await show(ticket) in (True, "open")
            assert not await visitor.is_admitted(ticket)

    async def test_an_event_stream_comes_back_with_a_cursor_of_its_log_and_no_other(self, visitor):
        ticket = ticket_signing.issue("s", None, 60)
        await keep("s")
        assert await visitor.stream_code(ticket) == "open"
        epoch = await epoch_of("s")
        for invented in ("", ":0", "0", "abc:0", f"{epoch}x:0", f"{await epoch_of('other')}:0", f"x{epoch}"):
            assert await visitor.events_status(ticket, **{"Last-Event-ID": invented}) == 401, invented
        for _ in range(2):
            assert await visitor.stream_code(ticket, **{"Last-Event-ID": f"{epoch}:0"}) == "open"
        assert await visitor.stream_code(f"{ticket}&last_event_id={epoch}:0") == "open"
        assert not await visitor.is_admitted(ticket, query=f"epoch={epoch}&offset=0"), "a stream reads; a socket speaks"

    async def test_a_sockets_ticket_is_none_for_an_event_stream(self, visitor):
        ticket = ticket_signing.issue("s", None, 60)
        assert await visitor.is_admitted(ticket)
        assert await visitor.events_status(ticket, **{"Last-Event-ID": f"{await epoch_of('s')}:0"}) == 401

    async def test_of_several_who_show_a_ticket_at_once_one_gets_in(self, visitor):
        ticket = ticket_signing.issue("s", None, 60)
        opened = await asyncio.gather(*(visitor.is_admitted(ticket) for _ in range(5)))
        assert sorted(opened) == [False] * 4 + [True]
        ticket = ticket_signing.issue("s", None, 60)
        codes = await asyncio.gather(*(visitor.stream_code(ticket) for _ in range(5)))
        assert codes.count("open") == 1
        assert set(codes) - {"open"} <= {"unauthorized", 401}  # found out with the others, or after the first was in

    @pytest.mark.parametrize("obstacle", ["draining", "address", "session", "owner", "store", "log"])
    async def test_who_is_refused_for_another_reason_keeps_the_ticket(self, visitor, configure, monkeypatch, obstacle):
        gateway = await lifecycle.current()
        socket_ticket, stream_ticket = ticket_signing.issue("s", "ada", 60), ticket_signing.issue("s", "ada", 60)
        async with visitor.v1(headers=[KEY_HEADER]) as other:
            await other.frame()
            with monkeypatch.context() as patch:
                match obstacle:
                    case "draining":
                        patch.setattr(gateway, "is_draining", True)
                    case "address":
                        patch.setattr(gateway.connection_limiter, "acquire", raising(TooManyConnections()))
                    case "session":
                        configure(MAX_SOCKETS="1")
                    case "owner":
                        patch.setattr(gateway.layer, "attach", raising(NotOwner()))
                    case "store":
                        patch.setattr(gateway.layer, "attach", raising(StoreUnavailable()))
                    case "log":
                        patch.setattr(gateway.layer, "ensure", raising(StoreUnavailable()))
                async with visitor.v1(socket_ticket) as browser:
                    code = (await browser.frame())["code"]
                assert not await visitor.is_plain_admitted(socket_ticket)
                assert code == await visitor.stream_code(stream_ticket) != "unauthorized"
            configure(MAX_SOCKETS="5")
            assert await visitor.is_admitted(socket_ticket)
            assert await visitor.stream_code(stream_ticket) == "open"

    async def test_two_tickets_are_none(self, visitor, application):
        def fresh() -> str:
            return ticket_signing.issue("s", None, 60)

        assert not await visitor.is_admitted(fresh(), query=f"ticket={fresh()}")
        assert not await visitor.is_plain_admitted(f"{fresh()}&ticket={fresh()}")
        offered = [V1, subprotocol(fresh()), subprotocol(fresh())]
        async with CommunicatorClient(application, "/ws/s/", offered) as browser:
            assert (await browser.frame())["code"] == "unauthorized"

    @pytest.mark.parametrize(
        "name", ["gateway.ticket.", "gateway.ticket.%", "gateway.ticket.€", "gateway.ticket.====="]
    )
    async def test_what_is_no_ticket_in_a_subprotocol_is_refused(self, application, name):
        async with CommunicatorClient(application, "/ws/s/", [V1, name]) as browser:
            assert (await browser.frame())["code"] == "unauthorized"

    async def test_a_ticket_alone_is_no_dialect(self, application):
        """A client that offers no dialect speaks plain, and its ticket is not selected."""
        offered = [subprotocol(ticket_signing.issue("s", None, 60))]
        async with CommunicatorClient(application, "/ws/s/", offered) as browser:
            assert (browser.is_accepted, browser.subprotocol) == (True, None)

    async def test_the_key_passes(self, visitor):
        assert await visitor.is_admitted(headers=[KEY_HEADER])
        assert await visitor.is_plain_admitted(headers=[KEY_HEADER])
        assert await visitor.events_status(**{"X-Internal-Auth": KEY}) == 200
        for wrong in ([(b"x-internal-auth", b"wrong")], [KEY_HEADER, KEY_HEADER], [(b"x_internal_auth", KEY.encode())]):
            assert not await visitor.is_admitted(headers=wrong)

    async def test_who_is_refused_reaches_neither_session_nor_agent(self, visitor, agent, http):
        async with visitor.v1("wrong") as browser:
            await browser.say("let me in")
            assert (await browser.frame())["code"] == "unauthorized"
        assert (await http.get(f"{API}/s")).status == 404
        assert agent.requests == []


# Asking for tickets.


class TestIssuing:
    async def test_a_service_gets_a_ticket_that_opens_the_session_for_the_subject(self, http, visitor, configure):
        configure(WS_AUTH="ticket")
        answer = await http.post("/api/v1/tickets", {"session_id": "s", "subject": "ada", "expires_in": 50})
        assert (answer.status, answer.headers["cache-control"]) == (201, "no-store")
        assert answer.json()["expires_in"] == 50
        ticket = ticket_signing.read(answer.json()["ticket"])
        assert (ticket.session_id, ticket.subject) == ("s", "ada")
        assert time.time() < ticket.expires_at <= time.time() + 50
        assert await visitor.is_admitted(answer.json()["ticket"])

    async def test_without_a_lifetime_it_lives_as_long_as_the_setting_says(self, http, configure):
        configure(TICKET_SECONDS="7.5")
        answer = (await http.post("/api/v1/tickets", {"session_id": "s"})).json()
        assert answer["expires_in"] == 8
        assert ticket_signing.read(answer["ticket"]).subject is None

    async def test_a_whole_number_may_be_written_with_a_fraction_of_zero(self, http):
        """JSON Schema, and so REST's description, takes 50.0 for an integer."""
        answer = await http.post("/api/v1/tickets", b'{"session_id": "s", "expires_in": 50.0}')
        assert (answer.status, json.dumps(answer.json()["expires_in"])) == (201, "50")

    async def test_without_the_key_there_are_none(self, http):
        answer = await http.post("/api/v1/tickets", {"session_id": "s"}, key=None)
        assert (answer.status, answer.json()) == UNAUTHORIZED

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({}, "session_id is missing."),
            ({"session_id": ".."}, SESSION_ID_WORDS),
            ({"session_id": "a b"}, SESSION_ID_WORDS),
            ({"session_id": 7}, SESSION_ID_WORDS),
            ({"session_id": None}, SESSION_ID_WORDS),
            ({"session_id": "s", "subject": ""}, SUBJECT_WORDS),
            ({"session_id": "s", "subject": "a\r\nX: y"}, SUBJECT_WORDS),
            ({"session_id": "s", "subject": "ü"}, SUBJECT_WORDS),
            ({"session_id": "s", "subject": "x" * 256}, SUBJECT_WORDS),
            ({"session_id": "s", "expires_in": 0}, EXPIRES_IN_WORDS),
            ({"session_id": "s", "expires_in": 86_401}, EXPIRES_IN_WORDS),
            ({"session_id": "s", "expires_in": "5"}, EXPIRES_IN_WORDS),
            ({"session_id": "s", "subject": 5, "expires_in": 1.5}, f"{SUBJECT_WORDS} {EXPIRES_IN_WORDS}"),
            ([], None),
            (b"{", None),
        ],
    )
    async def test_a_wrong_request_is_refused_in_words(self, http, fields, words):
        answer = await http.post("/api/v1/tickets", fields)
        assert (answer.status, answer.json()["code"]) == (400, "bad_request")
        assert answer.json()["content"] == (f"Invalid request: {words}" if words else "Invalid JSON message")


# Owners.


@pytest.mark.usefixtures("ticketed")
class TestOwners:
    async def test_a_session_belongs_to_the_subject_that_opened_it_first(self, visitor):
        async with visitor.v1(ticket_signing.issue("s", "ada", 60)) as browser:
            await browser.ask("mine")
        async with visitor.v1(ticket_signing.issue("s", "eve", 60)) as browser:
            assert (await browser.frame())["code"] == "forbidden"
            assert await browser.close_code() == 4403
        assert not await visitor.is_plain_admitted(ticket_signing.issue("s", "eve", 60))
        async with HttpClient(visitor._application).open(
            "GET", f"{API}/s/events?ticket={ticket_signing.issue('s', 'eve', 60)}", key=None
        ) as (_, chunks):
            assert b'"code":"forbidden"' in await anext(chunks)
        assert await visitor.is_admitted(ticket_signing.issue("s", "ada", 60))

    async def test_a_service_and_a_ticket_without_a_subject_are_not_asked(self, visitor):
        assert await visitor.is_admitted(ticket_signing.issue("s", "ada", 60))
        assert await visitor.is_admitted(headers=[KEY_HEADER])
        assert await visitor.is_admitted(ticket_signing.issue("s", None, 60))

    async def test_the_agent_learns_who_sent_a_message(self, visitor, agent):
        async with visitor.v1(ticket_signing.issue("s", "ada@example.com", 60)) as browser:
            await browser.ask("hello")
        async with visitor.v1(ticket_signing.issue("s", None, 60)) as browser:
            await browser.ask("hello")
        assert [request.headers.get("x-subject") for request in agent.requests] == ["ada@example.com", None]

    async def test_who_watches_a_deleted_session_that_becomes_anothers_is_sent_away(self, visitor, configure):
        layer = (await lifecycle.current()).layer  # with the usual bounds, so that the viewer's entry does not lapse
        configure(HEARTBEAT_SECONDS="0.2")
        async with visitor.plain(ticket_signing.issue("s", "ada", 60)) as browser:
            session = layer._index.get("s")
            session.owner = "eve"
            assert await browser.close_code() == 4403


# JSON Web Tokens.


@pytest.fixture
async def provider(configure):
    async with IdentityProvider() as provider:
        configure(WS_AUTH="jwt", JWKS_URL=provider.url, JWT_ISSUER=ISSUER, JWT_AUDIENCE=AUDIENCE, JWT_LEEWAY="0")
        yield provider


class TestJwt:
    async def test_a_token_of_either_algorithm_opens_any_session_of_its_subject(self, visitor, provider, agent):
        for session_id in ("s", "t"):
            assert await visitor.is_admitted(provider.token("rsa"), session_id)
            assert await visitor.is_admitted(provider.token("ec"), session_id)
            assert await visitor.is_plain_admitted(provider.token(), session_id)
            assert await visitor.events_status(provider.token(), session_id) == 200
        async with visitor.v1(provider.token()) as browser:
            await browser.ask("hello")
        assert not await visitor.is_admitted(provider.token(sub="eve"))
        assert provider.fetches == 1
        assert agent.requests[0].headers["x-subject"] == "ada"

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": None},
            {"exp": 1},
            {"exp": "never"},
            {"sub": None},
            {"sub": ""},
            {"sub": "a\r\nb"},
            {"sub": 7},
            {"iss": None},
            {"iss": "https://other.example"},
            {"aud": None},
            {"aud": "other"},
            {"nbf": 9_999_999_999},
        ],
        ids=str,
    )
    async def test_a_token_with_wrong_claims_is_refused(self, visitor, provider, claims):
        assert not await visitor.is_admitted(provider.token(**claims))

    async def test_a_token_that_another_signed_is_refused(self, visitor, provider):
        claims = {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60}
        head = {"kid": "ec"}
        forged = [
            jwt.encode(claims, provider.keys["new"], algorithm="ES256", headers=head),
            jwt.encode(claims, "a secret of at least thirty-two bytes", algorithm="HS256", headers=head),
            jwt.encode(claims, None, algorithm="none", headers=head),
            jwt.encode(claims, provider.keys["rsa"], algorithm="RS512", headers={"kid": "rsa"}),
            provider.token()[:-2],
            "not.a.token",
            "x",
        ]
        for token in forged:
            assert not await visitor.is_admitted(token), token

    async def test_a_public_key_does_not_verify_as_a_secret(self, visitor, provider):
        """The old confusion: HS256 with the text of the public key."""
        public = base64.urlsafe_b64encode(provider.document().encode())
        claims = base64.urlsafe_b64encode(json.dumps({"sub": "ada", "exp": time.time() + 60}).encode()).rstrip(b"=")
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=")
        assert not await visitor.is_admitted((head + b"." + claims + b"." + public.rstrip(b"=")).decode())

    async def test_issuer_and_audience_are_looked_at_where_they_are_set(self, visitor, provider, configure):
        configure(JWT_ISSUER="", JWT_AUDIENCE="")
        assert await visitor.is_admitted(provider.token(iss="https://other.example", aud="other"))
        assert await visitor.is_admitted(provider.token(iss=None, aud=None))

    async def test_clocks_may_differ_by_the_leeway(self, visitor, provider, configure):
        assert not await visitor.is_admitted(provider.token(seconds=0))
        assert not await visitor.is_admitted(provider.token(seconds=-5))
        configure(JWT_LEEWAY="30")
        assert await visitor.is_admitted(provider.token(seconds=-5))
        assert not await visitor.is_admitted(provider.token(seconds=-31))

    async def test_the_leeway_counts_for_a_live_connection_too(self, provider, configure):
        configure(JWT_LEEWAY="30")
        policy, token = JwtPolicy(MemoryLimits()), provider.token(exp=4_000_000_000)
        identity = await policy.admit(Handshake(session_id="s", query={"ticket": token}))
        assert identity == Identity("ada", 4_000_000_030.0)
        await policy.close()

    async def test_the_end_of_a_token_ends_a_live_socket_and_a_live_stream(self, visitor, provider, http, clock):
        token = provider.token(seconds=50)
        async with (
            visitor.v1(token) as browser,
            visitor.plain(token) as plain,
            http.open("GET", f"{API}/s/events?ticket={token}", key=None) as (_, chunks),
        ):
            assert (await browser.frame())["type"] == "welcome"
            assert b"welcome" in await anext(chunks)
            clock.advance(50)
            frame = await browser.frame_of("disconnect")
            assert (frame["code"], frame["reconnect"]) == ("unauthorized", False)
            assert await browser.close_code() == 4401
            assert await plain.close_code() == 4401
            async with asyncio.timeout(LIMIT_SECONDS):
                assert b'"code":"unauthorized","content"' in b"".join([chunk async for chunk in chunks])

    async def test_a_token_that_lives_longer_than_timers_reach_closes_nothing(self, visitor, provider, monkeypatch):
        monkeypatch.setattr("relay.delivery.timer.MAX_SECONDS", 0.01)
        async with visitor.v1(provider.token(seconds=1e9)) as browser:
            assert (await browser.frame())["type"] == "welcome"
            assert await browser.is_quiet()

    async def test_a_new_key_of_the_provider_is_found(self, visitor, provider, monkeypatch):
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 0.0)
        assert await visitor.is_admitted(provider.token())
        assert not await visitor.is_admitted(provider.token("new"))
        provider.published.append("new")
        assert await visitor.is_admitted(provider.token("new"))

    async def test_a_stranger_cannot_make_the_gateway_ask_the_provider_again_and_again(
        self, visitor, provider, monkeypatch
    ):
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 3600.0)
        assert not await visitor.is_admitted(provider.token("new"))
        for _ in range(4):
            assert await visitor.is_told_to_come_back(provider.token("new"))
        assert await visitor.is_admitted(provider.token()), "known keys count meanwhile"
        assert provider.fetches == 1

    async def test_a_new_key_after_a_strangers_question_may_come_back_and_is_found(
        self, visitor, provider, monkeypatch
    ):
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 3600.0)
        assert not await visitor.is_admitted(provider.token("new"))
        provider.published.append("new")
        assert await visitor.is_told_to_come_back(provider.token("new"))
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 0.0)
        assert await visitor.is_admitted(provider.token("new"))

    async def test_a_new_key_while_the_provider_is_out_of_reach_may_come_back(self, visitor, provider, monkeypatch):
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 0.0)
        assert await visitor.is_admitted(provider.token())
        provider.status = 503
        assert await visitor.is_told_to_come_back(provider.token("new"))
        assert await visitor.events_status(provider.token("new")) == 503
        assert await visitor.is_admitted(provider.token()), "known keys count meanwhile"

    async def test_a_stranger_who_leaves_does_not_end_the_fetch_for_others(self, visitor, provider):
        provider.is_answering.clear()
        policy = (await lifecycle.current()).policy
        handshake = Handshake(session_id="s", query={"ticket": provider.token("new")})
        opening = asyncio.create_task(policy.admit(handshake))  # Django cancels the view of a client that leaves
        await provider.asked(1)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        waiting = asyncio.create_task(visitor.is_admitted(provider.token()))
        provider.is_answering.set()
        assert await waiting
        assert provider.fetches == 1

    async def test_who_knows_a_fresh_key_does_not_wait_for_a_strangers_fetch(self, visitor, provider, monkeypatch):
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 0.0)
        assert await visitor.is_admitted(provider.token())
        provider.is_answering.clear()
        stranger = asyncio.create_task(visitor.is_admitted(provider.token("new")))
        await provider.asked(2)
        assert await visitor.is_admitted(provider.token())
        assert not stranger.done()
        provider.is_answering.set()
        assert not await stranger

    @pytest.mark.parametrize("key_id", ["rsa", "ec"])
    async def test_a_token_that_names_no_key_is_admitted_where_one_fits(self, visitor, provider, key_id, monkeypatch):
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 0.0)
        assert await visitor.is_admitted(provider.token(key_id, names_key=False))
        assert not await visitor.is_admitted(provider.token("new", names_key=False)), (
            "the one that fits does not sign it"
        )
        provider.published.append("new")
        monkeypatch.setattr(key_sets, "FRESH_SECONDS", 0.0)
        assert await visitor.is_admitted(provider.token(key_id, names_key=False)) == (key_id == "rsa")

    async def test_a_key_that_was_withdrawn_does_not_count_for_long(self, visitor, provider, monkeypatch):
        assert await visitor.is_admitted(provider.token())
        provider.published.remove("ec")
        assert await visitor.is_admitted(provider.token())
        monkeypatch.setattr(key_sets, "FRESH_SECONDS", 0.0)
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 0.0)
        assert not await visitor.is_admitted(provider.token())

    async def test_while_the_provider_is_out_of_reach_its_last_keys_count(self, visitor, provider, monkeypatch):
        assert await visitor.is_admitted(provider.token())
        provider.status = 503
        monkeypatch.setattr(key_sets, "FRESH_SECONDS", 0.0)
        monkeypatch.setattr(key_sets, "RETRY_SECONDS", 0.0)
        assert await visitor.is_admitted(provider.token())
        monkeypatch.setattr(key_sets, "STALE_SECONDS", 0.0)
        async with visitor.v1(provider.token()) as browser:
            frame = await browser.frame()
            assert (frame["code"], frame["reconnect"]) == ("store_unavailable", True)
            assert await browser.close_code() == 4503

    @pytest.mark.parametrize("status", [404, 302, 500])
    async def test_without_keys_nobody_is_admitted_and_told_to_come_back(self, visitor, provider, status):
        provider.status = status
        async with visitor.v1(provider.token()) as browser:
            assert (await browser.frame())["code"] == "store_unavailable"
        assert not await visitor.is_plain_admitted(provider.token())
        assert await visitor.events_status(provider.token()) == 503

    @pytest.mark.parametrize("document", ["no JSON", "[]", "{}", '{"keys": []}', '{"keys": [7]}', " " * 300_000])
    async def test_what_is_no_key_set_admits_nobody(self, visitor, provider, monkeypatch, document):
        monkeypatch.setattr(provider, "document", lambda: document)
        async with visitor.v1(provider.token()) as browser:
            assert (await browser.frame())["code"] == "store_unavailable"

    @pytest.mark.parametrize(("size", "code"), [(262_144, None), (262_145, "store_unavailable")])
    async def test_a_key_set_is_read_up_to_a_size(self, visitor, provider, monkeypatch, size, code):
        document = provider.document().ljust(size)
        monkeypatch.setattr(provider, "document", lambda: document)
        async with visitor.v1(provider.token()) as browser:
            assert (await browser.frame()).get("code") == code

    async def test_many_at_once_cause_one_fetch(self, visitor, provider):
        assert all(await asyncio.gather(*(visitor.is_admitted(provider.token()) for _ in range(10))))
        assert provider.fetches == 1


# Django logins.


@pytest.mark.django_db(transaction=True)
class TestSession:
    @pytest.fixture
    def login(self, configure, client, django_user_model):
        configure(WS_AUTH="session")
        user = django_user_model.objects.create_user("ada", password="difference engine")
        client.force_login(user)
        return user, client.cookies["sessionid"].value

    async def test_who_is_logged_in_opens_sessions_as_its_primary_key(self, visitor, login, agent):
        user, cookie = login
        headers = [(b"cookie", f'theirs[0]={{"a b":1}}; sessionid={cookie}'.encode())]  # browsers send such
        assert await visitor.is_plain_admitted(headers=headers)
        assert await visitor.events_status(Cookie=f"sessionid={cookie}") == 200
        async with visitor.v1(headers=headers) as browser:
            await browser.ask("hello")
        assert agent.requests[0].headers["x-subject"] == str(user.pk)

    async def test_who_is_not_is_refused(self, visitor, login):
        _, cookie = login
        for shown in (
            None,
            "sessionid=",
            "sessionid=wrong",
            f"other={cookie}",
            "\x01",
            f"sessionid={cookie}x",
            'sessionid="\\000a"',
        ):
            headers = [] if shown is None else [(b"cookie", shown.encode())]
            assert not await visitor.is_admitted(headers=headers), shown
        assert not await visitor.is_admitted(cookie)  # a cookie is no ticket
        assert await visitor.events_status() == 401

    async def test_a_login_ends_with_its_logout_its_account_and_its_password(self, visitor, login, client):
        user, cookie = login
        headers = [(b"cookie", f"sessionid={cookie}".encode())]
        user.is_active = False
        await user.asave()
        assert not await visitor.is_admitted(headers=headers)
        user.is_active = True
        await user.asave()
        assert await visitor.is_admitted(headers=headers)
        user.set_password("another")
        await user.asave()
        assert not await visitor.is_admitted(headers=headers)

    @pytest.fixture
    def lenient_login(self, configure, client, django_user_model, settings):
        """A user of a backend that does not ask whether the account is active."""
        settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
        configure(WS_AUTH="session")
        user = django_user_model.objects.create_user("ada", password="difference engine")
        client.force_login(user)
        return user, client.cookies["sessionid"].value

    async def test_an_account_that_is_not_active_is_refused_whatever_its_backend_says(self, visitor, lenient_login):
        user, cookie = lenient_login
        headers = [(b"cookie", f"sessionid={cookie}".encode())]
        assert await visitor.is_admitted(headers=headers)
        user.is_active = False
        await user.asave()
        assert not await visitor.is_admitted(headers=headers)


# A policy of one's own.


class HousePolicy(Policy):
    """Admits by the name of the house."""

    async def admit(self, handshake: Handshake) -> Identity:
        house = handshake.header("x-house")
        if house == "asleep":
            await asyncio.Event().wait()
        if house == "burning":
            raise ValueError(house)
        if house == "empty":
            return None  # type: ignore[return-value]  # a rule that forgot a case
        if house == "asked":
            return house  # type: ignore[return-value]
        if house != "ours":
            raise Forbidden
        return Identity("someone of the house")


async def test_a_dotted_path_names_a_policy_of_ones_own(visitor, configure, caplog, monkeypatch):
    monkeypatch.setattr("relay.access.auth.ADMIT_SECONDS", 0.1)
    configure(WS_AUTH=f"{__name__}.HousePolicy")
    assert await visitor.is_admitted(headers=[(b"x-house", b"ours")])
    assert not await visitor.is_admitted(headers=[(b"x-house", b"theirs")])
    assert not await visitor.is_admitted(headers=[(b"x-house", b"ours"), (b"x-house", b"ours")])
    assert await visitor.events_status() == 403
    for house in (b"burning", b"asleep", b"empty", b"asked"):
        caplog.clear()
        async with visitor.v1(headers=[(b"x-house", house)]) as browser:
            assert (await browser.frame())["code"] == "store_unavailable"
        assert "access policy failed" in caplog.text


@pytest.mark.parametrize("subject", ["", " ada", "ada ", "a\nb", "ü", "x" * 256])
def test_a_subject_that_could_not_stand_in_a_header_is_refused(subject):
    with pytest.raises(ValueError, match="printable ASCII"):
        Identity(subject)


async def test_two_workers_use_a_ticket_up_together(application, configure):
    """The layer is what workers share; another event loop's gateway has a policy of its own on it."""
    configure(WS_AUTH="ticket")
    ticket = ticket_signing.issue("s", None, 60)
    visitor = Visitor(application)
    assert await visitor.is_admitted(ticket)
    shared = channel_layers.backends
    await lifecycle.stop()
    channel_layers.backends = shared
    assert not await visitor.is_admitted(ticket)
