"""Says why a store cannot serve, in words for operators: in the log, ``/ready`` and ``doctor``. Pure.

They are fixed words: no address, no key, no user's name.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from redis import exceptions

_CLUSTER: Final = "it is a cluster, and the gateway needs a server that is not clustered"
_LOGIN: Final = "it does not accept the user or the password"
_RIGHTS: Final = "docs/deployment.md lists the rights"
_CODES: Final = {
    "OOM": "it is full: give it more memory (maxmemory)",
    "MISCONF": "it cannot write its data to disk (MISCONF)",
    "NOREPLICAS": "it has fewer replicas than it must have (NOREPLICAS)",
    "BUSY": "it is busy with a script that does not end (BUSY)",
    "READONLY": "it is a replica, which takes no writes (READONLY)",
    "MASTERDOWN": "it is a replica that has lost its primary (MASTERDOWN)",
    "LOADING": "it is still loading its data (LOADING)",
    "CROSSSLOT": _CLUSTER,
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
    "TRYAGAIN": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
    "WRONGPASS": _LOGIN,
    "NOAUTH": _LOGIN,
}
_TEXTS: Final = {
    "No permissions to access a key": f"its user may not use the gateway's keys: {_RIGHTS}",
    "No permissions to access a channel": f"its user may not use the gateway's channels: {_RIGHTS}",
    "Unknown command": "it lacks a command: Redis 7 or Valkey 8 is the oldest that works",
    "Connection closed by server": "it closes each connection at once: does it want TLS (rediss://)?",
    "max number of clients": "it takes no more connections (maxclients)",
}
_NO_TLS: Final = "it does not speak TLS, but its address starts with rediss://"
_NO_TLS_ERRORS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
_COMMAND: Final = re.compile(r"no permissions to run the '([a-z|_-]{1,40})' command")
# X509_V_ERR_…: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_CERTIFICATES: Final = {
    9: "its TLS certificate is not valid yet",
    10: "its TLS certificate has expired",
    62: "its TLS certificate is for another host",
    64: "its TLS certificate is for another host",
    **dict.fromkeys(
        (2, 18, 19, 20, 21),
        "its TLS certificate is from an authority that is not trusted here: name it with ssl_ca_certs in the address",
    ),
}


class NoTls(exceptions.ConnectionError):
    """A server answers without TLS where TLS was asked for."""


def reason(failure: BaseException) -> str:
    """Say why a store could not be reached, or refused something."""
    causes = list(_causes(failure))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _tls_reason(cause)
    for cause in causes:
        if isinstance(cause, exceptions.RedisError) and (words := _reply_reason(cause)):
            return words
    for kind, words in _NETWORK.items():
        if any(isinstance(cause, kind) for cause in causes):
            return words
    return f"there is no connection to it ({type(failure).__name__})"


_NETWORK: Final[dict[type[BaseException], str]] = {
    NoTls: _NO_TLS,
    ConnectionRefusedError: "no server listens at its address",
    socket.gaierror: "the name of its host is not known here",
    TimeoutError: "it does not answer in time",
    exceptions.TimeoutError: "it does not answer in time",
    exceptions.InvalidResponse: "it does not answer as Redis does: does it want TLS (rediss://)?",
}


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    """Give a failure and its causes; redis-py keeps an ``OSError`` as the context of its own error."""
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def _tls_reason(failure: ssl.SSLError) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return _CERTIFICATES.get(failure.verify_code, "its TLS certificate is not accepted")
    if failure.reason in _NO_TLS_ERRORS:
        return _NO_TLS
    return f"TLS fails ({failure.reason or type(failure).__name__})"


def _reply_reason(failure: exceptions.RedisError) -> str:
    """Say what an error reply means; empty if the store has said nothing."""
    text = str(failure)
    code = getattr(failure, "status_code", None) or text.partition(" ")[0]
    if code in _CODES:
        return _CODES[code]
    if command := _COMMAND.search(text):
        return f"its user may not run '{command[1]}': {_RIGHTS}"
    for part, words in _TEXTS.items():
        if part in text:
            return words
    if isinstance(failure, exceptions.AuthenticationError):
        return _LOGIN
    return "it refuses what the gateway asks" if isinstance(failure, exceptions.ResponseError) else ""
