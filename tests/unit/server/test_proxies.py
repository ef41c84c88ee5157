"""Who the client is behind proxies: by their number, and by their addresses."""

from __future__ import annotations

import pytest

from relay.conf.parsers import proxies
from relay.server.proxies import client_address, forwarded_scheme

PEER = ["10.0.0.1", 4711]  # who opened the connection
NETWORKS = "10.0.0.0/8,192.0.2.7,2001:db8:1::/48"


def headers(*forwarded: str, proto: str | None = None) -> list[tuple[bytes, bytes]]:
    found = [(b"x-forwarded-for", entry.encode("latin-1")) for entry in forwarded]
    return [(b"accept", b"*/*"), *found, *([] if proto is None else [(b"x-forwarded-proto", proto.encode())])]


def client(trusted: str, *forwarded: str, peer: list[str | int] | None = PEER) -> list[str | int] | None:
    return client_address(peer, headers(*forwarded), proxies().read(trusted))


@pytest.mark.parametrize(
    ("trusted", "forwarded", "host"),
    [
        ("0", ("203.0.113.9",), "10.0.0.1"),
        ("1", (), "10.0.0.1"),
        ("1", ("203.0.113.9",), "203.0.113.9"),
        ("1", ("198.51.100.1, 203.0.113.9",), "203.0.113.9"),  # the client wrote the first
        ("2", ("198.51.100.1, 203.0.113.9, 10.0.0.2",), "203.0.113.9"),
        ("2", ("203.0.113.9",), "203.0.113.9"),  # fewer entries than proxies
        ("2", ("203.0.113.9", "10.0.0.2"), "203.0.113.9"),  # two headers are one list
    ],
)
def test_by_number_the_entry_of_the_outermost_proxy_counts(trusted, forwarded, host):
    assert client(trusted, *forwarded)[0] == host


@pytest.mark.parametrize(
    ("forwarded", "host"),
    [
        ((), "10.0.0.1"),
        (("203.0.113.9",), "203.0.113.9"),
        (("198.51.100.1, 203.0.113.9",), "203.0.113.9"),
        (("203.0.113.9, 10.1.2.3",), "203.0.113.9"),
        (("203.0.113.9, 192.0.2.7, 10.1.2.3",), "203.0.113.9"),
        (("203.0.113.9, 192.0.2.8, 10.1.2.3",), "192.0.2.8"),  # nearly one of ours
        (("203.0.113.9, ::ffff:10.1.2.3",), "203.0.113.9"),  # IPv4 as IPv6 writes it
        (("2001:db8:2::9, [2001:db8:1::1]:443",), "2001:db8:2::9"),
        (("10.9.9.9, 10.1.2.3",), "10.9.9.9"),  # all are ours: the outermost
        (("203.0.113.9:5000, 10.1.2.3",), "203.0.113.9"),  # with a port
        (("203.0.113.9, unknown, 10.1.2.3",), "10.1.2.3"),  # nobody knows what stands left of it
        (("203.0.113.9\x85, 10.1.2.3",), "10.1.2.3"),  # nor of a byte that only Python takes for white space
        (("<script>",), "10.0.0.1"),
        ((" , ,",), "10.0.0.1"),
    ],
)
def test_by_address_the_first_from_the_right_that_is_none_of_ours_counts(forwarded, host):
    assert client(NETWORKS, *forwarded)[0] == host


def test_somebody_who_is_none_of_our_proxies_is_not_believed():
    stranger = ["203.0.113.9", 1]
    assert client(NETWORKS, "198.51.100.1", peer=stranger) == stranger
    assert forwarded_scheme(stranger, headers(proto="https"), proxies().read(NETWORKS)) is None


def test_port_is_only_known_of_who_opened_the_connection():
    assert client("1") == PEER
    assert client("1", "203.0.113.9") == ["203.0.113.9", 0]


@pytest.mark.parametrize("trusted", ["1", NETWORKS])
def test_behind_a_unix_socket_stands_a_proxy(trusted):
    assert client(trusted, "203.0.113.9", peer=None) == ["203.0.113.9", 0]
    assert client(trusted, peer=None) is None
    assert forwarded_scheme(None, headers(proto="https"), proxies().read(trusted)) == "https"


def test_without_proxies_nothing_is_believed_on_a_unix_socket_either():
    assert client("0", "203.0.113.9", peer=None) is None
    assert forwarded_scheme(None, headers(proto="https"), 0) is None


@pytest.mark.parametrize(
    ("said", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("wss", None), ("", None), (None, None)],
)
def test_scheme_is_what_the_nearest_proxy_says(said, scheme):
    assert forwarded_scheme(PEER, headers(proto=said), 1) == scheme


def test_scheme_that_the_client_wrote_further_left_does_not_count():
    assert forwarded_scheme(PEER, headers(proto="https, http"), 1) == "http"
