"""What every key and channel of a deployment begins with: its prefix, and the number of its database. Pure.

Databases divide keys, but Redis' pub/sub knows no databases: a message that is published in one reaches subscribers
in all (https://redis.io/docs/latest/develop/pubsub/, "Database & Scoping"). So the number is part of each name.
"""

from __future__ import annotations

from redis.asyncio.connection import parse_url

from relay.layers.redis.sentinel import parse_sentinel_url


def namespace(prefix: str, url: str) -> str:
    """Give what the names of a deployment begin with in the store at an address."""
    return f"{prefix}:{database_number(url)}"


def database_number(url: str) -> int:
    """Give the number of the database that an address selects, as redis-py reads it when it connects."""
    sentinel_url = parse_sentinel_url(url)
    options = parse_url(url if sentinel_url is None else sentinel_url.store_url)
    return int(options.get("db", 0))
