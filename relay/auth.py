"""Who may open what over HTTP: the internal key."""

from __future__ import annotations

import hmac
from typing import Final

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from relay.conf import conf

HEADER: Final = b"x-internal-auth"


def has_internal_key(request: HttpRequest) -> bool:
    """Does the request show one of the internal keys, in ``X-Internal-Auth`` and nowhere else?

    Read from the ASGI scope: in ``request.META`` a header spelt with underscores looks the same.
    """
    if not isinstance(request, ASGIRequest):
        return False
    shown = [value for name, value in request.scope["headers"] if name.lower() == HEADER]
    return len(shown) == 1 and is_internal_key(shown[0])


def is_internal_key(shown: bytes) -> bool:
    """Compare in constant time with every key, so that the time tells nothing about any."""
    matches = [hmac.compare_digest(shown, key.encode()) for key in conf.internal_api_keys]
    return bool(shown) and any(matches)
