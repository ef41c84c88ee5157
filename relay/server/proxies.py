"""The client's address behind proxies: ``X-Forwarded-For``, read from the right.

Each proxy appends the address that it was called from, so only entries of trusted proxies can be believed. Those
further left may be forged by the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from relay.conf.parsers import TrustedProxies

Headers = Iterable[tuple[bytes, bytes]]
Address = list[str | int]  # as ASGI has it: host and port


def client_address(peer: Address | None, headers: Headers, trusted: TrustedProxies) -> Address | None:
    """Return the client's address: from the right, the first that is not a trusted proxy's; port 0 if unknown.

    Args:
        peer: the connection's other end; ``None`` on a Unix socket, which only a proxy on this machine can open.
    """
    if not trusted:
        return peer
    found = peer
    for distance, entry in enumerate(reversed(_entries(headers, b"x-forwarded-for"))):
        if found is not None and not _is_proxy(str(found[0]), distance, trusted):
            break
        host = _host(entry)
        if host is None:
            break  # no address: entries further left came through an unknown proxy
        found = [host, 0]
    return found


def forwarded_scheme(peer: Address | None, headers: Headers, trusted: TrustedProxies) -> str | None:
    """Return the scheme that the nearest trusted proxy reports; ``None`` without a proxy or a report."""
    if not trusted or (peer is not None and not _is_proxy(str(peer[0]), 0, trusted)):
        return None
    schemes = _entries(headers, b"x-forwarded-proto")
    return schemes[-1].lower() if schemes and schemes[-1].lower() in ("http", "https") else None


def _is_proxy(host: str, distance: int, trusted: TrustedProxies) -> bool:
    if isinstance(trusted, int):
        return distance < trusted
    address = ip_address(host)
    address = getattr(address, "ipv4_mapped", None) or address  # a client of IPv4 on a listener of IPv6
    return any(address in network for network in trusted)


def _entries(headers: Headers, wanted: bytes) -> list[str]:
    values = b",".join(value for name, value in headers if name.lower() == wanted).decode("latin-1")
    return [stripped for entry in values.split(",") if (stripped := entry.strip(" \t"))]  # RFC 9110 §5.6.3


def _host(entry: str) -> str | None:
    """Read ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``; ``None`` for anything else."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ip_address(entry))
    except ValueError:
        return None
