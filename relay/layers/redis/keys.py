"""What every key and channel of a deployment begins with: its prefix, and the number of its database. Pure.

Databases divide keys, but Redis' pub/sub knows no databases: a message that is published in one reaches subscribers
in all (https://redis.io/docs/latest/develop/pubsub/, "Database & Scoping"). So the number is part of each name.
"""

from __future__ import annotations

from relay.addresses.store import database_number


def namespace(prefix: str, url: str) -> str:
    """Give what the names of a deployment begin with in the store at an address."""
    return f"{prefix}:{database_number(url)}"
