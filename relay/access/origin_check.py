"""The pages that may connect: checks the Host that a client names, and the Origin that its browser sends.

Django checks neither for sockets, and browsers let any page open a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from relay.access.auth import shows_internal_key
from relay.conf import conf
from relay.protocol.origins import is_listed, is_own

# These policies read what a page sends on purpose. Others may read cookies, which a browser sends unasked.
POLICIES_WITHOUT_COOKIES: Final = frozenset({"open", "ticket", "jwt"})

LOCALHOST: Final = [".localhost", "127.0.0.1", "[::1]"]  # as Django: with DEBUG and without ALLOWED_HOSTS

Scope = Mapping[str, Any]  # ASGI's: its keys depend on its type


def is_handshake_allowed(scope: Scope) -> bool:
    """May a socket be opened under this Host and from this page, by any client?"""
    if not _is_host_allowed(scope):
        return False
    if not _origins(scope):
        return conf.allow_no_origin or shows_internal_key(scope["headers"])
    return is_origin_allowed(scope)


def is_origin_allowed(scope: Scope) -> bool:
    """May pages of the named Origin connect? Without an Origin: yes."""
    origins = _origins(scope)
    if not origins:
        return True
    if len(origins) > 1:
        return False
    may_be_any = settings.DEBUG or (not conf.allowed_origins and conf.ws_auth in POLICIES_WITHOUT_COOKIES)
    return may_be_any or is_listed(origins[0], conf.allowed_origins) or _is_own(origins[0], scope)


def _is_own(origin: str, scope: Scope) -> bool:
    hosts = _headers(scope, b"host")
    return len(hosts) == 1 and is_own(origin, hosts[0], is_secure=scope.get("scheme") in ("wss", "https"))


def _is_host_allowed(scope: Scope) -> bool:
    hosts = _headers(scope, b"host")
    allowed = list(settings.ALLOWED_HOSTS)
    if settings.DEBUG and not allowed:
        allowed = LOCALHOST
    if len(hosts) != 1:
        return not hosts and "*" in allowed
    domain, _ = split_domain_port(hosts[0])
    return bool(domain) and validate_host(domain, allowed)


def _origins(scope: Scope) -> list[str]:
    """Return the named Origins; an empty header names none."""
    origins = _headers(scope, b"origin")
    return [] if origins == [""] else origins


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for shown, value in scope["headers"] if shown.lower() == name]
