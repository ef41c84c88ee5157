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

IS_CLUSTER: Final = "it is a cluster: its address must begin with redis+cluster:// (or rediss+cluster://)"
IS_NO_CLUSTER: Final = "it is not a cluster: its address must begin with redis:// (or rediss://)"
_LOGIN: Final = "it does not accept the user or the password"
_CLOSES: Final = "it closes each connection at once: does it require TLS (rediss://)?"
_RIGHTS: Final = "docs/deployment.md lists the permissions"
_CODES: Final = {
    "OOM": "it is full: give it more memory (maxmemory)",
    "MISCONF": "it cannot write its data to disk (MISCONF)",
    "NOREPLICAS": "it has fewer replicas than it must have (NOREPLICAS)",
    "BUSY": "it is busy with a script that does not end (BUSY)",
    "READONLY": "it is a read-only replica (READONLY)",
    "MASTERDOWN": "it is a replica that has lost its primary (MASTERDOWN)",
    "LOADING": "it is still loading its data (LOADING)",
    "CROSSSLOT": IS_CLUSTER,
    "MOVED": IS_CLUSTER,
    "ASK": IS_CLUSTER,
    "TRYAGAIN": IS_CLUSTER,
    "CLUSTERDOWN": IS_CLUSTER,
    "WRONGPASS": _LOGIN,
    "NOAUTH": _LOGIN,
}
_NOT_SERVED: Final = {
    "CLUSTERDOWN": "its cluster is down, or has no node for some slots (CLUSTERDOWN)",
    "TRYAGAIN": "its cluster moves slots for too long (TRYAGAIN)",
}
DISAGREEMENT: Final = "the nodes of its cluster disagree about which of them serves a slot"
_TEXTS: Final = {
    "No permissions to access a key": f"its user may not use the gateway's keys: {_RIGHTS}",
    "No permissions to access a channel": f"its user may not use the gateway's channels: {_RIGHTS}",
    "Unknown command": "it lacks a command: use Redis 7 or Valkey 8, or newer",
    "Connection closed by server": _CLOSES,
    "max number of clients": "it accepts no more connections (maxclients)",
    "cluster support disabled": IS_NO_CLUSTER,
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


class ClusterFailure(exceptions.RedisError):
    """A cluster does not serve what it should; the text is for operators."""


def not_served(reply: exceptions.RedisError) -> ClusterFailure:
    """Return the failure of a call that nodes have refused for too long with this reply, or one like it."""
    return ClusterFailure(_NOT_SERVED.get(_code(reply), DISAGREEMENT))


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
    ConnectionResetError: _CLOSES,
    ConnectionRefusedError: "no server is listening at its address",
    socket.gaierror: "the name of its host is not known here",
    TimeoutError: "it does not answer in time",
    exceptions.TimeoutError: "it does not answer in time",
    exceptions.InvalidResponse: "it does not respond like Redis: does it require TLS (rediss://)?",
}


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    """Yield a failure and its causes; redis-py keeps an ``OSError`` as the context of its own error."""
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def _tls_reason(failure: ssl.SSLError) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return _CERTIFICATES.get(failure.verify_code, "its TLS certificate is not accepted")
    if failure.reason in _NO_TLS_ERRORS:
        return _NO_TLS
    return f"TLS fails ({failure.reason or type(failure).__name__})"


def _code(reply: exceptions.RedisError) -> str:
    return str(getattr(reply, "status_code", None) or str(reply).partition(" ")[0])


def _reply_reason(failure: exceptions.RedisError) -> str:
    """Say what an error reply means; empty if the store has said nothing."""
    text = str(failure)
    if isinstance(failure, ClusterFailure):
        return text
    code = _code(failure)
    if code in _CODES:
        return _CODES[code]
    if command := _COMMAND.search(text):
        return f"its user may not run '{command[1]}': {_RIGHTS}"
    for part, words in _TEXTS.items():
        if part in text:
            return words
    if isinstance(failure, exceptions.AuthenticationError):
        return _LOGIN
    return "it refuses the gateway's requests" if isinstance(failure, exceptions.ResponseError) else ""
