"""The HTTP status of each refusal. Pure."""

from __future__ import annotations

from typing import Final

from relay.exceptions import RelayError

_STATUSES: Final = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "run_unknown": 404,
    "message_too_large": 413,
    "rate_limited": 429,
    "store_unavailable": 503,
    "shutting_down": 503,
    "server_restart": 503,
    "internal": 500,
}


def status_of(reason: RelayError) -> int:
    """Return the status that fits a refusal; a conflict with what the session holds is 409."""
    return _STATUSES.get(reason.code, 409)
