"""Admission: the internal key, and the access policy for connections to a session."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final, TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from relay.access.rate_limits import client_network
from relay.conf import conf
from relay.exceptions import CredentialUncheckable, RelayError
from relay.policies import Handshake, Identity, Policy
from relay.policies.handshake import parse_query
from relay.protocol.request_headers import INTERNAL_KEY
from relay.tasks import FairTimeout

T = TypeVar("T")

HEADER: Final = INTERNAL_KEY.lower().encode()
ADMIT_SECONDS: Final = 4.0  # daphne answers a handshake itself after 5

logger = logging.getLogger(__name__)


def has_internal_key(request: HttpRequest) -> bool:
    """Does the request present one of the internal keys, in ``X-Internal-Auth`` and nowhere else?

    Read from the ASGI scope: in ``request.META`` a header spelt with underscores looks the same.
    """
    return isinstance(request, ASGIRequest) and shows_internal_key(request.scope["headers"])


def shows_internal_key(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Is there one header ``X-Internal-Auth``, with one of the internal keys?"""
    shown = [value for name, value in headers if name.lower() == HEADER]
    return len(shown) == 1 and is_internal_key(shown[0])


def may_scrape(request: HttpRequest) -> bool:
    """May the request read the metrics? Prometheus sends the key as ``Authorization: Bearer`` (RFC 6750 §2.1)."""
    headers = request.scope["headers"] if isinstance(request, ASGIRequest) else ()
    return conf.metrics_open or shows_internal_key(headers) or bearer_key(headers) is not None


def bearer_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the internal key that is presented as ``Authorization: Bearer``; ``None`` if there is none."""
    shown = [value.partition(b" ") for name, value in headers if name.lower() == b"authorization"]
    key = shown[0][2].strip() if len(shown) == 1 and shown[0][0].lower() == b"bearer" else b""
    return key if is_internal_key(key) else None


def is_internal_key(shown: bytes) -> bool:
    """Compare in constant time with every key, so that the time reveals nothing about any of them."""
    matches = [hmac.compare_digest(shown, key.encode()) for key in conf.internal_api_keys]
    return bool(shown) and any(matches)


def read_handshake(scope: Mapping[str, Any], session_id: str, *, has_cursor: bool, cursor_epoch: str) -> Handshake:
    """Read a client's handshake from the ASGI scope of its socket or request (hence ``Any``)."""
    client = scope.get("client")
    return Handshake(
        session_id=session_id,
        headers=tuple(scope["headers"]),
        query=parse_query(scope["query_string"]),
        subprotocols=tuple(scope.get("subprotocols", ())),
        address=str(client[0]) if client else "",
        is_socket=scope["type"] == "websocket",
        has_cursor=has_cursor,
        cursor_epoch=cursor_epoch,
    )


def limited_network(handshake: Handshake) -> str:
    """Return the network by which a client's limits count; empty for a service, which is trusted and not limited."""
    return "" if shows_internal_key(handshake.headers) else client_network(handshake.address)


async def admit(handshake: Handshake, policy: Policy) -> Identity:
    """Identify the client that opens a connection to a session: a service with the key, or a client of the policy.

    Raises:
        Unauthorized, Forbidden, StoreUnavailable: as ``Policy.admit``. A policy that fails admits no client.
    """
    if shows_internal_key(handshake.headers):
        return Identity()
    return await _asked(_identified(handshake, policy))


async def redeem(handshake: Handshake, policy: Policy, epoch: str) -> None:
    """Use up an admitted client's credential, if it is good once. After this nothing may refuse the client.

    Raises:
        Unauthorized, StoreUnavailable: as ``Policy.redeem``.
    """
    if not shows_internal_key(handshake.headers):
        await _asked(policy.redeem(handshake, epoch))


async def _identified(handshake: Handshake, policy: Policy) -> Identity:
    """Ask the policy; whatever else than an identity it returns, such as nothing at all, admits no client."""
    identity: object = await policy.admit(handshake)
    if not isinstance(identity, Identity):
        raise TypeError(f"{type(policy).__qualname__}.admit returned {type(identity).__name__}, not an Identity")
    return identity


async def _asked(answer: Awaitable[T]) -> T:
    """Wait for a policy's answer. A policy that fails, or does not answer in time, admits no client."""
    try:
        async with FairTimeout(ADMIT_SECONDS):
            return await answer
    except RelayError:
        raise
    except Exception as exc:
        logger.exception("access policy failed")
        raise CredentialUncheckable from exc
