"""Why the agent cannot be reached, in words fit for a log, for ``/ready`` and for ``doctor``: without any address."""

from __future__ import annotations

import socket

from relay.agent.tls import TlsFailed


def unreachable_cause(exc: BaseException) -> str:
    """Name the cause of a connection that did not come about, in words that continue "no connection:"."""
    if isinstance(exc, TlsFailed):
        return str(exc)
    cause = exc.__cause__ or exc
    if isinstance(cause, socket.gaierror):
        return "its name is not known to DNS"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection is refused"
    if isinstance(cause, TimeoutError):
        return "it does not answer in time"
    return type(cause).__name__
