"""Origins of web pages."""

from __future__ import annotations

import re

import pytest

from relay.protocol.origins import is_listed, is_own, origin_pattern, parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://chat.example", "https://chat.example"),
        ("HTTPS://Chat.Example:443/", "https://chat.example"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://*.example.com", "https://*.example.com"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("Ionic://localhost/", "ionic://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("app://localhost:8080", "app://localhost:8080"),
        ("app://-", "app://-"),
        ("app://.", "app://."),
        ("moz-extension://2f0e7c5a-1b6d-4c8e", "moz-extension://2f0e7c5a-1b6d-4c8e"),
        ("https://chat.example.", "https://chat.example"),
        ("https://chat.example.:8443", "https://chat.example:8443"),
        ("app://-.", "app://-"),
    ],
)
def test_origin_is_written_as_browsers_do(text, origin):
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    ["*", "null", "chat.example", "ftp://x", "ws://x", "wss://x", "file://", "file://x",
     "javascript://x", "capacitor://", "app:///x", "app:x",
     "https://.", "1app://x", "https://", "https://x/y", "https://x?y", "https://a.*.b", "https://*",
     "https://u@x", "https://x:y", "https://x:99999", "https://a b", "https://x//",
     "https://x..", "https://[::1]."],
)  # fmt: skip
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(ValueError):
        parse_origin(text)


@pytest.mark.parametrize(
    ("origin", "asked", "is_allowed"),
    [
        ("https://chat.example", "https://chat.example", True),
        ("https://chat.example", "https://chatxexample", False),
        ("https://chat.example", "https://chat.example\n", False),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://evil.com/.example.com", False),
        ("https://*.example.com", "https://a.example.com.evil", False),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("capacitor://localhost", "http://localhost", False),
        ("capacitor://localhost", "capacitor://localhost.evil", False),
        ("app://.", "app://x", False),
        ("https://chat.example", "https://chat.example.", True),
        ("https://chat.example:8443", "https://chat.example.:8443", True),
        ("https://*.example.com", "https://a.example.com.", True),
        ("https://chat.example", "https://chat.example..", False),
        ("https://chat.example", "https://chat.example.evil", False),
        ("https://chat.example:8443", "https://chat.example:8443.", False),
        ("http://[::1]:3000", "http://[::1]:3000", True),
        ("http://[::1]", "http://[::1].", False),
    ],
)
def test_pattern_matches_the_whole_origin(origin, asked, is_allowed):
    assert bool(re.match(origin_pattern(origin), asked)) == is_allowed


@pytest.mark.parametrize(
    ("origin", "host", "is_secure", "expected"),
    [
        ("https://chat.example", "chat.example", True, True),
        ("https://chat.example", "chat.example:443", True, True),
        ("https://chat.example", "chat.example:444", True, False),
        ("http://chat.example", "chat.example", True, False),
        ("https://chat.example", "chat.example", False, True),
        ("http://chat.example", "chat.example:80", False, True),
        ("http://chat.example:8000", "chat.example:8000", False, True),
        ("http://chat.example:8000", "chat.example", False, False),
        ("https://other.example", "chat.example", True, False),
        ("capacitor://localhost", "localhost", False, False),
        ("null", "chat.example", False, False),
        ("https://chat.example", "a b", False, False),
        ("https://chat.example", "", False, False),
    ],
)
def test_own_pages_are_those_under_the_host_that_the_client_named(origin, host, is_secure, expected):
    assert is_own(origin, host, is_secure=is_secure) is expected


def test_an_origin_is_listed_if_one_of_the_list_is_it():
    allowed = ["https://chat.example", "https://*.example.com"]
    assert is_listed("https://a.example.com", allowed)
    assert not is_listed("https://evil.example", allowed)
    assert not is_listed("https://chat.example", [])
