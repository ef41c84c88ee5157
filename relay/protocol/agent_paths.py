"""The agent's own paths that clients may ask for: ``GATEWAY__AGENT_PASS``. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

READ: Final = frozenset({"GET", "HEAD"})
METHODS: Final = READ | {"POST", "PUT", "PATCH", "DELETE"}
BELOW: Final = "/*"
CREDENTIAL: Final = "ticket"  # the parameter in which a client presents a ticket or token

# The gateway's own: a path of the agent may be none of these, nor below one.
OWN: Final = ("health", "ready", "metrics", "admin", "static", "ws", "api", "v1", "favicon.ico")

_SEGMENT: Final = re.compile(
    r"(?!\.{1,2}(?:;|\Z))[A-Za-z0-9._~!$&'()+;=:@-]+"
)  # RFC 3986 §3.3, without escapes, * and comma


class AgentPath(NamedTuple):
    """A path that is passed.

    Attributes:
        path: with the slash that it starts with.
        is_prefix: are the paths below it passed, too?
    """

    methods: frozenset[str]
    path: str
    is_prefix: bool = False

    def covers(self, path: str) -> bool:
        """Is this path passed? It must be valid."""
        return path == self.path or (self.is_prefix and path.startswith(f"{self.path}/"))


def parse_agent_path(text: str) -> AgentPath:
    """Read ``/agents``, ``/files/*`` or ``GET POST /feedback``.

    Raises:
        ValueError: it is none of these, or one of the gateway's own paths.
    """
    *named, path = text.split() or [""]
    methods = frozenset(named) or READ
    is_prefix = path.endswith(BELOW)
    path = path.removesuffix(BELOW)
    if not methods <= METHODS or not is_valid_path(path) or path.split("/")[1] in OWN:
        raise ValueError(text)
    return AgentPath(methods | {"HEAD"} if "GET" in methods else methods, path, is_prefix)


def is_valid_path(path: str) -> bool:
    """Is this a path of plain segments, of which none is escaped, empty, ``.`` or ``..``?

    ``..;x`` counts as ``..``: servers of Java take what follows a semicolon off before they resolve a path.
    """
    start, *segments = path.split("/")
    return not start and bool(segments) and all(map(_SEGMENT.fullmatch, segments))


def query_without_credential(query: str) -> str:
    """Return a raw query without the parameter that has the client's ticket or token."""
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != CREDENTIAL)
