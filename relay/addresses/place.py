"""Where an address leads, for log lines and for the choice of a store."""

from __future__ import annotations

from urllib.parse import urlsplit


def place(url: str) -> str:
    """Return host, port and path of an address: without user and password, the same with TLS or without."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path
