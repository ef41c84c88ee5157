"""The head of an HTTP request, read once: its target, its Host, and whether it asks for a WebSocket. Pure.

The application reads the same target and headers as a proxy in front, for requests and sockets alike: a head that two
parsers could read in two ways is refused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

Fields = Sequence[tuple[bytes, bytes]]  # names in lower case

# RFC 9112 §3.2.1, without two slashes (others read an authority after them) and without # (a fragment).
_ORIGIN_FORM: Final = re.compile(rb'(/(?!/)[!"$->@-~]*)(?:\?([!"$-~]*))?')
_ABSOLUTE_FORM: Final = re.compile(rb'(?i:https?)://([!"$-.0->A-~]+)((?:[/?].*)?)')  # RFC 9112 §3.2.2
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110 §5.5: no field value has one
WEBSOCKET_VERSION: Final = b"13"
KEY_BYTES: Final = 16  # RFC 6455 §4.1


class RequestRefused(ValueError):
    """A request that is answered without the application: the status, the reason for the log, and more headers."""

    def __init__(self, status: int, problem: str, headers: Fields = ()) -> None:
        super().__init__(problem)
        self.status = HTTPStatus(status)
        self.headers = headers


class RequestHead(NamedTuple):
    """A request line and its header fields, for ASGI's scope.

    Attributes:
        path: as received, with its percent signs.
        query: as received, without the question mark.
        fields: names in lower case; ``host`` is that of the target, if the target names one.
    """

    method: bytes
    path: bytes
    query: bytes
    version: bytes
    fields: Fields


class WebSocketRequest(NamedTuple):
    """The parts of a head that a WebSocket's handshake needs."""

    key: str
    subprotocols: list[str]


def read_head(method: bytes, target: bytes, version: bytes, fields: Fields) -> RequestHead:
    """Read a request line (``version`` as ``HTTP/1.1``) and its fields, with names in any case.

    Names with an underscore are left out: applications could take them for those with a hyphen.

    Raises:
        RequestRefused: the head is malformed, or could be read in two ways.
    """
    fields = [(name.lower(), value) for name, value in fields if b"_" not in name]
    if any(_CONTROLS.search(value) for _, value in fields):
        raise RequestRefused(400, "a header contains a control character")
    hosts = values_of(fields, b"host")
    if len(hosts) > 1 or (not hosts and version != b"HTTP/1.0"):  # RFC 9112 §3.2
        raise RequestRefused(400, "it does not have exactly one Host")
    if absolute := _ABSOLUTE_FORM.fullmatch(target):
        authority, target = absolute[1], absolute[2]
        target = target if target.startswith(b"/") else b"/" + target
        fields = [(name, value) for name, value in fields if name != b"host"] + [(b"host", authority)]
    parts = _ORIGIN_FORM.fullmatch(target)
    if parts is None:
        raise RequestRefused(400, "its target is not a path")
    return RequestHead(method, parts[1], parts[2] or b"", version, fields)


def read_websocket_request(head: RequestHead) -> WebSocketRequest | None:
    """Read a WebSocket's handshake (RFC 6455 §4.2.1); ``None`` if the request asks for none.

    Raises:
        RequestRefused: the handshake is malformed.
    """
    if head.version == b"HTTP/1.0" or not has_token(head.fields, b"upgrade", b"websocket"):  # RFC 9110 §7.8
        return None
    if head.method != b"GET":
        raise RequestRefused(405, "a WebSocket request with a method other than GET", [(b"Allow", b"GET")])
    if not has_token(head.fields, b"connection", b"upgrade"):
        raise RequestRefused(400, "a WebSocket request without Connection: Upgrade")
    if values_of(head.fields, b"transfer-encoding") or values_of(head.fields, b"content-length") not in ([], [b"0"]):
        raise RequestRefused(400, "a WebSocket request with a body")  # its frames would be the body's bytes
    _check_version(head.fields)
    return WebSocketRequest(_read_key(head.fields), _read_subprotocols(head.fields))


def values_of(fields: Fields, name: bytes) -> list[bytes]:
    """Return the values of all fields with this name (lower case)."""
    return [value for shown, value in fields if shown == name]


def has_token(fields: Fields, name: bytes, token: bytes) -> bool:
    """Is a token, in any case, in the list that the fields of this name make together (RFC 9110 §5.6.1)?"""
    return token in [item.lower() for item in _items(fields, name)]


def _items(fields: Fields, name: bytes) -> list[bytes]:
    items = [item.strip(b" \t") for item in b",".join(values_of(fields, name)).split(b",")]
    return [item for item in items if item]


def _check_version(fields: Fields) -> None:
    versions = values_of(fields, b"sec-websocket-version")
    if len(versions) != 1:
        raise RequestRefused(400, "a WebSocket request without exactly one Sec-WebSocket-Version")
    if versions != [WEBSOCKET_VERSION]:  # RFC 6455 §4.4
        headers = [(b"Sec-WebSocket-Version", WEBSOCKET_VERSION), (b"Upgrade", b"websocket")]
        raise RequestRefused(426, "a WebSocket request with another version", headers)


def _read_key(fields: Fields) -> str:
    keys = values_of(fields, b"sec-websocket-key")
    try:
        if len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == KEY_BYTES:
            return keys[0].decode("ascii")
    except ValueError:  # binascii.Error is one
        pass
    raise RequestRefused(400, "a WebSocket request without a valid Sec-WebSocket-Key")


def _read_subprotocols(fields: Fields) -> list[str]:
    offered = _items(fields, b"sec-websocket-protocol")
    if len(set(offered)) < len(offered) or not all(name.isascii() for name in offered):
        raise RequestRefused(400, "the offered subprotocols are not valid names, each once")
    return [name.decode("ascii") for name in offered]
