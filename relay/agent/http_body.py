"""Finds the content and the end of an HTTP/1.1 response's body. Pure.

Source of every rule: RFC 9112 §6.3 and §7.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol

MAX_CHUNK_HEAD_BYTES: Final = 4_096  # a size, and extensions that are ignored

_CHUNK_HEAD: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_NO_CONTENT: Final = frozenset({204, 304})


class BodyBroken(ValueError):
    """The body is framed wrongly. ``content`` stood before that in the same bytes: no split loses it."""

    def __init__(self, words: str, content: bytes) -> None:
        super().__init__(words)
        self.content = content


class Body(Protocol):
    """Reads a body as it arrives.

    Attributes:
        is_over: has the end of the body arrived?
        ends_with_connection: does the end of the connection end the body?
    """

    is_over: bool
    ends_with_connection: bool

    def feed(self, data: bytes) -> bytes:
        """Read the next bytes and return the content in them; bytes after the end are dropped.

        Raises:
            BodyBroken: the bytes are not framed as this kind of body.
        """


class ChunkedBody:
    """A body in the chunked transfer coding. It ends with the last chunk; trailers are ignored."""

    ends_with_connection = False

    def __init__(self) -> None:
        self.is_over = False
        self._rest = b""  # of a chunk's head or of the line end behind it
        self._left = 0  # of the current chunk and the line end behind it; 0: a head follows

    def feed(self, data: bytes) -> bytes:
        """See ``Body``."""
        if self._rest:
            data = self._rest + data
        pieces = []
        at, end = 0, len(data)
        while at < end and not self.is_over:
            if not self._left:
                head = _CHUNK_HEAD.match(data, at)
                if head is None:
                    break
                at = head.end()
                size = int(head[1], 16)
                self._left = size + 2
                self.is_over = not size
                continue
            behind = at + self._left
            if behind > end:
                content_bytes = min(end - at, self._left - 2)
                pieces.append(data[at : at + content_bytes])
                at += content_bytes
                self._left -= content_bytes
                break
            if data[behind - 2 : behind] != b"\r\n":
                pieces.append(data[at : behind - 2])
                raise BodyBroken("a chunk is longer than its size", b"".join(pieces))
            pieces.append(data[at : behind - 2])
            at, self._left = behind, 0
        self._rest = b"" if self.is_over else data[at:]
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._rest:
            self._check_rest(content)
        return content

    def _check_rest(self, content: bytes) -> None:
        if self._left:
            if self._rest != b"\r":
                raise BodyBroken("a chunk is longer than its size", content)
        elif b"\n" in self._rest or len(self._rest) > MAX_CHUNK_HEAD_BYTES or not _may_be_head(self._rest):
            raise BodyBroken("a chunk has no size", content)


class SizedBody:
    """A body of a known length."""

    ends_with_connection = False

    def __init__(self, size: int) -> None:
        self.is_over = not size
        self._left = size

    def feed(self, data: bytes) -> bytes:
        """See ``Body``."""
        content = data[: self._left]
        self._left -= len(content)
        self.is_over = not self._left
        return content


class EndlessBody:
    """A body that ends with the connection."""

    is_over = False
    ends_with_connection = True

    def feed(self, data: bytes) -> bytes:
        """See ``Body``."""
        return data


def body_of(status: int, fields: Mapping[str, str]) -> Body:
    """Choose the body by the response's head, as ``read_response_head`` has checked it."""
    if status in _NO_CONTENT:
        return SizedBody(0)
    if "transfer-encoding" in fields:
        return ChunkedBody()
    if "content-length" in fields:
        return SizedBody(int(fields["content-length"]))
    return EndlessBody()


def _may_be_head(rest: bytes) -> bool:
    """May a chunk's head start with these bytes?"""
    return rest[:1] in b"0123456789abcdefABCDEF"
