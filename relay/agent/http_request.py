"""An HTTP/1.1 request to the agent, and the bytes in which it is sent. Pure.

Source of every rule: RFC 9112 §3 and RFC 9110 §5. httpx reads the addresses, each once.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import httpx

PORTS: Final = {"http": 80, "https": 443}
MAX_TARGETS: Final = 64  # remembered; most agents have one, and some have paths with the name of a session or a run
_WITH_CONTENT: Final = frozenset({"POST", "PUT", "PATCH"})  # name the length of their content, even of an empty one
# Lines of a token (RFC 9110 §5.6.2) and a value without line ends, and without blanks around it.
_FIELDS: Final = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?\r\n)+", re.ASCII)
_METHOD: Final = re.compile(r"[A-Z]+")


class Target(NamedTuple):
    """An address, as a connection and a request need it.

    Attributes:
        host: to be looked up; an IPv6 address has no brackets.
        authority: the value of ``Host``.
        path: of the request line, with the query.
        credentials: the value of ``Authorization`` for the address' user and password; empty if it has none.
    """

    host: str
    port: int
    is_tls: bool
    authority: str
    path: str
    credentials: str


@lru_cache(MAX_TARGETS)
def target_of(address: str) -> Target:
    """Read an address.

    Raises:
        httpx.InvalidURL: it is none.
    """
    url = httpx.URL(address)
    credentials = b64encode(f"{url.username}:{url.password}".encode()).decode()
    return Target(
        host=url.host,
        port=url.port or PORTS[url.scheme],
        is_tls=url.scheme == "https",
        authority=url.netloc.decode("ascii"),
        path=url.raw_path.decode("ascii"),
        credentials=f"Basic {credentials}" if url.username or url.password else "",
    )


class HttpRequest:
    """A request over a connection of its own.

    Args:
        fields: the headers. One that is set again, its name in any case, has its last value.
        content: of the request; empty: it has none.
    """

    def __init__(self, method: str, address: str, *fields: Mapping[str, str], content: bytes = b"") -> None:
        self.target = target_of(address)
        self._method = method.upper()
        self._content = content
        self._fields: dict[str, tuple[str, str]] = {}
        self.set({"Host": self.target.authority}, *fields, {"Connection": "close"})
        if self.target.credentials:
            self._fields.setdefault("authorization", ("Authorization", self.target.credentials))
        if content or self._method in _WITH_CONTENT:
            self.set({"Content-Length": str(len(content))})

    def set(self, *fields: Mapping[str, str]) -> None:
        """Set headers."""
        for mapping in fields:
            for name, value in mapping.items():
                self._fields[name.lower()] = name, value

    def encode(self) -> bytes:
        """Return the bytes to send.

        Raises:
            ValueError: the method or a header holds a line end, or other characters that it cannot have.
        """
        fields = "".join([f"{name}: {value}\r\n" for name, value in self._fields.values()])
        is_line_each = fields.count("\n") == len(self._fields)
        if not is_line_each or not _FIELDS.fullmatch(fields) or not _METHOD.fullmatch(self._method):
            raise ValueError("the method or a header of a request cannot be sent")  # unnamed: it may hold a secret
        return f"{self._method} {self.target.path} HTTP/1.1\r\n{fields}\r\n".encode() + self._content
