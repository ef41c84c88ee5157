"""The HTTP status of each refusal, as docs/protocol.md lists them."""

import pytest

from relay import exceptions
from relay.protocol.http_status import status_of

STATUSES = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "message_too_large": 413,
    "rate_limited": 429,
    "store_unavailable": 503,
    "shutting_down": 503,
    "server_restart": 503,
    "internal": 500,
    "busy": 409,
    "a code that is new": 409,
}


@pytest.mark.parametrize(("code", "status"), STATUSES.items())
def test_a_refusal_has_its_status(monkeypatch, code, status):
    monkeypatch.setattr(exceptions.RelayError, "code", code)
    assert status_of(exceptions.RelayError()) == status
