"""The contract of limits: rates and single uses, which a session layer keeps beside its sessions."""

from __future__ import annotations

import abc

from relay.layers.values import Rate


class Limits(abc.ABC):
    """Keeps rates, and marks things that may be used once; they belong to no session."""

    @abc.abstractmethod
    async def take(self, key: str, rate: Rate, session_id: str = "") -> float:
        """Take one token from a token bucket. Returns 0, or the seconds until there is one.

        Args:
            session_id: of the session that the key is about. The server that keeps the session then keeps the bucket,
                so that no other server has to answer.
        """

    @abc.abstractmethod
    async def use_once(self, key: str, ttl_seconds: float, purpose: str = "") -> bool:
        """Return whether ``key`` is used for the first time within ``ttl_seconds``; that use's purpose is kept."""

    @abc.abstractmethod
    async def used_for(self, key: str) -> str | None:
        """Return the purpose for which ``key`` was used, as long as the use counts; ``None``: it was not used."""
