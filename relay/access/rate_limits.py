"""Rates of what is costly, counted across all workers: messages by session and address, logins by address and name."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from relay.conf import conf
from relay.exceptions import RateLimited
from relay.layers.limits import Limits
from relay.layers.values import Rate
from relay.observability import metrics

LOGINS_OF_ADDRESS: Final = Rate(10, 300)  # a person who mistypes has enough; a list of passwords takes years
LOGINS_OF_NAME: Final = Rate(30, 3_600)  # from however many addresses; it also locks out, so it is wider

UNKNOWN_NETWORK: Final = "unknown"


async def take_message(limits: Limits, session_id: str, network: str = "") -> None:
    """Count a message that is to start a turn.

    Args:
        network: of the client, as ``auth.limited_network`` gives it; empty: a service, whose
            messages count for the session only.

    Raises:
        RateLimited: there were too many; it tells when the next one may come.
        StoreUnavailable: that cannot be told at the moment.
    """
    if conf.rate_limit:
        key = f"messages:session:{session_id}"
        await _take(limits, "session_messages", key, Rate(conf.rate_limit, 60), session_id)
    if network and conf.address_rate_limit:
        await _take(limits, "address_messages", f"messages:address:{network}", Rate(conf.address_rate_limit, 60))


async def take_reading(limits: Limits, session_id: str, network: str = "") -> None:
    """Count a request for a page of a session's history; see ``take_message``. A service is not limited.

    Raises:
        RateLimited: there were too many.
        StoreUnavailable: that cannot be told at the moment.
    """
    if network and conf.rate_limit:
        key = f"readings:session:{session_id}"
        await _take(limits, "session_readings", key, Rate(conf.rate_limit, 60), session_id)


async def take_new_session(limits: Limits, subject: str, network: str) -> None:
    """Count a session that a subject makes before its first message; see ``take_message``.

    Raises:
        RateLimited: there were too many.
        StoreUnavailable: that cannot be told at the moment.
    """
    if network and conf.rate_limit:
        await _take(limits, "new_sessions", f"sessions:subject:{subject}", Rate(conf.rate_limit, 60))


async def take_login(limits: Limits, address: str, name: str) -> None:
    """Count an attempt to log in, whether it succeeds or not.

    Raises:
        RateLimited: there were too many.
        StoreUnavailable: that cannot be told at the moment.
    """
    await _take(limits, "login", f"login:address:{client_network(address)}", LOGINS_OF_ADDRESS)
    await _take(limits, "login", f"login:name:{name.casefold()}", LOGINS_OF_NAME)


async def _take(limits: Limits, what: str, key: str, rate: Rate, session_id: str = "") -> None:
    wait_seconds = await limits.take(key, rate, session_id)
    if wait_seconds:
        metrics.RATE_LIMITED.labels(what).inc()
        raise RateLimited(wait_seconds)


def client_network(address: str) -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 of an IPv6 address.

    Clients whose address is not known (on a Unix socket, without trusted proxies) count together as one client.
    """
    if not address:
        return UNKNOWN_NETWORK
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)
