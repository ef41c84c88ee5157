"""The session layer of many processes and machines."""

from relay.layers.redis.layer import RedisSessionLayer

__all__ = ["RedisSessionLayer"]
