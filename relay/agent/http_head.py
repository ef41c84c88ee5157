"""Reads the head of an HTTP/1.1 response. Pure.

Source of every rule: RFC 9112 §4, §5 and §6.3, as strict as ``h11``: a head that two readers could read in two ways is
none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

MAX_HEAD_BYTES: Final = 16_384
MAX_KNOWN: Final = 16  # heads; most of a second, or all, are the same

_SWITCHING: Final = 101
_END: Final = re.compile(rb"\n\r?\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/\d\.\d (\d{3})(?: (?:[^\x00\s]|[ \t])*)?")
_FIELD: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?)[ \t]*"
)  # RFC 9110 §5.5, with the control characters that servers do send
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")  # RFC 9112 §5.2
_LENGTH: Final = re.compile(r"\d{1,20}", re.ASCII)


class HeadInvalid(ValueError):
    """The bytes are no head of a response. The text may quote a line of them, for operators: to be redacted."""


class ResponseHead(NamedTuple):
    """The head of a response.

    Attributes:
        status: 100 to 999, without 101.
        fields: by names in lower case; the values of several fields of a name are joined by commas. ``content-length``
            is a number, ``transfer-encoding`` is ``chunked``.
        size: how many bytes it had.
    """

    status: int
    fields: Mapping[str, str]
    size: int


def read_response_head(data: bytes) -> ResponseHead | None:
    """Read the head at the start of some bytes; ``None``: it is not complete.

    Raises:
        HeadInvalid: it is no head of a response, or too long.
    """
    if data and data[:1] < b"!":
        raise HeadInvalid("the response starts with a blank or a control character")
    end = _END.search(data)
    if end is None:
        if len(data) > MAX_HEAD_BYTES:
            raise HeadInvalid("the head of the response is too long")
        return None
    status_line, _, rest = data[: end.start()].partition(b"\n")
    found = _STATUS_LINE.fullmatch(status_line.removesuffix(b"\r"))
    if found is None:
        raise HeadInvalid(f"the response starts without a status line: {_quoted(status_line)}")
    status = int(found[1])
    if status < 100 or status == _SWITCHING:
        raise HeadInvalid("the response has a status that answers no request")
    return ResponseHead(status, _fields(rest), end.end())


@lru_cache(MAX_KNOWN)
def _fields(block: bytes) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    encoding = "utf-8" if _is_utf_8(block) else "latin-1"
    for line in _FOLD.sub(b" ", block).split(b"\n") if block else ():
        field = _FIELD.fullmatch(line.removesuffix(b"\r"))
        if field is None:
            raise HeadInvalid(f"the response has a line that is no header: {_quoted(line)}")
        name, value = field[1].decode("ascii").lower(), field[2].decode(encoding)
        known = fields.get(name)
        if name == "content-length":
            value = _length(value, known)
        elif name == "transfer-encoding":
            value = _coding(value, known)
        elif known is not None:
            value = f"{known}, {value}"
        fields[name] = value
    return MappingProxyType(fields)  # all answers with the same head share it


def _length(value: str, known: str | None) -> str:
    """Return the one length that a value, and the fields before it, state (RFC 9110 §8.6)."""
    lengths = {length.strip() for length in value.split(",")}
    length = lengths.pop()
    if lengths or not _LENGTH.fullmatch(length) or known not in (None, length):
        raise HeadInvalid("the response has no valid length")
    return length


def _coding(value: str, known: str | None) -> str:
    if known is not None or value.lower() != "chunked":
        raise HeadInvalid("the response has a transfer coding other than chunked")
    return "chunked"


def _quoted(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _is_utf_8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
