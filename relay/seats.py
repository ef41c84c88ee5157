"""How many lines one client address may have open in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from relay import metrics
from relay.conf import conf
from relay.exceptions import TooManyConnections


class Seats:
    """Lines that are open here, by the network of their client."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, network: str) -> None:
        """Take one more seat for a client; ``leave`` gives it back.

        Args:
            network: as ``auth.limited_network`` gives it; empty: a client that is not limited.

        Raises:
            TooManyConnections: it has as many as it may.
        """
        if network and conf.address_max_sockets and self._taken[network] >= conf.address_max_sockets:
            metrics.RATE_LIMITED.labels("address_sockets").inc()
            raise TooManyConnections
        self._taken[network] += 1

    @contextmanager
    def taken(self, network: str) -> Iterator[None]:
        """Take a seat for as long as the block runs."""
        self.take(network)
        try:
            yield
        finally:
            self.leave(network)

    def leave(self, network: str) -> None:
        """Give a seat back."""
        self._taken[network] -= 1
        if not self._taken[network]:
            del self._taken[network]


def check_viewers(viewers: int) -> None:
    """Refuse one more line to a session that has as many as it may, this one counted.

    Raises:
        TooManyConnections: it has more.
    """
    if viewers > conf.max_sockets:
        metrics.RATE_LIMITED.labels("session_sockets").inc()
        raise TooManyConnections
