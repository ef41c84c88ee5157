"""Stores behind Sentinel: which server is the primary now is asked anew for each connection.

``redis+sentinel://[user:password@]host:port,host:port/service[/database][?sentinel_password=…]``; with ``rediss`` the
store itself speaks TLS.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError

ANSWER_SECONDS: Final = 0.5  # for each sentinel: they are near, and there are others
DEFAULT_PORT: Final = 26_379


class SentinelUrl(msgspec.Struct, frozen=True):
    """An address that names sentinels.

    Attributes:
        sentinels: hosts and ports.
        service: the name under which they watch the store.
        password: of the sentinels; ``None``: they ask for none.
        store_url: an address with the store's own options, whose host and port are not those of the primary.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    password: str | None
    store_url: str


def parse_sentinel_url(url: str) -> SentinelUrl | None:
    """Read an address; ``None`` if it names a store itself.

    Raises:
        ValueError: it has another form than the one above.
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


class Sentinels:
    """The sentinels of one store; whoever answered last is asked first."""

    def __init__(self, url: SentinelUrl) -> None:
        self._service = url.service
        self._options: dict[str, Any] = {  # options of any type, for redis-py alone
            "password": url.password,
            "socket_timeout": None,
            "socket_connect_timeout": ANSWER_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "agent-gateway",
        }
        self._addresses = list(url.sentinels)

    async def primary(self) -> tuple[str, int]:
        """Give the primary's address.

        Raises:
            ConnectionError: no sentinel knows one.
        """
        for address in list(self._addresses):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    found = await self._ask(address)
            except (RedisError, OSError, TimeoutError):
                continue
            if found is not None:
                self._addresses.remove(address)
                self._addresses.insert(0, address)
                return found
        raise ConnectionError(f"no sentinel names a primary of {self._service}")

    async def _ask(self, address: tuple[str, int]) -> tuple[str, int] | None:
        connection = Connection(host=address[0], port=address[1], **self._options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it so
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            reply: list[bytes] | None = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        return None if reply is None else (reply[0].decode(), int(reply[1]))


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query:
        raise ValueError("not a host and a port")
    return parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
