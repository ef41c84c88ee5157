"""Addresses in settings, each read by the code that will use it, so that what is accepted here can be used.

Each function raises ``ValueError``. Its words may hold a piece of the address, which may hold a password: they are
dropped (``relay.conf``), and ``how_to_escape`` says instead what most often is wrong.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx

from relay.database.connection import database

_DELIMITERS: Final = "/?#[] "  # they end a user name or a password, or stand in none (RFC 3986 §3.2.1)
_STORE_OPTIONS: Final = frozenset(  # those of redis-py whose values are texts, numbers or truth
    {
        "client_name",
        "db",
        "health_check_interval",
        "password",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_timeout",
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
        "username",
    }
)
_STORE_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


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
        raise ValueError  # http://user:12/34@host: the delimiter is one of a password
    parts.hostname.encode("idna")  # raises at what cannot be looked up, such as an empty label
    parts.port  # noqa: B018 - raises if it is not a number
    try:
        httpx.URL(text).host  # noqa: B018 - likewise
    except httpx.InvalidURL:
        raise ValueError from None


def split_store_addresses(text: str) -> tuple[str, ...]:
    """Take a list of stores apart: a comma divides stores only where a scheme follows."""
    addresses = tuple(address.strip() for address in re.split(r",\s*(?=[a-z+]+://)", text) if address.strip())
    for address in addresses:
        _check_store_address(address)
    return addresses


def _check_store_address(text: str) -> None:
    from redis.exceptions import RedisError  # only who has a store pays for the client

    from relay.layers.redis.connection import RedisConnection

    parts = urlsplit(text)
    if parts.scheme not in _STORE_SCHEMES or not text.isprintable() or "#" in text:
        raise ValueError
    if not parts.scheme.endswith("+sentinel"):
        _check_one_store(parts.scheme, parts.netloc, parts.path, parts.query)
    try:
        RedisConnection(text, timeout_seconds=1)  # opens nothing
    except (TypeError, RedisError):
        raise ValueError from None


def _check_one_store(scheme: str, netloc: str, path: str, query: str) -> None:
    """Refuse what redis-py ignores or takes for something else."""
    if scheme == "unix" and not path:
        raise ValueError
    if scheme != "unix" and ("," in netloc.rpartition("@")[2] or not re.fullmatch(r"/?[0-9]*/?", path)):
        raise ValueError
    if query and not {name for name, _ in parse_qsl(query, strict_parsing=True)} <= _STORE_OPTIONS:
        raise ValueError


def check_database_address(text: str) -> str:
    """Check an address that Django's settings can name a database by; its driver is asked by a system check."""
    config: dict[str, Any] = database(text)
    if not isinstance(config.get("CONN_MAX_AGE", 0), int | float | None):
        raise ValueError
    return text
