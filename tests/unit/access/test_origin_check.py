"""Which Host a handshake may name, and which Origin a request."""

import pytest

from relay.access.origin_check import is_handshake_allowed, is_origin_allowed


@pytest.mark.parametrize(
    ("hosts", "is_allowed"),
    [
        ([b"chat.example"], True),
        ([b"chat.example:8000"], True),
        ([b"evil.example"], False),
        ([b""], False),
        ([], False),
        ([b"chat.example", b"chat.example"], False),
        ([b"chat.example", b"evil.example"], False),
    ],
)
def test_a_handshake_names_one_host_that_is_allowed(settings, hosts, is_allowed):
    settings.ALLOWED_HOSTS = ["chat.example"]
    scope = {"type": "websocket", "headers": [(b"host", host) for host in hosts]}
    assert is_handshake_allowed(scope) is is_allowed


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        (b"localhost:8000", True),
        (b"chat.localhost", True),
        (b"127.0.0.1", True),
        (b"[::1]:1", True),
        (b"a.example", False),
    ],
)
def test_with_debug_and_no_hosts_the_own_machine_is_allowed_as_django_does(settings, host, is_allowed):
    settings.DEBUG, settings.ALLOWED_HOSTS = True, []
    scope = {"type": "websocket", "headers": [(b"host", host), (b"origin", b"http://" + host)]}
    assert is_handshake_allowed(scope) is is_allowed
    settings.DEBUG = False
    assert not is_handshake_allowed(scope)


@pytest.mark.parametrize(("origins", "is_allowed"), [([], True), ([b""], True), ([b"https://evil.example"], False)])
def test_a_request_without_an_origin_is_no_pages(settings, origins, is_allowed):
    settings.GATEWAY = {**settings.GATEWAY, "ALLOWED_ORIGINS": "https://chat.example"}
    assert is_origin_allowed({"type": "http", "headers": [(b"origin", origin) for origin in origins]}) is is_allowed
