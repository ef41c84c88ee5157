"""The session layer of one process."""

from relay.layers.memory.layer import MemorySessionLayer

__all__ = ["MemorySessionLayer"]
