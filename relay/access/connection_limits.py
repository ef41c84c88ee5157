"""Limits on the connections of one client address to this process: how many at once, and how many a minute.

Counted without the store: a stranger's handshake must not cost it anything.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from relay.conf import conf
from relay.exceptions import ConnectsTooOften, TooManyConnections
from relay.layers.memory.limits import TokenBuckets
from relay.layers.values import Rate
from relay.observability import metrics

CONNECTS_BEHIND_PROXY: Final = 600  # a minute: an office behind one address comes back at once after a restart


class ConnectionLimiter:
    """Counts the open connections by the network of their client."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._connects = TokenBuckets()

    def acquire(self, network: str) -> None:
        """Count one more connection of a client; ``release`` ends it.

        Args:
            network: as ``auth.limited_network`` gives it; empty: a service, which is not limited.

        Raises:
            ConnectsTooOften: the client has opened too many connections lately.
            TooManyConnections: the client has too many connections open.
        """
        self._check_rate(network)
        if network and conf.address_max_sockets and self._taken[network] >= conf.address_max_sockets:
            metrics.RATE_LIMITED.labels("address_sockets").inc()
            raise TooManyConnections
        self._taken[network] += 1

    def release(self, network: str) -> None:
        """Count one connection less."""
        self._taken[network] -= 1
        if not self._taken[network]:
            del self._taken[network]

    def _check_rate(self, network: str) -> None:
        rate = connect_rate()
        if not network or not rate:
            return
        wait_seconds = self._connects.take(network, Rate(rate, 60))
        if wait_seconds:
            metrics.RATE_LIMITED.labels("address_connects").inc()
            raise ConnectsTooOften(wait_seconds)


def connect_rate() -> int:
    """Return the number of connections that an address may open a minute; 0: any number.

    Behind an unknown proxy all clients have its address, so ``auto`` limits only where the proxies are named.
    """
    if conf.address_connect_rate is not None:
        return conf.address_connect_rate
    return CONNECTS_BEHIND_PROXY if conf.trusted_proxies else 0


def check_session_limit(viewers: int) -> None:
    """Refuse a connection to a session that has too many viewers.

    Args:
        viewers: of the session, the new one counted.

    Raises:
        TooManyConnections: the session has more than ``MAX_SOCKETS``.
    """
    if viewers > conf.max_sockets:
        metrics.RATE_LIMITED.labels("session_sockets").inc()
        raise TooManyConnections
