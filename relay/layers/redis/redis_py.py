"""The two private names of redis-py that the package uses; no other module uses any.

redis-py connects, which is the intricate part (TLS, logins, databases), and knows the errors that a server may answer.
Between the two lies its reader, which costs a future and several coroutines for each reply, that is for each token;
``wire`` reads in their place.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """Return the transport of a connection that is open, for ``wire.Wire`` to take over."""
    transport: asyncio.Transport = cast(Any, connection)._writer.transport
    return transport


def error_of(text: str) -> RedisError:
    """Return the exception that redis-py raises for an error reply."""
    return cast(RedisError, cast(Any, BaseParser).parse_error(text))  # it has no types
