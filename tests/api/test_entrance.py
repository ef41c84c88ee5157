"""Which Host and which Origin a socket may be opened with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients import V1, CommunicatorClient
from tests.http_clients import API
from tests.processes import KEY

OWN, LISTED, FOREIGN = "https://gateway.example", "https://chat.example", "https://evil.example"
ALL = (OWN, LISTED, FOREIGN, "null", "no origin at all", None)


@pytest.fixture
def opens(application: Any):
    """Whether a socket opens, the same in both dialects."""

    async def ask(
        *origins: str | None, host: str | None = "gateway.example", scheme: str = "wss", **extra: str
    ) -> bool:
        headers = [(b"origin", origin.encode()) for origin in origins if origin is not None]
        headers += [(name.encode(), value.encode()) for name, value in extra.items()]
        headers += [(b"host", host.encode())] if host is not None else []
        outcomes = set()
        for offered in ([V1], None):
            client = CommunicatorClient(application, "/ws/s/", offered, headers=headers)
            client.communicator.scope["scheme"] = scheme
            async with client as browser:
                outcomes.add(browser.is_accepted)
        (outcome,) = outcomes
        return outcome

    return ask


@pytest.mark.parametrize(
    ("settings_of_gateway", "debug", "allowed"),
    [
        ({}, False, ALL),
        ({"ALLOWED_ORIGINS": LISTED}, False, (OWN, LISTED, None)),
        ({"ALLOWED_ORIGINS": LISTED, "ALLOW_NO_ORIGIN": "false"}, False, (OWN, LISTED)),
        ({"ALLOWED_ORIGINS": LISTED}, True, ALL),
    ],
)
async def test_which_pages_may_open_a_socket(opens, configure, settings, settings_of_gateway, debug, allowed):
    configure(**settings_of_gateway)
    settings.DEBUG = debug
    assert [origin for origin in ALL if await opens(origin)] == list(allowed)


@pytest.mark.parametrize("policy", ["session", "tests.api.test_policies.HousePolicy"])
async def test_where_cookies_may_count_only_own_and_listed_pages_may(application, configure, policy):
    """The policy is not asked at all: a foreign page must not even learn whether somebody is logged in."""
    configure(WS_AUTH=policy)
    for origin in (FOREIGN, "null", LISTED):
        headers = [(b"origin", origin.encode()), (b"host", b"gateway.example")]
        async with CommunicatorClient(application, "/ws/s/", [V1], headers=headers) as browser:
            assert not browser.is_accepted
    headers = [(b"origin", OWN.encode()), (b"host", b"gateway.example")]
    async with CommunicatorClient(application, "/ws/s/", [V1], headers=headers) as browser:
        assert browser.is_accepted  # to be told that it is not logged in


@pytest.mark.parametrize("shell", ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://-"])
async def test_pages_of_a_native_shell_may_be_listed(opens, configure, shell):
    configure(ALLOWED_ORIGINS=f"{LISTED},{shell}")
    assert [await opens(shell), await opens("capacitor://other"), await opens(LISTED)] == [True, False, True]


async def test_the_own_origin_is_scheme_host_and_port(opens, configure):
    configure(ALLOWED_ORIGINS=LISTED)
    assert await opens("https://gateway.example:8443", host="gateway.example:8443")
    assert await opens("http://gateway.example", scheme="ws")
    assert await opens("https://gateway.example", scheme="ws")  # behind a proxy that ends TLS
    assert await opens("http://[::1]:8000", host="[::1]:8000", scheme="ws")
    assert not await opens("http://gateway.example", scheme="wss")
    assert not await opens("https://gateway.example:8443")
    assert not await opens("https://gateway.example", host="gateway.example:8443")
    assert not await opens("https://gateway.example.evil.example")
    assert not await opens("https://gateway.example", host=None)


async def test_a_dot_at_the_end_of_a_host_makes_no_difference(opens, configure, settings):
    configure(ALLOWED_ORIGINS=LISTED)
    settings.ALLOWED_HOSTS = ["gateway.example"]
    assert await opens(None, host="gateway.example.")
    assert await opens(None, host="gateway.example.:8000")
    assert await opens(f"{OWN}.", host="gateway.example.")
    assert await opens(f"{OWN}.:8443", host="gateway.example.:8443")
    assert await opens(OWN, host="gateway.example.")
    assert await opens(f"{LISTED}.")
    assert not await opens(f"{FOREIGN}.")
    assert not await opens(f"{OWN}..", host="gateway.example.")
    assert not await opens(None, host="gateway.example..")


@pytest.mark.parametrize("path", ["//ws/s/", "///ws/s/", "//x/ws/s/", "/x//ws/s/"])
async def test_path_of_a_socket_begins_with_one_slash(application, path):
    """A proxy's rule for /ws/ does not see such a path."""
    client = CommunicatorClient(application, "/", [V1], headers=[(b"host", b"gateway.example")])
    client.communicator.scope["path"] = path  # the communicator would read it as a URL
    async with client as browser:
        assert not browser.is_accepted


async def test_an_empty_origin_is_none(opens, configure):
    assert await opens("")
    configure(ALLOW_NO_ORIGIN="false")
    assert not await opens("")
    assert not await opens("", "")


async def test_two_origins_are_refused(opens):
    assert not await opens(OWN, FOREIGN)
    assert not await opens(OWN, OWN)


async def test_a_service_with_the_key_needs_no_origin(opens, configure):
    configure(ALLOW_NO_ORIGIN="false")
    assert not await opens(None)
    assert await opens(None, **{"x-internal-auth": KEY})


async def test_a_socket_names_an_allowed_host(opens, settings):
    settings.ALLOWED_HOSTS = ["gateway.example", ".example.org"]
    for host in ("gateway.example", "gateway.example:8000", "GATEWAY.example", "a.example.org"):
        assert await opens(None, host=host), host
    for host in ("evil.example", "gateway.example.evil", "gateway.example@evil.example", "a b", "", None):
        assert not await opens(None, host=host), host


async def test_foreign_pages_get_no_event_stream(http, configure):
    configure(WS_AUTH="ticket", ALLOWED_ORIGINS=LISTED)
    for origin, status in ((FOREIGN, 403), ("null", 403), (LISTED, 401)):
        answer = await http.get(f"{API}/s/events", key=None, headers={"Origin": origin})
        assert (answer.status, set(answer.json())) == (status, {"detail"})
    async with http.open("GET", f"{API}/s/events", headers={"Origin": FOREIGN}) as (answer, _):
        assert answer.status == 200  # with the key
