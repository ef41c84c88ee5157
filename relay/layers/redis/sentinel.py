"""Stores behind Sentinel: each connection asks which server is the primary now."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError

from relay.addresses.store import CLIENT_NAME, SentinelUrl

ANSWER_SECONDS: Final = 0.5  # for each sentinel: they are near, and there are others


class Sentinels:
    """The sentinels of one store; the one that answered last is asked first."""

    def __init__(self, url: SentinelUrl) -> None:
        self._service = url.service
        self._options: dict[str, Any] = {  # options of any type, for redis-py alone
            "password": url.password,
            "socket_timeout": None,
            "socket_connect_timeout": ANSWER_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": CLIENT_NAME,
        }
        self._addresses = list(url.sentinels)

    async def primary(self) -> tuple[str, int]:
        """Return the primary's address.

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
