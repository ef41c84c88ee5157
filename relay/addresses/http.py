"""Addresses that httpx opens, and the most frequent mistake in addresses."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import httpx

_DELIMITERS: Final = "/?#[] "  # not allowed in a user name or a password (RFC 3986 §3.2.1)


def how_to_escape(text: str) -> str:
    """Name the characters before the last ``@`` that must be escaped there; empty if there are none."""
    credentials = text.partition("://")[2].rpartition("@")[0]
    escapes = [f"{character} as %{ord(character):02X}" for character in _DELIMITERS if character in credentials]
    return f" In a user name or a password write {', '.join(escapes)}." if escapes else ""


def check_http_address(text: str) -> None:
    """Check an address that httpx opens."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable():
        raise ValueError
    if "@" in parts.path and parts.port is not None and "@" not in parts.netloc:
        raise ValueError  # http://user:12/34@host: the delimiter belongs to a password
    parts.hostname.encode("idna")  # raises for hosts that cannot be looked up, for example with an empty label
    parts.port  # noqa: B018 - raises if it is not a number
    try:
        httpx.URL(text).host  # noqa: B018 - likewise
    except httpx.InvalidURL:
        raise ValueError from None
