"""How many lines one client address may have open in this process, and how often it may open one.

Counted without the store: a stranger's handshake must not cost it anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from relay.conf import conf
from relay.exceptions import ConnectsTooOften, TooManyConnections
from relay.layers.memory.limits import TokenBuckets
from relay.layers.values import Rate
from relay.observability import metrics

CONNECTS_BEHIND_PROXY: Final = 600  # a minute: an office behind one address comes back at once after a restart


class ConnectionLimiter:
    """Lines that are open here, by the network of their client."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._connects = TokenBuckets()

    def acquire(self, network: str) -> None:
        """Take one more seat for a client; ``leave`` gives it back.

        Args:
            network: as ``auth.limited_network`` gives it; empty: a service, which is not limited.

        Raises:
            ConnectsTooOften: it has opened as many lately as it may.
            TooManyConnections: it has as many open as it may.
        """
        self._check_rate(network)
        if network and conf.address_max_sockets and self._taken[network] >= conf.address_max_sockets:
            metrics.RATE_LIMITED.labels("address_sockets").inc()
            raise TooManyConnections
        self._taken[network] += 1

    @contextmanager
    def acquired(self, network: str) -> Iterator[None]:
        """Take a seat for as long as the block runs."""
        self.acquire(network)
        try:
            yield
        finally:
            self.release(network)

    def release(self, network: str) -> None:
        """Give a seat back."""
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
    """Say how many lines an address may open a minute; 0: any number.

    Behind an unknown proxy all clients have its address, so ``auto`` limits only where the proxies are named.
    """
    if conf.address_connect_rate is not None:
        return conf.address_connect_rate
    return CONNECTS_BEHIND_PROXY if conf.trusted_proxies else 0


def check_session_limit(viewers: int) -> None:
    """Refuse one more line to a session that has as many as it may, this one counted.

    Raises:
        TooManyConnections: it has more.
    """
    if viewers > conf.max_sockets:
        metrics.RATE_LIMITED.labels("session_sockets").inc()
        raise TooManyConnections
