"""The names of a deployment's keys and channels in a store. Pure.

Each name starts with the deployment's prefix and the number of its database. Databases divide keys, but Redis' pub/sub
knows no databases: a message that is published in one reaches the subscribers in all
(https://redis.io/docs/latest/develop/pubsub/, "Database & Scoping").
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from relay.addresses.store import database_number

CACHED_SESSIONS: Final = 512  # more than can receive a token within the same second


def namespace(prefix: str, url: str) -> str:
    """Return the start of all names of a deployment in the store at an address."""
    return f"{prefix}:{database_number(url)}"


class SessionKeys(NamedTuple):
    """A session's keys, in the order of ``KEYS`` in the scripts (``lua/prelude_*.lua``).

    ``work``, ``all``, ``expiring`` and ``empties`` are indexes of all sessions, ``memo`` remembers calls by their ids.
    """

    session: str
    log: str
    text: str
    work: str
    channel: str
    turns: str
    queue: str
    names: str
    order: str
    viewers: str
    all: str
    expiring: str
    deleted: str
    empties: str
    memo: str

    @property
    def for_append(self) -> tuple[str, ...]:
        """The first few, which are all that ``append.lua`` uses."""
        return self[:5]

    def with_call(self, call_id: str) -> SessionKeys:
        """Return the keys of a call that the store must recognise when it is repeated."""
        return self._replace(memo=f"{self.memo}:{call_id}")


class Keys:
    """Names keys and channels in one store.

    ``outbox`` are when each notification is due, and the notifications: ``KEYS`` 16 and 17 of calls that need them.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.work = self.name("w")
        self.all = self.name("a")
        self.expiring = self.name("e")
        self.empties = self.name("y")
        self.orders = self.name("orders")
        self.outbox = (self.name("h"), self.name("hooks"))
        self.of_session = lru_cache(CACHED_SESSIONS)(self._of_session)
        self._channel_prefix = self.name("c", "")

    def name(self, *parts: str) -> str:
        """Return a name in this deployment's namespace."""
        return ":".join((self._namespace, *parts))

    def session_of(self, channel: str) -> str:
        """Return the id of the session whose announcements a channel carries."""
        return channel.removeprefix(self._channel_prefix)

    def _of_session(self, session_id: str) -> SessionKeys:
        return SessionKeys(
            session=self.name("s", session_id),
            log=self.name("l", session_id),
            text=self.name("x", session_id),
            work=self.work,
            channel=self.name("c", session_id),
            turns=self.name("t", session_id),
            queue=self.name("q", session_id),
            names=self.name("n", session_id),
            order=self.name("o", session_id),
            viewers=self.name("v", session_id),
            all=self.all,
            expiring=self.expiring,
            deleted=self.name("d", session_id),
            empties=self.empties,
            memo=self.name("m", session_id),
        )
