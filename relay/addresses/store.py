"""Addresses of stores: a Redis or Valkey server, the sentinels that know which one is the primary, or a cluster."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from relay.addresses.cluster import parse_cluster_url

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

DEFAULT_SENTINEL_PORT: Final = 26_379
CLIENT_NAME: Final = "agent-gateway"
_STORE_OPTIONS: Final = frozenset(  # redis-py's options whose values are texts, numbers or booleans
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
_STORE_SCHEMES: Final = (
    *("redis", "rediss", "unix"),
    *("redis+sentinel", "rediss+sentinel"),
    *("redis+cluster", "rediss+cluster"),
)


class SentinelUrl(msgspec.Struct, frozen=True):
    """An address that names sentinels.

    Attributes:
        sentinels: hosts and ports.
        service: the store's name at the sentinels.
        password: of the sentinels; ``None`` if they need none.
        store_url: an address with the store's options; its host and port are placeholders.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    password: str | None
    store_url: str


def parse_sentinel_url(url: str) -> SentinelUrl | None:
    """Read an address of sentinels; ``None`` if it names a store itself.

    ``redis+sentinel://[user:password@]host:port,host:port/service[/database][?sentinel_password=…]``; with ``rediss``
    the store itself speaks TLS.

    Raises:
        ValueError: the address is malformed.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if kind != "sentinel":
        return None
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    login = f"{credentials}@" if credentials else ""
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    if not service or not (database or "0").isdecimal() or not options.keys() <= {"sentinel_password"}:
        raise ValueError("not redis+sentinel://host:port,host:port/service/database")
    return SentinelUrl(
        tuple(_host_and_port(host) for host in hosts.split(",")),
        unquote(service),
        options.get("sentinel_password"),
        f"{scheme}://{login}primary:0/{database or 0}",
    )


def are_several(text: str) -> bool:
    """Is this a list of addresses? A comma separates them only where a scheme follows."""
    return re.search(r",\s*[a-z+]+://", text) is not None


def database_number(url: str) -> int:
    """Return the number of the database that an address selects, as redis-py parses it."""
    from redis.asyncio.connection import parse_url  # imported only where a store is used

    return int(parse_url(server_url(url)).get("db", 0))


def server_url(url: str) -> str:
    """Return an address with the options of a single server: that of a placeholder, or of a node, if there are more.

    Raises:
        ValueError: the address is malformed.
    """
    if (sentinel_url := parse_sentinel_url(url)) is not None:
        return sentinel_url.store_url
    if (cluster_url := parse_cluster_url(url)) is not None:
        return cluster_url.of_node(*cluster_url.nodes[0])
    return url


def new_connection(url: str, *, timeout_seconds: float) -> AbstractConnection:
    """Make redis-py's connection to a store, without opening it: its caller sets host and port where there are more.

    Raises:
        ValueError, TypeError, RedisError: the address is malformed.
    """
    from redis.asyncio.connection import Connection, parse_url
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options: dict[str, Any] = dict(parse_url(server_url(url)))
    connection_class: type[AbstractConnection] = options.pop("connection_class", Connection)
    # The caller limits the whole exchange; redis-py's limit would cost a timer for each reply.
    options |= {
        "socket_timeout": None,
        "socket_connect_timeout": timeout_seconds,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": CLIENT_NAME,
    }
    return connection_class(**options)


def check_store_address(text: str) -> str:
    """Return an address that redis-py reads as it is meant; empty stays empty.

    Raises:
        ValueError: it is none.
    """
    if not text:
        return text
    try:
        from redis.exceptions import RedisError
    except ModuleNotFoundError:
        raise ValueError("there is no client") from None
    parts = urlsplit(text)
    if parts.scheme not in _STORE_SCHEMES or are_several(text) or not text.isprintable() or "#" in text:
        raise ValueError
    if "+" not in parts.scheme:
        _check_one_store(parts.scheme, parts.netloc, parts.path)
    if not parts.scheme.endswith("+sentinel"):
        _check_options(parts.query, _STORE_OPTIONS - {"db"} if parts.scheme.endswith("+cluster") else _STORE_OPTIONS)
    try:
        new_connection(text, timeout_seconds=1)
    except (TypeError, RedisError):
        raise ValueError from None
    return text


def _check_one_store(scheme: str, netloc: str, path: str) -> None:
    """Refuse parts of an address that redis-py ignores or misreads."""
    if scheme == "unix" and not path:
        raise ValueError
    if scheme != "unix" and ("," in netloc.rpartition("@")[2] or not re.fullmatch(r"/?[0-9]*/?", path)):
        raise ValueError


def _check_options(query: str, known: frozenset[str]) -> None:
    if query and not {name for name, _ in parse_qsl(query, strict_parsing=True)} <= known:
        raise ValueError


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query:
        raise ValueError("not a host and a port")
    return parts.hostname, DEFAULT_SENTINEL_PORT if parts.port is None else parts.port
