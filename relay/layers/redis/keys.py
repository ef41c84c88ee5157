"""The names of a deployment's keys and channels in a store. Pure.

``<prefix>:<database>:{<tag>}:<kind>[:<id>]``. Databases divide keys, but Redis' pub/sub knows no databases: a message
that is published in one reaches the subscribers in all (https://redis.io/docs/latest/develop/pubsub/, "Database &
Scoping"). The tag is that of a bucket; see ``buckets``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from relay.addresses.store import database_number
from relay.layers.redis.buckets import BUCKETS, TAGS, bucket_of

CACHED_SESSIONS: Final = 512  # more than can receive a token within the same second
ORDERS: Final = "!orders"  # no session's name: its bucket has the channel of orders


def namespace(prefix: str, url: str) -> str:
    """Return the start of all names of a deployment in the store at an address. The prefix holds no brace."""
    return f"{prefix}:{database_number(url)}"


class ScriptKeys(NamedTuple):
    """The ``KEYS`` of a call of a script: names in one bucket."""

    bucket: int
    names: tuple[str, ...]


class SessionNames(NamedTuple):
    """A session's names, in the order of ``KEYS`` in the scripts (``lua/prelude_*.lua``).

    ``work``, ``all``, ``expiring`` and ``empties`` are indexes of all sessions of a bucket, ``memo`` remembers calls by
    their ids.
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


class SessionKeys(msgspec.Struct, frozen=True):
    """The keys of one session's calls.

    Attributes:
        for_append: the first few, which are all that ``append.lua`` uses.
        for_script: those of the other scripts.
        outbox: see ``Bucket``; ``KEYS`` 16 and 17 of calls that need them.
    """

    names: SessionNames
    for_append: ScriptKeys
    for_script: ScriptKeys
    outbox: ScriptKeys

    def only(self, name: str) -> ScriptKeys:
        """Return one of the names, for a script that needs no other."""
        return ScriptKeys(self.for_script.bucket, (name,))

    def for_call(self, call_id: str, *, with_outbox: bool) -> ScriptKeys:
        """Return the keys of a call. It has an id if the store must recognise its repetition by that."""
        if not call_id and not with_outbox:
            return self.for_script
        names: tuple[str, ...] = self.names._replace(memo=f"{self.names.memo}:{call_id}") if call_id else self.names
        return ScriptKeys(self.for_script.bucket, names + self.outbox.names if with_outbox else names)


class Bucket:
    """The names in one bucket.

    Attributes:
        work: the index of sessions with work; ``all``: of all sessions; ``expiring``: of when each will expire;
            ``empties``: of the empty ones.
        outbox: when each notification is due, and the notifications.
    """

    __slots__ = ("_start", "all", "empties", "expiring", "number", "outbox", "work")

    def __init__(self, namespace: str, number: int) -> None:
        self.number = number
        self._start = f"{namespace}:{{{TAGS[number]}}}:"
        self.work = self.keys("w")
        self.all = self.keys("a")
        self.expiring = self.keys("e")
        self.empties = self.keys("y")
        self.outbox = self.keys("h", "hooks")

    def name(self, *parts: str) -> str:
        """Return a name in this bucket."""
        return self._start + ":".join(parts)

    def keys(self, *kinds: str) -> ScriptKeys:
        """Return the keys of these kinds that belong to no session."""
        return ScriptKeys(self.number, tuple(map(self.name, kinds)))

    def checked(self, name: str) -> ScriptKeys:
        """Return keys of every kind, of a session and of limits that no client uses."""
        return ScriptKeys(self.number, (*self.session(name).names, *(self.name(kind, name) for kind in "bmu")))

    def presence(self, session_id: str) -> ScriptKeys:
        """Return the few keys of a session of this bucket that tell who watches it."""
        return ScriptKeys(self.number, (self.name("s", session_id), self.name("v", session_id), *self.empties.names))

    def session(self, session_id: str) -> SessionKeys:
        """Return the keys of a session of this bucket."""
        names = SessionNames(
            session=self.name("s", session_id),
            log=self.name("l", session_id),
            text=self.name("x", session_id),
            work=self.work.names[0],
            channel=self.name("c", session_id),
            turns=self.name("t", session_id),
            queue=self.name("q", session_id),
            names=self.name("n", session_id),
            order=self.name("o", session_id),
            viewers=self.name("v", session_id),
            all=self.all.names[0],
            expiring=self.expiring.names[0],
            deleted=self.name("d", session_id),
            empties=self.empties.names[0],
            memo=self.name("m", session_id),
        )
        return SessionKeys(names, ScriptKeys(self.number, names[:5]), ScriptKeys(self.number, names), self.outbox)


class Keys:
    """Names keys and channels in one store."""

    def __init__(self, namespace: str) -> None:
        self.buckets = [Bucket(namespace, number) for number in range(BUCKETS)]
        self.orders = self.bucket(ORDERS).keys("orders")
        self.of_session = lru_cache(CACHED_SESSIONS)(self._of_session)

    def bucket(self, name: str) -> Bucket:
        """Return the bucket of a session or a limit."""
        return self.buckets[bucket_of(name)]

    def session_of(self, channel: str) -> str:
        """Return the id of the session whose announcements a channel carries; empty if it is not a session's."""
        return channel.partition("}:c:")[2]

    def _of_session(self, session_id: str) -> SessionKeys:
        return self.bucket(session_id).session(session_id)
